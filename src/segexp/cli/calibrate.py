"""`segexp calibrate`: ranges of the generator that resemble the user's images, from images without annotation."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from segexp.cli.output_paths import file_to_write, write_file
from segexp.errors import InputError


def calibrate(
    task: Annotated[str, typer.Argument(help="vesicle or cytoskeleton.", show_default=False)],
    images: Annotated[
        list[Path], typer.Option(help="Files, or folders of them; no masks are needed.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="The YAML file to write; a picture goes beside it.", show_default=False)],
    minutes: Annotated[float, typer.Option(help="Minutes of CMA-ES after the random search; 0: none.")] = 3.0,
    draws: Annotated[int, typer.Option(min=64, help="Number of images that the random search generates.")] = 1000,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Side of the compared image parts, in pixels.")] = 256,
    most: Annotated[int, typer.Option(min=1, max=200, help="Largest number of parts cut from your images.")] = 24,
    channel: Annotated[
        int | None, typer.Option(min=1, help="Channel of files with several, from 1.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
) -> None:
    """Fit the image generator to your microscope: histogram, power spectrum, noise, blobs or ridges.

    Then: segexp train task=TASK data.synthetic.ranges=FILE, or segexp synthesize TASK --ranges FILE.

    Example: segexp calibrate vesicle --images unlabelled --output mine.yaml
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from segexp import synthesis
    from segexp.calibration.features import GROUPS
    from segexp.calibration.fit import calibrate as fit
    from segexp.calibration.images import cut, find, side_by_side
    from segexp.cli.reading import options_in_messages
    from segexp.data.ranges_file import ranges_text
    from segexp.viz.overlay import encode_png

    if task not in synthesis.TASKS:
        raise InputError(f"task {task!r}: expected one of {', '.join(synthesis.TASKS)}")
    if not 0 <= minutes < 1e4:
        raise InputError(f"--minutes {minutes}: expected 0 or more")
    picture = file_to_write(file_to_write(output, (".yaml", ".yml")).with_suffix(".png"))
    files = find(images, own=picture)
    with options_in_messages():
        parts = cut(files, size, most, channel)
    print(f"{len(parts)} parts of {parts[0].shape[0]}x{parts[0].shape[0]} of {len(files)} images", flush=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("time left"), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(file=sys.stdout), disable=not sys.stdout.isatty())
    with bar:
        track = bar.add_task("random search", total=1.0)
        generations = 1000 if minutes else 0
        fitted = fit(
            task,
            parts,
            draws=draws,
            generations=generations,
            seconds=60 * minutes,
            seed=seed,
            progress=lambda share, text: bar.update(track, completed=share, description=text),
        )
    rows = [f"{name:12s}{fitted.before[name]:8.3f}{fitted.after[name]:8.3f}" for name in (*GROUPS, "all")]
    table = [f"{'distance':12s}{'before':>8s}{'after':>8s}", *rows]
    print("\n".join(table))
    if fitted.after["all"] >= fitted.before["all"]:
        print(
            "warning: images made with these ranges are no nearer to yours than those of the generator's own ranges. "
            "Try more --draws or --minutes, or train without data.synthetic.ranges"
        )
    comments = [
        f"Written by segexp calibrate {task} from {len(parts)} parts of {len(files)} images.",
        f"Method: {fitted.method}; {fitted.evaluations} candidates evaluated by CMA-ES.",
        f"Parameters identified from the images, the most certain first: {', '.join(fitted.identified) or 'none'}.",
        *table,
    ]
    drawn = encode_png(side_by_side(task, parts, fitted.ranges, seed))
    write_file(output, ranges_text(task, fitted.ranges, comments))
    write_file(picture, drawn)
    print(f"{output}\n{picture}")
    print("train with:", shlex.join(["segexp", "train", f"task={task}", f"data.synthetic.ranges={output}"]))

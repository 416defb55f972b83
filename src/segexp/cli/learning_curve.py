"""`segexp learning-curve`: how many annotated images are enough."""

from typing import Annotated

import typer

from segexp.cli.overrides import ConfigDir
from segexp.errors import InputError

PARTS = "1/8,1/4,1/2,1"


def learning_curve(
    context: typer.Context,
    parts: Annotated[str, typer.Option(help="Shares of the training images to train on.")] = PARTS,
    repeats: Annotated[
        int, typer.Option(min=1, max=100, help="Runs for each share, each with a different draw of images.")
    ] = 3,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the estimated time and disk space, and train nothing.")
    ] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Train on growing shares of the annotated images and estimate what more images would gain, with 90 % intervals.

    Takes the overrides of a run. It is a sweep: sweep.resume=FOLDER resumes it, hydra.launcher.jobs=2 runs two jobs
    at a time.

    Example: segexp learning-curve task=vesicle data.root=DATA trainer.max_time=00:02:00
    """
    import shlex
    from datetime import datetime

    from segexp.cli.sweep_plan import print_plan
    from segexp.sweep.learning_curve import sweep_command
    from segexp.sweep.plan import plan_sweep
    from segexp.train import main

    plan = sweep_command(context.args, read_parts(parts), repeats, config_dir)
    for note in plan.notes:
        print(note)
    print(
        f"{', '.join(map(str, plan.sizes))} of {plan.images} training images, {repeats} run{'s' * (repeats > 1)} each"
    )
    flags = [] if config_dir is None else [f"--config-dir={config_dir}"]
    resumed = any(word.startswith("sweep.resume=") for word in plan.overrides)
    if dry_run or not resumed:
        print_plan(plan_sweep(plan.overrides, steps=2, config_dir=config_dir))
    words = list(plan.overrides)
    if not resumed and not any(word.startswith(("output_dir=", "hydra.sweep.dir=")) for word in words):
        words.append(f"output_dir=runs/learning_curve/{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
    print(f"the sweep: {shlex.join(['segexp', 'train', '-m', *flags, *words])}", flush=True)
    if not dry_run:
        main(["-m", *flags, *words])


def read_parts(text: str) -> list:
    """``1/8,0.25,1`` as fractions.

    Raises:
        InputError: if one is not a number above 0 and up to 1.
    """
    from fractions import Fraction

    parts = []
    for word in text.split(","):
        try:
            part = Fraction(word.strip())
        except (ValueError, ZeroDivisionError):
            part = Fraction(0)
        if not 0 < part <= 1:
            raise InputError(f"--parts {text}: {word!r} is not a share; expected more than 0, up to 1, such as {PARTS}")
        parts.append(part)
    return parts

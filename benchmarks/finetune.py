"""Tests whether fine-tuning on few annotated images lowers scores: compares the kept, the given and a new model.

For each set (a folder with train/ and val/), number of images and draw, this number of images is drawn from train/ as
the only annotated images. These models are trained on them, for the same number of steps each:

- ``kept``: ``experiment=finetune`` unchanged, including the comparison of its candidates;
- ``scratch``: ``trainer=quick`` with all steps for one network from scratch;
- ``tuned``: the fine-tuned model, whether it was kept or not; if another one was kept, it is trained for all steps.

Each of them, and the given model ``as it was``, is scored by mean Dice at the threshold of its file, on images of val/,
which none of them was trained on. ``expected`` holds the scores that the run itself compared, on its own images.

    python -m benchmarks.finetune DATA --sets nuclei:vesicle,actin_plant:cytoskeleton --output finetune.csv

Each set is given with the model to start from. Cells that are already in the CSV file are not run again. Draws are the
outermost loop, so a benchmark that is ended early has results for all sets.
"""

import argparse
import contextlib
import csv
import io
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segexp import checkpoint
from segexp.config.compose import compose_config
from segexp.data.dataset import Sample
from segexp.evaluation import evaluate, summarize
from segexp.evaluation.run import find_samples, spread
from segexp.experiment.run import run
from segexp.inference.predictor import load_model
from segexp.io.ownership import digest
from segexp.sweep.weights import start_file

SCORES = ["given", "tuned", "scratch", "kept"]
COLUMNS = ["set", "model", "sha256", "images", "draw", "steps", "crop", *SCORES, "which"]
COLUMNS += ["expected", "test_images", "cpu_seconds"]
CLOSE = 0.005
"""Largest Dice by which the kept model may be below the better of the given model and the one from scratch."""


def draw(data: Path, count: int, number: int, folder: Path) -> None:
    """Copy `count` annotated images of ``data/train`` to ``folder/train``."""
    images = sorted((data / "train" / "img").iterdir())
    for image in random.Random(f"{data.name}/{number}").sample(images, count):  # noqa: S311 no secret
        mask = next((data / "train" / "mask").glob(f"{image.stem}.*"))
        for kind, path in (("img", image), ("mask", mask)):
            (folder / "train" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / "train" / kind / path.name)


def train(overrides: Sequence[str], folder: Path) -> None:
    """Train with these overrides, without printing the output."""
    cfg = compose_config(list(overrides))
    with contextlib.redirect_stdout(io.StringIO()):
        run(cfg, folder, weights=start_file(cfg), overrides=overrides)


def dice(path: Path | str, samples: Sequence[Sample]) -> float:
    """Return the mean Dice of a model file."""
    return summarize(evaluate(load_model(path, "cpu"), samples))["dice"]


def cell(data: Path, model: str, count: int, number: int, given: float, samples: list[Sample], arguments: Any) -> dict:
    """Compute one row of the CSV file."""
    tick = time.process_time()
    task = checkpoint.load(checkpoint.model_file(Path(model)))["task"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(data, count, number, folder)
        overrides = [
            f"task={task}",
            "trainer.max_time=null",
            f"trainer.steps={arguments.steps}",
            "trainer.batch_size=4",
        ]
        overrides += [f"task.crop={arguments.crop}", "trainer.num_workers=0", "trainer.device=cpu", f"seed={number}"]
        tuning = [*overrides, "experiment=finetune", f"model.weights={model}"]
        train([*tuning, f"data.root={folder}"], folder / "kept")
        best = folder / "kept" / f"best_{task}_model.pth"
        start = checkpoint.load(best)["start"]
        which = start["kept"]
        expected = " ".join(f"{kind}:{score:.4f}" for kind, score in start["scores"].items())
        # only the last weights are scored, so it does not matter which images validate them
        same = [
            f"data.{part}_{kind}_dir={folder}/train/{kind}" for part in ("train", "val") for kind in ("img", "mask")
        ]
        alone = [*same, "trainer.validate_every=100000"]
        train([*overrides, *alone, "trainer=quick"], folder / "scratch")
        if which != "trained":
            train([*tuning, *alone, "trainer.keep_given=false"], folder / "tuned")
        tuned = folder / ("kept" if which == "trained" else "tuned") / "last.pth"
        scores = [dice(path, samples) for path in (tuned, folder / "scratch" / "last.pth", best)]
    row = [model, count, number, arguments.steps, arguments.crop, given, *scores, which, expected, len(samples)]
    names = ["model", "images", "draw", "steps", "crop", *SCORES, "which", "expected", "test_images"]
    return dict(zip(names, row, strict=True)) | {"cpu_seconds": round(time.process_time() - tick)}


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table of means over draws, and how often the kept model scores below or above the others."""
    print("set                   images draws   as it was  tuned  scratch  kept   kept, by draw")
    for key in dict.fromkeys((row["set"], row["images"]) for row in rows):
        own = [row for row in rows if (row["set"], row["images"]) == key]
        means = [np.mean([float(row[name]) for row in own]) for name in SCORES]
        kept = ", ".join(row["which"] for row in own)
        numbers = "".join(f"{mean:>{width}.3f}" for mean, width in zip(means, (12, 7, 9, 6), strict=True))
        print(f"{key[0]:22}{key[1]:>6}{len(own):>6}{numbers}   {kept}")
    gaps = [float(row["kept"]) - max(float(row["given"]), float(row["scratch"])) for row in rows]
    worst = rows[int(np.argmin(gaps))]
    print(
        f"kept against the better of as it was and from scratch: more than {CLOSE} below in "
        f"{sum(gap < -CLOSE for gap in gaps)} of {len(gaps)} cells, above both in {sum(gap > 0 for gap in gaps)}; "
        f"mean {np.mean(gaps):+.3f}, least {min(gaps):+.3f} ({worst['set']}, {worst['images']} images, draw "
        f"{worst['draw']})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", required=True, help="SET:MODEL, separated by commas; SET is a folder in DATA")
    parser.add_argument("--images", default="1,2,5", help="numbers of annotated images, separated by commas")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--test", type=int, default=12, help="largest number of scored images, spread over val/")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="no further cell is started after this time"
    )
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    arguments = parser.parse_args()
    begun, rows = time.monotonic(), []
    if arguments.output.is_file():
        with arguments.output.open(newline="") as file:
            rows = list(csv.DictReader(file))
    known = {(row["set"], row["images"], row["draw"], row["steps"], row["crop"]) for row in rows}
    given: dict[str, tuple[float, list[Sample], str]] = {}
    for number in range(arguments.draws):
        for pair in arguments.sets.split(","):
            name, _, model = pair.partition(":")
            for count in arguments.images.split(","):
                if (name, count, str(number), str(arguments.steps), str(arguments.crop)) in known:
                    continue
                if time.monotonic() - begun > 60 * arguments.minutes:
                    break
                if name not in given:
                    samples = spread(find_samples(load_model(model, "cpu"), arguments.data / name), arguments.test)
                    given[name] = dice(model, samples), samples, digest(checkpoint.model_file(Path(model)))[:12]
                before, samples, sha256 = given[name]
                row = cell(arguments.data / name, model, int(count), number, before, samples, arguments)
                rows.append({key: str(value) for key, value in (row | {"set": name, "sha256": sha256}).items()})
                with arguments.output.open("w", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    writer.writeheader()
                    writer.writerows(rows)
                print(" ".join(rows[-1][key] for key in COLUMNS), flush=True)
    show(rows)


if __name__ == "__main__":
    main()

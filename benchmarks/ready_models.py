"""Scores the models that come with the package on annotated sets, for the figures in `segexp/pretrained/cards.yaml`.

    python benchmarks/ready_models.py DATA --models cytoskeleton --sets actin_plant,em_membranes:inverted
    python benchmarks/ready_models.py DATA --models vesicle,vesicle_giant --sets nuclei,guv_gray

A set is a folder of DATA with train/ and val/. All images of both are scored, because no ready model was trained on
them. With ``:inverted``, images with dark structures on a bright background are inverted first. The thresholds are
those of the model files. The script prints the means over images with 95 % bootstrap intervals: Dice, F1 of centrelines
within 3 px, F1 of objects at an intersection over union of 0.5, and the share of pixels that the model marks.
"""

import argparse
from pathlib import Path

import numpy as np

from segexp.data.dataset import Sample, make_sample
from segexp.evaluation import evaluate_fully
from segexp.evaluation.images import image_values
from segexp.evaluation.run import find_samples, spread
from segexp.evaluation.scoring import Tolerance
from segexp.inference.predictor import Predictor, load_model
from segexp.metrics.interval import bootstrap_interval

SCORES = ("dice", "skeleton_f1", "object_f1")
REACH = Tolerance(3.0)


def turned_bright(sample: Sample, normalization: str) -> Sample:
    """Return the inverted image: its largest value minus each value."""
    pixels, labels = sample.load()
    return make_sample(sample.name, pixels.max() - pixels, labels, 1, normalization)


def samples_of(model: Predictor, folder: Path, invert: bool, most: int | None) -> list[Sample]:
    """Return all annotated images of a set."""
    parts = [folder / part for part in ("val", "train") if (folder / part / "img").is_dir()]
    found = spread([sample for part in parts for sample in find_samples(model, part)], most)
    return [turned_bright(sample, model.normalization) for sample in found] if invert else found


def scores(model: Predictor, samples: list[Sample]) -> dict[str, list[float]]:
    """Return each score of each image, and the share of its pixels that is marked."""
    marked: list[float] = []

    def keep(index: int, sample: Sample, labels: np.ndarray) -> None:
        marked.append(float(np.count_nonzero(labels)) / labels.size)

    rows = evaluate_fully(model, samples, ("overlap", "filament", "object"), REACH, on_image=keep).rows
    return {name: image_values(rows, name).tolist() for name in SCORES} | {"marked": marked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", required=True, help="ready models, model files or runs, separated by commas")
    parser.add_argument("--sets", required=True, help="folders in DATA, separated by commas; NAME:inverted")
    parser.add_argument("--images", type=int, help="number of images per set, evenly spread; default: all")
    arguments = parser.parse_args()
    for name in arguments.models.split(","):
        model = load_model(name, "cpu")
        for words in arguments.sets.split(","):
            folder, _, how = words.partition(":")
            samples = samples_of(model, arguments.data / folder, how == "inverted", arguments.images)
            cells = []
            for score, values in scores(model, samples).items():
                interval = bootstrap_interval(values)
                reach = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
                cells.append(f"{score} {np.nanmean(values):.3f}{reach}")
            print(f"{name} on {words}, {len(samples)} images: {', '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()

"""Measures the share of the foreground that `segexp predict --guarantee` finds in new images.

For each data set in a folder (each with train/ and val/), a small model is trained for ``--seconds`` on train/ only, of
which ``--fraction`` is held back for validation. The script prints two results. First, for each share, the threshold
stored in the model file and the mean share that is found with it in the images of val/. Second, the same with one
random half of val/ as calibration images and the other half as new images, over ``--draws`` divisions. No images of
val/ were used for training or for choosing the model.

    python benchmarks/guarantee.py DATA --sets nuclei,em_membranes --seconds 40
"""

import numpy as np
import small_models

from segexp.errors import InputError
from segexp.evaluation.run import find_samples
from segexp.inference.guarantee import KEY, LEVELS, Counts, choose, count, table
from segexp.inference.predictor import Predictor


def found(counts: list[Counts], threshold: float) -> tuple[float, float]:
    """Return the mean share of the foreground that is found, over images with foreground, and the precision."""
    level = max(int(np.searchsorted(LEVELS, np.float32(threshold), side="right")) - 1, 0)
    shares = [one.found[0, level] / one.true[0] for one in counts if one.true[0]]
    hits, marked = (sum(int(part[0, level]) for part in parts) for parts in list(zip(*counts, strict=True))[:2])
    return float(np.mean(shares)), hits / max(marked, 1)


def report(model: Predictor, counts: list[Counts], share: float, draws: int) -> str:
    """Return one line for one share: with the model file's threshold, and over random halves of the images."""
    rng = np.random.default_rng(0)
    try:
        threshold = choose(model.facts[KEY], model.classes, share, model.threshold).threshold
        first = "threshold {:.3g}: found {:.3f}, precision {:.3f}".format(threshold, *found(counts, threshold))
    except InputError as error:
        first = f"refused ({str(error).split(';')[0]})"
    realised = []
    for _ in range(draws):
        order = [counts[index] for index in rng.permutation(len(counts))]
        half = len(counts) // 2
        try:
            choice = choose(table(order[:half]), model.classes, share, model.threshold)
        except InputError:
            continue
        realised.append(found(order[half:], choice.threshold))
    if not realised:
        return f"{share:g}: {first}; halves: all refused"
    shares, precision = np.mean(realised, axis=0)
    return (
        f"{share:g}: {first}; halves: found {shares:.3f}, precision {precision:.3f}, {len(realised)} of {draws} given"
    )


def main() -> None:
    parser = small_models.parser(__doc__, seconds=40)
    parser.add_argument("--fraction", type=float, default=0.3, help="share of train/ held back for validation")
    parser.add_argument("--draws", type=int, default=200, help="random divisions of val/")
    arguments = parser.parse_args()
    sets = arguments.sets.split(",")
    for name, model in small_models.models(arguments.data, sets, arguments.seconds, arguments.fraction):
        counts = []
        for sample in find_samples(model, arguments.data / name):
            pixels, truth = sample.load()
            counts.append(count(model.probabilities(pixels), truth, model.min_size))
        usual = "found {:.3f}, precision {:.3f}".format(*found(counts, model.threshold))
        images = model.facts[KEY][0]["images"]
        print(f"\n{name}: {images} validation images, {len(counts)} new ones; threshold {model.threshold:.3g}: {usual}")
        for share in (0.7, 0.8, 0.9, 0.95):
            print(report(model, counts, share, arguments.draws), flush=True)


if __name__ == "__main__":
    main()

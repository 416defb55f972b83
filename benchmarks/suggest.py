"""Tests whether the images that `segexp suggest` chooses improve a model more than images drawn at random.

For each data set of a folder (each with train/ and val/) and each repeat, a model is trained on ``--start`` random
images of train/ and ranks the other images. Two models are then trained from scratch: one on the start images and
``--count`` suggested ones, one on the start images and the same number drawn at random. Both are trained for the same
time, or with ``--steps`` for the same number of steps, which is fair even if other programs use the machine. The
weights of the last step are scored on all images of val/ at a threshold of 0.5.

    python benchmarks/suggest.py DATA --sets nuclei,em_membranes --seconds 40 --repeats 3
    python benchmarks/suggest.py DATA --sets nuclei --steps 60 --override task.crop=128 --repeats 4

The script prints the mean Dice of each model and the mean difference over repeats with its 95 % interval (Student's t).
"""

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import small_models
from scipy import stats

from segexp.evaluation import evaluate, summarize
from segexp.evaluation.run import find_samples
from segexp.inference.predictor import Predictor, load_model
from segexp.io.images import IMAGE_SUFFIXES
from segexp.suggestion.candidates import annotated_files, describe_annotated, scan
from segexp.suggestion.ranking import rank


def trained(images: list[Path], data: Path, limit: list[str], seed: int, folder: Path) -> Predictor:
    """Return a model trained on some images of ``data/train``, with the weights of the last step."""
    masks = {path.stem: path for path in (data / "train" / "mask").iterdir()}
    for part in ("img", "mask"):
        (folder / "train" / part).mkdir(parents=True)
        (folder / "val" / part).mkdir(parents=True)
    for path in images:
        for part, file in (("img", path), ("mask", masks[path.stem])):
            shutil.copy(file, folder / "train" / part / file.name)
    first = sorted((data / "val" / "img").iterdir())[0]
    own = {path.stem: path for path in (data / "val" / "mask").iterdir()}
    for part, file in (("img", first), ("mask", own[first.stem])):
        shutil.copy(file, folder / "val" / part / file.name)  # a fast validation that decides nothing
    small_models.train(folder / "run", f"seed={seed}", *limit, f"data.root={folder}")
    model = load_model(folder / "run" / "last.pth", "cpu")
    model.threshold = 0.5
    return model


def dice(model: Predictor, data: Path) -> float:
    """Return the mean Dice over the images of ``data/val``."""
    return summarize(evaluate(model, find_samples(model, data)))["dice"]


def repeat(data: Path, start: int, count: int, limit: list[str], seed: int, place: Path) -> dict[str, float]:
    """Return the scores of one repeat: of the first model, with suggested and with random images."""
    rng = np.random.default_rng(seed)
    files = sorted(path for path in (data / "train" / "img").iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    order = [files[index] for index in rng.permutation(len(files))]
    first, rest = order[:start], order[start:]
    model = trained(first, data, limit, seed, place / "first")
    model.tta = True
    candidates = [candidate for path in rest for candidate in scan(model, path, region=4096)]  # whole images
    known, _ = describe_annotated(model, annotated_files(place / "first"))
    features = np.stack([each.features for each in candidates])
    chosen = rank(np.array([each.disagreement for each in candidates]), features, known, count)
    model.tta = False
    arms = {"suggested": [candidates[each.candidate].path for each in chosen], "random": rest[:count]}
    scores = {"first": dice(model, data)}
    for name in sorted(arms, reverse=bool(seed % 2)):  # neither is always the first
        scores[name] = dice(trained(first + arms[name], data, limit, seed, place / name), data)
    return scores


def main() -> None:
    parser = small_models.parser(__doc__, seconds=40)
    parser.add_argument("--start", type=int, default=3, help="number of annotated images at the start")
    parser.add_argument("--count", type=int, default=10, help="number of images added")
    parser.add_argument("--steps", type=int, help="steps of each training, instead of seconds")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--override", action="append", default=[], help="override of every training; may be repeated")
    arguments = parser.parse_args()
    limit = [small_models.limit(arguments.seconds)]
    if arguments.steps:
        limit = ["trainer.max_time=null", f"trainer.steps={arguments.steps}"]
    limit += arguments.override
    for name in arguments.sets.split(","):
        gains = []
        for seed in range(arguments.repeats):
            tick = time.process_time()
            with tempfile.TemporaryDirectory() as place:
                scores = repeat(arguments.data / name, arguments.start, arguments.count, limit, seed, Path(place))
            gains.append(scores["suggested"] - scores["random"])
            shown = ", ".join(f"{key} {value:.4f}" for key, value in sorted(scores.items()))
            print(f"{name} repeat {seed}: {shown}; {time.process_time() - tick:.0f} s of the processor", flush=True)
        mean = float(np.mean(gains))
        reach = float(stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)) if len(gains) > 1 else float("nan")
        print(f"{name}: suggested less random {mean:+.4f} ({mean - reach:+.4f} to {mean + reach:+.4f})", flush=True)


if __name__ == "__main__":
    main()

"""Counts the images of other data sets that a model flags as unlike its training images, and its false alarms.

For each data set in a folder (each with train/ and val/), a small model is trained for ``--seconds`` on train/ only, of
which a quarter is held back for validation. `segexp.inference.misfit` then tests every image of val/, which is new to
the model, and the images of all other sets: both the image and what the model finds in it. The ready models of the
package are tested as well.

    python benchmarks/misfit.py DATA --sets nuclei,em_membranes --seconds 20 --output misfit.json

The script prints the shares of flagged images, with a row for each model and a column for each set. The diagonal shows
the false alarms.
"""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import small_models

from segexp.inference.misfit import KEY, describe, look_reasons, share_reasons
from segexp.inference.predictor import Predictor, load_model
from segexp.inference.row_reader import ArrayRows
from segexp.io.channels import to_channels
from segexp.io.images import read_image

Judged = dict[str, Any]
"""One image's features, its share of foreground, and whether each is flagged as unlike the training images."""


def judged(model: Predictor, files: list[Path]) -> list[Judged]:
    """Return the results of the model's tests for each image."""
    ranges, found = model.facts[KEY], []
    for path in files:
        pixels = to_channels(read_image(path), 1, path)
        share = float(np.count_nonzero(model.labels(model.probabilities(pixels)))) / pixels[0].size
        features = describe(ArrayRows(pixels))
        assert features is not None
        look, foreground = bool(look_reasons(ranges, features)), bool(share_reasons(ranges, share))
        found.append({"features": features.tolist(), "share": share, "look": look, "foreground": foreground})
    return found


def show(result: dict[str, dict[str, list[Judged]]], sets: list[str], kinds: tuple[str, ...]) -> None:
    """Print a table of the images flagged by any of `kinds`, and the two sums."""

    def flagged(row: str, column: str) -> float:
        return 100 * float(np.mean([any(image[kind] for kind in kinds) for image in result[row][column]]))

    print(f"\nflagged by {' or '.join(kinds)}, %; columns: {', '.join(sets)}")
    width = max(map(len, result))
    for name in result:
        print(name.ljust(width), *(f"{flagged(name, other):4.0f}" for other in sets))
    counts = [len(result[name][name]) for name in sets]
    own = np.average([flagged(name, name) for name in sets], weights=counts)
    foreign = [flagged(name, other) for name in sets for other in sets if name != other]
    print(
        f"foreign {np.mean(foreign):.1f} % over {len(foreign)} pairs; false alarms {own:.1f} % of {sum(counts)} images"
    )


def main() -> None:
    parser = small_models.parser(__doc__, seconds=20)
    parser.add_argument("--ready", default="vesicle,cytoskeleton", help="ready models to test as well")
    parser.add_argument("--output", type=Path, help="JSON file for every image's numbers")
    arguments = parser.parse_args()
    sets = arguments.sets.split(",")
    images = {name: sorted((arguments.data / name / "val" / "img").iterdir()) for name in sets}
    result: dict[str, dict[str, list[Judged]]] = {}
    known = {}
    trained = small_models.models(arguments.data, sets, arguments.seconds, val_fraction=0.25)
    ready = ((name, load_model(name, "cpu")) for name in arguments.ready.split(",") if name and name not in sets)
    for name, model in chain(trained, ready):
        known[name] = model.facts[KEY]
        result[name] = {other: judged(model, files) for other, files in images.items()}
        if arguments.output:
            arguments.output.write_text(json.dumps({"ranges": known, "images": result}))
    for kinds in (("look", "foreground"), ("look",), ("foreground",)):
        show(result, sets, kinds)


if __name__ == "__main__":
    main()

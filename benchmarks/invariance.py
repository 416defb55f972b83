"""Dice of a vesicle model on validation images multiplied by 0.001 to 65,000, and squared.

    python benchmarks/invariance.py MODEL.pth DATA/val

The whole-image normalisation makes every multiple of an image the same image up to rounding, so the first column of
scores should be flat; squaring changes the image and shows what the augmentation taught.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from segexp.data.pairs import read_folder
from segexp.evaluation import evaluate, summarize
from segexp.inference.predictor import load_model

FACTORS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0, 65000.0)


def main(model: str, folder: str) -> None:
    predictor = load_model(model)
    channels = predictor.model.settings["in_channels"]
    samples = read_folder(Path(folder) / "img", Path(folder) / "mask", channels, len(predictor.classes), keep=True)

    def dice(change) -> float:
        changed = [replace(s, pixels=change(s.load()[0].astype(np.float32)), labels=s.load()[1]) for s in samples]
        return summarize(evaluate(predictor, changed))["dice"]

    print("factor      Dice    Dice of the square root")
    scores = []
    for factor in FACTORS:
        scores.append(dice(lambda image, factor=factor: image * np.float32(factor)))
        root = dice(lambda image, factor=factor: np.sqrt(np.maximum(image, 0)) * np.float32(factor))
        print(f"{factor:<10g} {scores[-1]:.4f}    {root:.4f}")
    print(f"spread of Dice over factors: {max(scores) - min(scores):.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

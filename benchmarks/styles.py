"""Draws pictures for judging the generators: 16 images of each style beside real micrographs, and some of their masks.

    python benchmarks/styles.py --output pictures [--real DIR] [--task vesicle] [--size 256] [--seed 0]

The script writes pictures/TASK_STYLE.png: on the left generated images, on the right the crops of DIR's images with the
most structure. Each image is stretched from its 0.5 to its 99.8 percentile. TASK_STYLE_truth.png contains the first six
at twice the size with the outlines of their masks.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from segexp import read_image, synthesis

OUTLINE = (60, 60, 255)  # blue, green, red


def stretched(image: np.ndarray) -> np.ndarray:
    """Stretch a grey image from its 0.5 to its 99.8 percentile to uint8."""
    low, high = np.percentile(image, (0.5, 99.8))
    return (255.0 * np.clip((image - low) / max(high - low, 1e-9), 0.0, 1.0)).astype(np.uint8)


def sheet(images: list[np.ndarray], columns: int) -> np.ndarray:
    """Arrange images of one size in rows, 4 px apart."""
    bordered = [cv2.copyMakeBorder(image, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(90, 60, 0)) for image in images]
    bordered += [np.zeros_like(bordered[0])] * (-len(bordered) % columns)
    return np.vstack([np.hstack(bordered[k : k + columns]) for k in range(0, len(bordered), columns)])


def busiest(image: np.ndarray, size: int, count: int) -> Iterator[np.ndarray]:
    """Return the crops with the most variation that overlap by at most a half."""
    step = size // 2
    corners = [
        (y, x) for y in range(0, image.shape[0] - size + 1, step) for x in range(0, image.shape[1] - size + 1, step)
    ]
    corners.sort(key=lambda corner: -image[corner[0] : corner[0] + size, corner[1] : corner[1] + size].std())
    taken: list[tuple[int, int]] = []
    for y, x in corners:
        if all(abs(y - v) + abs(x - u) > step for v, u in taken):
            taken.append((y, x))
            yield image[y : y + size, x : x + size]
            if len(taken) == count:
                return


def colour(image: np.ndarray) -> np.ndarray:
    return np.repeat(stretched(image)[..., None], 3, -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--real", type=Path, help="folder of grey images")
    parser.add_argument("--task", choices=synthesis.TASKS)
    parser.add_argument("--style", help="one style only")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    real = []
    for path in sorted(options.real.glob("*.*")) if options.real else ():
        image = read_image(path)
        grey = image if image.ndim == 2 else image.mean(-1)
        real += [colour(crop) for crop in busiest(grey, options.size, 3)]
    for task in [options.task] if options.task else synthesis.TASKS:
        for style in [options.style] if options.style else synthesis.tables(task)[1]:
            scenes = list(synthesis.generate_scenes(task, 16, options.size, options.seed, style=style))
            picture = sheet([colour(scene.image) for scene in scenes], 4)
            if real:
                beside = sheet(real, -(-len(real) // 4))
                picture = np.hstack(
                    [picture, np.pad(beside, ((0, max(0, len(picture) - len(beside))), (0, 0), (0, 0)))]
                )
            cv2.imwrite(str(options.output / f"{task}_{style}.png"), picture)
            outlined = []
            for scene in scenes[:6]:
                large = cv2.resize(colour(scene.image), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
                mask = cv2.resize(scene.mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
                outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
                outlined += [cv2.drawContours(large, outlines, -1, OUTLINE, 1)]
            cv2.imwrite(str(options.output / f"{task}_{style}_truth.png"), sheet(outlined, 3))
            print(options.output / f"{task}_{style}.png", flush=True)


if __name__ == "__main__":
    main()

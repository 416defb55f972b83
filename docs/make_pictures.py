"""Make every picture of the README and the site: python docs/make_pictures.py [--output DIR] [--seconds 60]

They show generated images and the models that come with the package, so they may be published, and anyone can make them
again. The screenshot of napari is not made here.
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

import segexp
from segexp import synthesis
from segexp.augment import Augmentation
from segexp.data.normalization import finish, image_statistics, standardize
from segexp.viz.overlay import PREDICTION, TRUTH, outline, to_display

HERE = Path(__file__).parent
TASKS = {"vesicle": "vesicles", "cytoskeleton": "filaments"}
DRAWN = {
    "vesicle": {
        "style": "field",
        "radius": (2.5, 4.5),
        "contrast": (3, 20),
        "coverage": (0.05, 0.12),
        "jpeg": 0,
        "dark": 0,
    }
    | {"hot_pixels": 0, "photons": (150, 600), "seed": 1, "first": 1},
    "cytoskeleton": {"style": "network", "photons": (300, 600), "seed": 4},
}
NORMALIZATION = {"vesicle": "log", "cytoskeleton": "standard"}
GAP = 8


def tasks_picture(side: int = 256) -> NDArray[np.uint8]:
    """A row for each task: a generated image, the truth in green, the prediction of the ready model in magenta."""
    rows = []
    for task, noun in TASKS.items():
        model = segexp.load_model(task)
        (scene,) = synthesis.generate_scenes(task, count=1, size=side, **DRAWN[task])
        found = model.predict(scene.image) >= model.threshold
        picture = to_display(scene.image[None])
        marked = outline(_twice(picture), scene.mask > 0, TRUTH), outline(_twice(picture), found, PREDICTION)
        titles = f"{noun}: generated image", "truth", f"prediction of the model '{task}'"
        rows.append([_titled(p, t) for p, t in zip((_twice(picture), *marked), titles, strict=True)])
    return _smaller(_grid(rows), 1200)


def augmentation_picture(samples: int = 4, side: int = 256) -> NDArray[np.uint8]:
    """A row for each task: one crop as it is read, then as four training steps would see it."""
    rows = []
    for task, noun in TASKS.items():
        augment = segexp.load_augment(task)
        assert isinstance(augment, Augmentation)
        (scene,) = synthesis.generate_scenes(task, count=1, size=side, **DRAWN[task])
        pixels = torch.from_numpy(scene.image.astype(np.float32))[None, None].repeat(samples, 1, 1, 1)
        masks = torch.from_numpy(scene.mask)[None, None].repeat(samples, 1, 1, 1)
        statistics = image_statistics(scene.image[None], NORMALIZATION[task])
        images = standardize(pixels, *(torch.from_numpy(values)[None].repeat(samples, 1) for values in statistics))
        changed, moved = augment(images, masks, torch.Generator().manual_seed(11))
        shown = [(images, masks, 0), *((changed, moved, k) for k in range(samples))]
        row = []
        for number, (batch, labels, k) in enumerate(shown):
            picture = to_display(finish(batch, images, NORMALIZATION[task])[k].numpy())
            title = f"{noun}: as read" if number == 0 else f"training step {number}"
            row.append(_titled(outline(picture, labels[k, 0].numpy() > 0, TRUTH) if number == 0 else picture, title))
        rows.append(row)
    return _smaller(_grid(rows), 1200)


def terminal_picture(seconds: int) -> str:
    """What a terminal shows of a training of so many seconds, as SVG without fonts from the network."""
    typed = [
        "task=vesicle",
        "trainer=quick",
        f"trainer.max_time=00:{seconds // 60:02d}:{seconds % 60:02d}",
        "output_dir=runs/first",
    ]
    small = ["data.synthetic.train=40", "data.synthetic.val=8"] if seconds >= 10 else _tiny()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "segexp.cli", "train", *typed, *small]
        environment = os.environ | {"COLUMNS": "100"}
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        printed = result.stdout.replace(f"{Path(folder).resolve()}{os.sep}", "")
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ ", style="bold green") + Text("segexp train " + " ".join([*typed, *small]), style="bold"))
    for line in printed.splitlines():
        style = "cyan" if line.startswith("epoch ") else "green" if line.startswith(("model:", "report:")) else ""
        console.print(Text(line, style=style))
    svg = console.export_svg(title="segexp train")
    return re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)


def _tiny() -> list[str]:
    return ["trainer.epochs=1", "model.widths=[4,8]", *(f"data.synthetic.{k}" for k in ("train=2", "val=2", "size=64"))]


def _twice(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture.repeat(2, axis=0).repeat(2, axis=1)


def _titled(picture: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    size = picture.shape[0] / 512
    head = np.full((round(40 * size), picture.shape[1], 3), 255, np.uint8)
    cv2.putText(head, title, (4, round(27 * size)), cv2.FONT_HERSHEY_SIMPLEX, 0.85 * size, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([head, picture])


def _grid(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    framed = [[np.pad(p, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for p in row] for row in rows]
    return np.concatenate([np.concatenate(row, axis=1) for row in framed])[:-GAP, :-GAP]


def _smaller(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    height = round(picture.shape[0] * width / picture.shape[1])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Write tasks.webp, augmentation.webp and run.svg."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=HERE / "img")
    parser.add_argument("--seconds", type=int, default=60, help="length of the training that run.svg shows")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for name, picture in (("tasks", tasks_picture()), ("augmentation", augmentation_picture())):
        _, encoded = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 88])
        (given.output / f"{name}.webp").write_bytes(encoded.tobytes())
    (given.output / "run.svg").write_text(terminal_picture(given.seconds), encoding="utf-8")


if __name__ == "__main__":
    main()

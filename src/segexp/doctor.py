"""What `segexp doctor` reports: the installation, the machine, and a self-test of each step from image to mask.

Only files in a temporary folder are written, and nothing is downloaded.
"""

import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packaging.requirements import Requirement

from segexp import checkpoint, synthesis
from segexp.augment import Augmentation, RandomFlip, RandomWarp
from segexp.data.normalization import image_statistics, standardize
from segexp.device import autocast, choose_device, choose_precision
from segexp.experiment import provenance
from segexp.inference.predictor import load_model
from segexp.io.images import read_image
from segexp.io.memory import free_memory
from segexp.io.tiff_writer import TiffStream, finishing
from segexp.losses import SegmentationLoss
from segexp.models import UNet

SIZE = 128
"""Height and width of the self-test's image, pixels."""

DEVELOPMENT = ("test", "napari-test", "bench", "docs", "release")
"""Extras for work on segexp itself; using segexp needs none of them."""


def installation() -> dict[str, Any]:
    """Versions of segexp and the packages it needs, and the missing packages of each extra."""
    extras: dict[str, list[str]] = {}
    for text in metadata.requires("segexp") or []:
        requirement = Requirement(text)
        for extra in metadata.metadata("segexp").get_all("Provides-Extra") or []:
            if requirement.marker and requirement.marker.evaluate({"extra": extra}):
                missing = extras.setdefault(extra, [])
                if not _installed(requirement):
                    missing.append(f"{requirement.name}{requirement.specifier}")
    return {
        "versions": provenance.versions(),
        "executable": sys.executable,
        "package": str(Path(__file__).parent),
        "extras": extras,
    }


def _installed(requirement: Requirement) -> bool:
    if requirement.name == "segexp":
        return True
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def machine(folder: Path) -> dict[str, Any]:
    """Platform, device, precision, threads, memory and free disk space of `folder`; sizes in bytes."""
    device, device_reason = choose_device("auto")
    precision, precision_reason = choose_precision("auto", device)
    shared = Path("/dev/shm")  # noqa: S108 where loader processes pass batches; only looked at
    disk = shutil.disk_usage(folder)
    return {
        "platform": platform.platform(),
        "device": str(device),
        "device_reason": device_reason,
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "precision": precision,
        "precision_reason": precision_reason,
        "threads": torch.get_num_threads(),
        "memory_free": free_memory(),
        "shared_memory": shutil.disk_usage(shared).total if shared.is_dir() else None,
        "disk_folder": str(folder.absolute()),
        "disk_free": disk.free,
    }


def self_test(device: torch.device | None = None) -> Iterator[tuple[str, float, str | None]]:
    """Read, augment, train one step, save, predict and write, on one generated image of 128 x 128 pixels.

    Yields the name of each step, its seconds, and None or the error; ends with the first step that fails.
    """
    if device is None:
        device = choose_device("auto")[0]
    with tempfile.TemporaryDirectory() as place:
        for name, step in _SelfTest(Path(place), device).steps():
            tick = time.monotonic()
            try:
                step()
            except Exception as error:  # whatever it is, it is the answer to "does it work here?"
                yield name, time.monotonic() - tick, f"{type(error).__name__}: {error}"
                return
            yield name, time.monotonic() - tick, None


class _SelfTest:
    """The steps of `self_test`; each uses the results of the previous ones."""

    def __init__(self, folder: Path, device: torch.device):
        self.folder, self.device = folder, device
        self.precision = choose_precision("auto", device)[0]

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """Names and functions, in order; a function raises if its step fails."""
        return [
            ("generate an image", self.generate),
            ("read it", self.read),
            ("augment it", self.augment),
            ("train one step", self.train),
            ("predict", self.predict),
            ("write and read back", self.write),
        ]

    def generate(self) -> None:
        images, masks = synthesis.generate("vesicle", count=1, size=SIZE, seed=0)
        self.image, self.mask = np.asarray(images[0]), np.asarray(masks[0])
        stream = TiffStream(self.folder / "image.tif", (1, SIZE, SIZE), 1, self.image.dtype, None)
        with finishing([stream]):
            stream.add(self.image)
        stream.hidden.rename(stream.path)

    def read(self) -> None:
        pixels = read_image(self.folder / "image.tif")
        if not np.array_equal(pixels, self.image):
            raise ValueError("the image read back differs from the image written")

    def augment(self) -> None:
        offset, scale = (torch.from_numpy(v) for v in image_statistics(self.image[None], "standard"))
        raw = torch.from_numpy(self.image[None, None].astype(np.float32))
        images = standardize(raw, offset[None], scale[None]).to(self.device)
        targets = torch.from_numpy((self.mask > 0)[None, None].astype(np.float32)).to(self.device)
        operations = Augmentation([RandomFlip(), RandomWarp()])
        self.images, self.targets = operations(images, targets)
        if not torch.isfinite(self.images).all():
            raise ValueError("augmentation returned values that are not finite")

    def train(self) -> None:
        torch.manual_seed(0)
        model = UNet(widths=[4, 8]).to(self.device)
        optimizer, loss = torch.optim.AdamW(model.parameters(), 1e-3), SegmentationLoss()
        with autocast(self.device, self.precision):
            logits = model(self.images)
        value = loss(logits.float(), self.targets)
        value.backward()
        optimizer.step()
        if not torch.isfinite(value):
            raise ValueError("the loss is not finite")
        facts: dict[str, Any] = {"model": {"name": "UNet", "settings": model.settings}, "normalization": "standard"}
        facts |= {"weights": model.state_dict(), "classes": ["vesicle"], "threshold": 0.5}
        checkpoint.save(self.folder / "model.pth", facts)

    def predict(self) -> None:
        self.probabilities = load_model(self.folder / "model.pth", str(self.device)).predict(self.image)
        if self.probabilities.shape != (SIZE, SIZE):
            raise ValueError(f"probabilities of shape {self.probabilities.shape}, expected {(SIZE, SIZE)}")

    def write(self) -> None:
        stream = TiffStream(self.folder / "prob.tif", (1, SIZE, SIZE), 1, np.dtype(np.float32), None)
        with finishing([stream]):
            stream.add(self.probabilities)
        stream.hidden.rename(stream.path)
        if not np.array_equal(read_image(self.folder / "prob.tif"), self.probabilities):
            raise ValueError("the probabilities read back differ from those written")

"""Where images come from and how files are read: the types and ranges of ``data.*``. The values are in `conf/data/`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from segexp.config.checked import Checked, require, require_positive
from segexp.data.foreign import describe_layout
from segexp.data.splits import compile_group, parse_fold
from segexp.errors import InputError
from segexp.io.images import PAGES


@dataclass
class SyntheticConfig(Checked):
    """Generated images: all images if no folder is given, or some in addition to the annotated ones."""

    train: int = MISSING
    val: int = MISSING
    size: int = MISSING
    online: bool = MISSING
    crops: int = MISSING
    fraction: float | None = MISSING
    style: Any = MISSING
    ranges: str | None = MISSING

    def problems(self) -> list[str]:
        faults: list[str] = []
        require(faults, self.train >= 1, f"data.synthetic.train={self.train}: expected 1 or more images")
        require(faults, self.val >= 1, f"data.synthetic.val={self.val}: expected 1 or more images")
        require(faults, 32 <= self.size <= 8192, f"data.synthetic.size={self.size}: expected 32 to 8192 pixels")
        require(
            faults, 1 <= self.crops <= 1000, f"data.synthetic.crops={self.crops}: expected 1 to 1000 crops an image"
        )
        require(
            faults,
            self.fraction is None or 0 <= self.fraction < 1,
            f"data.synthetic.fraction={self.fraction}: expected a share of the crops, from 0 to below 1, such as 0.5",
        )
        require(
            faults,
            self.style is None or (bool(self.styles) and all(isinstance(name, str) for name in self.styles)),
            f"data.synthetic.style={self.style}: expected a style, or several as [cells,field]",
        )
        return faults

    @property
    def styles(self) -> list[str]:
        """The styles to generate; empty: all styles of the task, or those of the file of ranges."""
        return [] if self.style is None else [self.style] if isinstance(self.style, str) else list(self.style)


_PAGES = "first, max, mean, channels, each or a number from 1"
FOLDERS = ("train_img_dir", "train_mask_dir", "val_img_dir", "val_mask_dir")


@dataclass
class DataConfig(Checked):
    """Where images come from."""

    root: str | None = MISSING
    train_img_dir: str | None = MISSING
    train_mask_dir: str | None = MISSING
    val_img_dir: str | None = MISSING
    val_mask_dir: str | None = MISSING
    unlabelled: str | None = MISSING
    val_fraction: float | None = MISSING
    fold: str | None = MISSING
    split: str | None = MISSING
    split_seed: int | None = MISSING
    images: int | None = MISSING
    group: str | None = MISSING
    page: str | None = MISSING
    channel: Any = MISSING
    channels: int = MISSING
    pixel_size: float | None = MISSING
    cache: str = MISSING
    synthetic: SyntheticConfig = MISSING

    def problems(self) -> list[str]:
        faults: list[str] = []
        require(
            faults,
            1 <= self.channels <= 64,
            f"data.channels={self.channels}: expected 1 (grey) or 3 (colour), or how many channels the files have",
        )
        numbered = self.page is not None and re.fullmatch(r"[1-9]\d*", self.page)
        pages = (None, "each", *PAGES)
        require(faults, self.page in pages or bool(numbered), f"data.page={self.page}: expected {_PAGES}")
        require_positive(faults, "data.pixel_size", self.pixel_size)
        for part in (self.channel_numbers, self._split_problems):
            try:
                part()
            except InputError as error:
                faults += str(error).splitlines()
        caches = ("auto", "device", "ram", "disk")
        require(faults, self.cache in caches, f"data.cache={self.cache}: expected one of {', '.join(caches)}")
        needed = FOLDERS[:2] if self.splits else FOLDERS
        given = [name for name in FOLDERS if getattr(self, name) is not None]
        if given and self.root is None and not set(needed) <= set(given):
            missing = ", ".join(f"data.{name}" for name in needed if name not in given)
            faults.append(f"missing: {missing} (give data.root, or all four folders, or the first two and a split)")
        own, synthetic = bool(given) or self.root is not None, self.synthetic
        require(
            faults,
            own or self.unlabelled is not None or not synthetic.fraction,
            f"data.synthetic.fraction={synthetic.fraction}: needs images of your own (data.root=DIR, or without masks "
            "data.unlabelled=DIR and model.weights=MODEL); without them every image is generated",
        )
        require(
            faults,
            own or self.images is None,
            f"data.images={self.images}: selects among your own training images (data.root=DIR); for generated ones "
            "set data.synthetic.train",
        )
        for name, least in (("images", 1), ("split_seed", 0)):
            value = getattr(self, name)
            require(faults, value is None or value >= least, f"data.{name}={value}: expected {least} or more, or null")
        require(
            faults,
            not (own or self.unlabelled is not None) or bool(synthetic.fraction) or not synthetic.online,
            (
                "data.synthetic.online: with images of your own, set the share of generated crops: "
                "data.synthetic.fraction=0.5"
            ),
        )
        return faults

    def all_folders(self) -> dict[str, Path]:
        """Setting -> folder that is read, including that of images without masks; empty: all images are generated."""
        unlabelled = {} if self.unlabelled is None else {"unlabelled": existing(self.unlabelled)}
        return (self.folders() or {}) | unlabelled

    @property
    def splits(self) -> bool:
        """Whether the images of one folder are divided into training and validation."""
        return not (self.val_fraction is None and self.fold is None and self.split is None)

    def _split_problems(self) -> None:
        chosen = [name for name in ("val_fraction", "fold", "split") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise InputError(f"{' and '.join('data.' + name for name in chosen)}: these cannot be combined; give one")
        if self.val_fraction is not None and not 0 < self.val_fraction < 1:
            raise InputError(
                f"data.val_fraction={self.val_fraction}: expected more than 0 and less than 1, such as 0.2"
            )
        if self.fold is not None:
            parse_fold(self.fold)
        if self.group is not None:
            compile_group(self.group)
        given = [f"data.{name}" for name in FOLDERS[2:] if getattr(self, name) is not None]
        if chosen and given:
            raise InputError(
                f"{', '.join(given)}: not with data.{chosen[0]}, which takes validation images from the training folder"
            )

    def channel_numbers(self) -> int | tuple[int, ...] | None:
        """`channel` as a number or a list of numbers.

        Raises:
            InputError: if one is not a number from 1.
        """
        numbers = self.channel if isinstance(self.channel, list) else [self.channel]
        fine = all(isinstance(number, int) and not isinstance(number, bool) and number >= 1 for number in numbers)
        if self.channel is not None and not (fine and numbers):
            raise InputError(f"data.channel={self.channel}: expected a number from 1, or several: '[1,3]'")
        return tuple(numbers) if isinstance(self.channel, list) else self.channel

    def page_choice(self) -> int | str | None:
        """`page` with numbers as numbers."""
        return int(self.page) if self.page is not None and self.page.isdigit() else self.page

    def folders(self) -> dict[str, Path] | None:
        """The four folders by name, ``~`` expanded; None if none is given and images are generated.

        Only the first two if their images are split; ``img`` and ``mask`` right under `root` count as those.

        Raises:
            InputError: if a validation folder exists and a setting divides the training images as well, or `root`
                does not exist or has its images and masks in other folders.
        """
        if self.root is None and self.train_img_dir is None:
            return None
        root = existing(self.root or ".")
        flat = not (root / "train").exists() and all((root / kind).is_dir() for kind in ("img", "mask"))
        tails = ("img", "mask", "val/img", "val/mask") if flat else ("train/img", "train/mask", "val/img", "val/mask")
        alone = self.root is not None and all(getattr(self, name) is None for name in FOLDERS)
        if alone and not root.is_dir():
            raise InputError(
                f"data.root={root}: no such folder; expected one that holds train/img, train/mask, val/img and val/mask"
            )
        if alone and not flat and not (root / "train" / "img").is_dir() and (there := describe_layout(root)):
            raise InputError(f"data.root={root}: no data set; {there}")
        given = {
            name: existing(value) if (value := getattr(self, name)) is not None else root / tail
            for name, tail in zip(FOLDERS, tails, strict=True)
        }
        if not self.splits:
            return given
        if not flat and given["val_img_dir"].is_dir():
            raise InputError(
                f"{given['val_img_dir']}: exists, but data.val_fraction, data.fold and data.split divide the training "
                "images; remove that setting, or name the two training folders alone: data.train_img_dir and "
                "data.train_mask_dir"
            )
        return {name: given[name] for name in FOLDERS[:2]}


def existing(path: str) -> Path:
    """A path as typed; a leading ``~`` becomes the home folder unless such a file exists."""
    return Path(path if os.path.exists(path) else os.path.expanduser(path))

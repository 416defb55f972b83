"""Choose the pretrained model whose training images are most similar to given images: ``segexp predict --model auto``.

Each model was trained on generated images of its own kind. A linear discriminant analysis (Fisher, Annals of Eugenics
7, 1936, with the covariance shrunk towards the identity) tells these kinds apart by 124 numbers of an image: those of
`segexp.inference.misfit`, and the blobs and ridges of `segexp.calibration.features`, bright and dark ones. Means and
covariance are in ``kinds.npz`` beside the models; ``python -m segexp.export.kinds`` makes that file.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segexp.calibration.features import SCALES, scale, structures
from segexp.errors import InputError
from segexp.inference.misfit import SMALLEST, WINDOW, describe_pixels, spread_evenly
from segexp.io.images import Channel, Page, open_image
from segexp.pretrained import NAMES, located

MOST = 16
"""Largest number of images that are examined, evenly spread."""
SHRINKAGE = 0.1
_FARTHEST = 8.0  # standard deviations that one number can count
_QUANTILE = 0.98


@dataclass(frozen=True)
class Choice:
    """The model chosen for some images.

    Attributes:
        name: the model whose kind fits all images together best.
        votes: model -> number of images to which it is the nearest.
        fits: number of images within the distance of 98 % of the generated images of their nearest kind.
        images: number of images examined.
    """

    name: str
    votes: Mapping[str, int]
    fits: int
    images: int

    def words(self) -> str:
        """Such as ``vesicle_giant: 14 of 16 images look like it (vesicle 2)``."""
        others = ", ".join(f"{name} {count}" for name, count in self.votes.items() if count and name != self.name)
        return f"{self.name}: nearest for {self.votes[self.name]} of {self.images} images" + (
            f" ({others})" if others else ""
        )


def describe(pixels: NDArray) -> NDArray[np.float64]:
    """The features (124,) of pixels (C, H, W) of any real dtype; channels are averaged."""
    plane = scale(np.mean(pixels, axis=0, dtype=np.float32))
    turned = plane.max() - plane
    both = [structures(side, task) for side in (plane, turned) for task in SCALES]
    return np.concatenate([describe_pixels(pixels), *both])


def learned(numbers: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The content of ``kinds.npz``, from features (N, 124) of images of each kind."""
    together = np.concatenate(list(numbers.values()))
    mean, spread = together.mean(0), together.std(0) + 1e-9
    centres = np.stack([((own - mean) / spread).mean(0) for own in numbers.values()])
    within = np.concatenate(
        [(own - mean) / spread - centre for own, centre in zip(numbers.values(), centres, strict=True)]
    )
    covariance = within.T @ within / len(within)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(len(mean))
    facts = {"mean": mean, "spread": spread, "centres": centres, "precision": np.linalg.inv(covariance)}
    return facts | {"limit": np.quantile(distances(facts, together).min(1), _QUANTILE)}


def distances(facts: Mapping[str, Any], numbers: NDArray) -> NDArray[np.float64]:
    """Squared Mahalanobis distances (N, kinds) of images' features (N, 124) from the mean of each kind."""
    standard = np.clip((numbers - facts["mean"]) / facts["spread"], -_FARTHEST, _FARTHEST)
    away = standard[:, None] - facts["centres"][None]
    return np.einsum("nki,ij,nkj->nk", away, facts["precision"], away)


def choose(images: Sequence[NDArray], facts: Mapping[str, Any] | None = None) -> Choice:
    """The kind of images (C, H, W), a few hundred pixels a side.

    Raises:
        InputError: if half of them or more fit no kind, or none is large enough to be judged.
    """
    large = [image for image in images if min(image.shape[-2:]) >= SMALLEST]
    if not large:
        raise InputError(f"--model auto: no image of {SMALLEST} px a side or more to choose by; name a model")
    facts = dict(np.load(located("vesicle").with_name("kinds.npz"), allow_pickle=False)) if facts is None else facts
    found = distances(facts, np.stack([describe(image) for image in large]))
    # each image counts alike: the one that is far from all of them must not decide for the others
    share = np.exp(-0.5 * (found - found.min(1, keepdims=True)))
    name = NAMES[int((share / share.sum(1, keepdims=True)).mean(0).argmax())]
    nearest = np.bincount(found.argmin(1), minlength=len(NAMES))
    fits = int((found.min(1) <= facts["limit"]).sum())
    choice = Choice(name, dict(zip(NAMES, map(int, nearest), strict=True)), fits, len(large))
    if 2 * fits <= len(large):
        raise InputError(
            f"--model auto: {len(large) - fits} of {len(large)} images look like none of the models that come with "
            f"segexp (nearest: {name}). segexp models lists them; name one with --model, or train your own"
        )
    return choice


def choose_for_files(files: Sequence[Path], page: Page = "first", channel: Channel = None) -> Choice:
    """The kind of image files, by at most `MOST` of them; those that cannot be read are left out.

    Args:
        files: the images.
        page, channel: the part of a file that is read, as in `segexp.io.images.open_image`.

    Raises:
        InputError: as `choose`.
    """
    return choose(list(_readable((files[k] for k in spread_evenly(len(files), MOST)), page, channel)))


def _readable(files: Iterable[Path], page: Page, channel: Channel) -> Iterator[NDArray]:
    """The middle (C, H, W) of each readable file, unless values there are not finite."""
    for path in files:
        try:
            with closing(open_image(path, page, channel)) as image:
                height, width = image.shape[:2]
                tall, wide = min(height, WINDOW), min(width, WINDOW)
                pixels = image.read((height - tall) // 2, (width - wide) // 2, tall, wide)
        except (InputError, OSError):
            continue  # predict says what is wrong with it
        if not np.isfinite(pixels).all():
            continue
        yield np.moveaxis(np.atleast_3d(pixels), 2, 0)

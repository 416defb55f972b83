"""A finished model that takes an image as it comes from a file and returns probabilities."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from segexp import checkpoint
from segexp.data.images import to_channels
from segexp.data.normalization import compress, image_statistics, standardize
from segexp.device import autocast, choose_device, choose_precision
from segexp.errors import InputError
from segexp.inference.tiles import predict_tiles
from segexp.metrics.region import without_small
from segexp.models import UNet


class Predictor:
    """Network, normalisation and threshold in one; training validates with it too, so the two cannot disagree.

    Attributes:
        model: the network, on `device`.
        classes: their names, in the order of the output channels.
        threshold: probability from which a pixel is foreground.
        min_size: 8-connected pieces of a class with fewer pixels are dropped from the labels.
        temperature: logits are divided by it, which calibrates the probabilities.
        facts: what else the model file holds (task, metrics, versions).
    """

    def __init__(
        self,
        model: UNet,
        normalization: str,
        classes: list[str],
        threshold: float = 0.5,
        device: torch.device | None = None,
        precision: str = "fp32",
        facts: dict[str, Any] | None = None,
        min_size: int = 0,
        temperature: float = 1.0,
    ):
        self.device = device or torch.device("cpu")
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normalization, self.classes, self.threshold = normalization, list(classes), threshold
        self.min_size, self.temperature = min_size, temperature
        self.precision, self.facts = precision, facts or {}

    def _logits(self, images: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            logits = self.model(images.contiguous(memory_format=torch.channels_last))
        return logits if self.temperature == 1 else logits.float() / self.temperature

    @torch.inference_mode()
    def probabilities(self, pixels: NDArray, tile: int = 512, overlap: int = 128) -> NDArray[np.float32]:
        """Raw pixels (C, H, W) of any real dtype to probabilities (K, H, W), float32 in [0, 1].

        The image is normalised as a whole before it is cut into tiles. The model is put in evaluation mode and left so.
        """
        self.model.eval()
        statistics = image_statistics(pixels, self.normalization)
        offset, scale = (torch.from_numpy(array)[None].to(self.device) for array in statistics)
        if pixels.dtype not in (np.uint8, np.uint16, np.float32):
            pixels = pixels.astype(np.float32)
        raw = torch.from_numpy(np.ascontiguousarray(pixels))[None].to(self.device)
        image = compress(standardize(raw, offset, scale), self.normalization)[0]
        return predict_tiles(self._logits, image, tile, overlap).cpu().numpy()

    def predict(self, image: ArrayLike) -> NDArray[np.float32]:
        """Probability of foreground for each pixel of an image.

        Args:
            image: (H, W) or (H, W, colours) of any real dtype, in whatever units the camera gives.

        Returns:
            float32 in [0, 1]: (H, W) for a model of one class, (K, H, W) for K classes. ``predict(image) >
            model.threshold`` is the mask.
        """
        array = np.asarray(image)
        if array.ndim not in (2, 3) or array.size == 0:
            raise InputError(f"image of shape {array.shape}: wanted (height, width) or (height, width, colours)")
        pixels = to_channels(array, self.model.settings["in_channels"])
        if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
            raise InputError("image holds NaN or infinite values")
        probabilities = self.probabilities(pixels)
        return probabilities[0] if len(self.classes) == 1 else probabilities

    def labels(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Probabilities (K, H, W) to labels (H, W): 0, or the likeliest class where it reaches the threshold.

        Pieces smaller than `min_size` become background.
        """
        labels = label_classes(probabilities, self.threshold)
        if self.min_size > 1:
            for label in range(1, len(self.classes) + 1):
                piece = labels == label
                labels[piece & ~without_small(piece, self.min_size)] = 0
        return labels


def label_classes(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Probabilities (K, H, W) to labels (H, W) uint8: 0, or 1 + the likeliest class where it reaches `threshold`."""
    best = probabilities.argmax(axis=0)
    return np.where(probabilities.max(axis=0) >= threshold, best + 1, 0).astype(np.uint8)


def load_model(path: str | Path, device: str = "auto", precision: str = "auto") -> Predictor:
    """Open a ``best_<task>_model.pth`` for prediction.

    >>> model = segexp.load_model("runs/vesicle/.../best_vesicle_model.pth")
    >>> mask = model.predict(segexp.read_image("cell.tif")) > model.threshold
    """
    network, facts = checkpoint.load_model(path)
    chosen, _ = choose_device(device)
    return Predictor(
        network,
        facts["normalization"],
        facts["classes"],
        facts["threshold"],
        chosen,
        choose_precision(precision, chosen)[0],
        facts,
        facts.get("min_size", 0),
        facts.get("temperature", 1.0),
    )

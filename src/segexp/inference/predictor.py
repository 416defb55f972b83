"""Predict with a trained model, or an ensemble: from an image as it is read from a file to probabilities."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from segexp import checkpoint
from segexp.data.normalization import compress, standardize
from segexp.data.reading import Reading, reading_of_model
from segexp.device import autocast, choose_device, choose_precision
from segexp.errors import InputError
from segexp.inference.row_reader import ArrayRows, checked
from segexp.inference.sliding_window import Forward, Progress, RowSource, Tiling, assemble, predict_bands
from segexp.inference.statistics import row_statistics
from segexp.inference.tta import average_symmetries
from segexp.io.images import to_channels
from segexp.metrics.region import without_small
from segexp.models import External, Network, UNet
from segexp.models.unet import fold_batch_norms


class Predictor:
    """Network, normalisation and threshold in one; training validates with it too, so the two cannot disagree.

    Attributes:
        model: the network, on `device`.
        classes: their names, in the order of the output channels.
        threshold: probability from which a pixel is foreground.
        min_size: 8-connected pieces of a class with fewer pixels are dropped from the labels.
        temperature: logits are divided by it, which calibrates the probabilities.
        facts: the other entries of the model file (task, metrics, versions).
        others: further members of an ensemble; probabilities are the mean over all.
        tta: whether the predictions of each tile in all eight flips and rotations are averaged.
        finished: whether the weights are final, so that batch norms can be folded for prediction. NaN in a prediction
            is an error then; during training it is not.
        log: called with lines for the user, such as a halved batch.
    """

    def __init__(
        self,
        model: Network,
        normalization: str,
        classes: list[str],
        threshold: float = 0.5,
        device: torch.device | None = None,
        precision: str = "fp32",
        facts: dict[str, Any] | None = None,
        min_size: int = 0,
        temperature: float = 1.0,
        finished: bool = False,
    ):
        self.device = device or torch.device("cpu")
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normalization, self.classes, self.threshold = normalization, list(classes), threshold
        self.min_size, self.temperature = min_size, temperature
        self.precision, self.facts, self.finished = precision, facts or {}, finished
        self._folded: tuple[list[int], UNet] | None = None
        self.others: list[Predictor] = []
        self.tta = False
        self.log: Callable[[str], None] = print

    def _network(self) -> Network:
        """The model; a finished one with its batch norms folded, which is repeated if its weights were changed."""
        if not self.finished or not isinstance(self.model, UNet):
            return self.model
        tensors = self.model.state_dict(keep_vars=True).values()
        versions = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
        if self._folded is None or self._folded[0] != versions:
            network = fold_batch_norms(self.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._folded = versions, network
        return self._folded[1]

    def forward(self, *images: RowSource, entropies: bool = False) -> Forward:
        """Raw tiles of an image to probabilities, normalised with the statistics of the whole image.

        Tiles of several images are stacked along their channels, (B, images * C, h, w), in input and output, and form
        one batch. With `entropies` the probabilities are followed by as many channels of their entropy in bits.
        """
        statistics = [row_statistics(image, self.normalization) for image in images]
        model = self._network()
        offset, scale = (torch.from_numpy(np.stack(part)).to(self.device) for part in zip(*statistics, strict=True))

        def network(tiles: Tensor) -> Tensor:
            with autocast(self.device, self.precision):
                logits = model(tiles.contiguous(memory_format=torch.channels_last))
            probabilities = torch.sigmoid(logits.float() / self.temperature)
            if not entropies:
                return probabilities
            nats = torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)
            return torch.cat([probabilities, nats / math.log(2)], dim=1)

        answer = average_symmetries(network) if self.tta else network

        def normalize_and_answer(raw: Tensor) -> Tensor:
            tiles = raw.unflatten(1, (len(images), -1)).flatten(0, 1)
            times = len(raw)
            standardized = standardize(tiles, offset.repeat(times, 1), scale.repeat(times, 1))
            probabilities = answer(compress(standardized, self.normalization))
            return probabilities.unflatten(0, (times, -1)).flatten(1, 2)

        return normalize_and_answer

    def tiling(self, tile: int | None = None, overlap: int | None = None, batch: int | None = None) -> Tiling:
        """How images are cut for these networks.

        Tiles overlap by 12 of the network's coarsest pixels, twice the receptive field of a U-Net; the more channels
        the network has at full resolution, the smaller the tiles, so that one takes a few hundred MB. With a smaller
        `tile`, neighbours overlap by at most a third. One coarsest pixel of reflection around the image reduces the
        error in its outermost 16 px by a quarter to a half (LOG.md, 2026-11-25); a wider reflection gains no more.
        """
        predictors = [self, *self.others]
        multiple = max(predictor.model.multiple for predictor in predictors)
        reach = max(predictor.model.settings.get("kernel_size", 3) // 2 for predictor in predictors)
        width = max(predictor.model.settings.get("widths", [64])[0] for predictor in predictors)
        external = any(isinstance(predictor.model, External) for predictor in predictors)  # unknown reach
        if overlap is None:
            overlap = 12 * multiple * max(1, reach)
            if external:  # their coarsest pixels are of 32 px
                overlap = max(min(overlap, 256), 2 * multiple)
            if tile is not None:  # a small tile is asked for where memory is short: it cannot share more than it is
                overlap = min(overlap, tile // 3 // multiple * multiple)
        tile = max(4 * overlap, 1280 if width <= 16 else 896 if width <= 32 else 640) if tile is None else tile
        batch = (1 if self.device.type == "cpu" else 8) if batch is None else batch
        blend = overlap if external else multiple
        return Tiling(tile, overlap, blend, multiple, margin=multiple, batch=batch)

    def bands(
        self, image: RowSource, tiling: Tiling | None = None, progress: Progress | None = None, name: str = "image"
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Probabilities of an image of any size from top to bottom: first row and (K, rows, W) float32.

        Raises:
            InputError: if a finished model returns NaN; the message names the image `name`.
        """
        yield from self._bands([image], image, tiling, progress, name=name)

    def disagreement(
        self,
        image: RowSource,
        part: RowSource | None = None,
        tiling: Tiling | None = None,
        progress: Progress | None = None,
        name: str = "image",
    ) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
        """How much the predictions for each pixel differ between the symmetries (`tta`) and the members of an ensemble.

        From top to bottom: first row, mean probabilities (K, rows, W), and the mutual information of prediction and
        member in bits, (rows, W), summed over classes: the entropy of the mean minus the mean entropy (BALD, Houlsby et
        al. 2011, arXiv:1112.5745). It is 0 where all agree, whether they are certain or not. Only `part` of the image
        is predicted, normalised as the whole.

        Raises:
            InputError: if the network of a finished model answers with NaN.
        """
        from scipy.special import entr  # here, since it takes a seventh of a second to import

        count = len(self.classes)
        for first, band in self._bands([image], part or image, tiling, progress, True, name):
            mean = band[:count]
            entropy = (entr(mean) + entr(1 - mean)) / math.log(2)
            yield first, mean, np.clip(entropy - band[count:], 0, None).sum(axis=0)

    def _bands(
        self,
        images: Sequence[RowSource],
        stacked: RowSource,
        tiling: Tiling | None = None,
        progress: Progress | None = None,
        entropies: bool = False,
        name: str = "image",
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        predictors = [self, *self.others]
        for predictor in predictors:
            predictor.model.eval()
            predictor.tta = self.tta
        with torch.inference_mode():
            parts = [predictor.forward(*images, entropies=entropies) for predictor in predictors]

        def mean(raw: Tensor) -> Tensor:
            with torch.inference_mode():  # here and not around the generator: it is not left between two bands
                if len(parts) == 1:
                    return parts[0](raw)
                return torch.stack([part(raw) for part in parts]).mean(dim=0)

        tiling = tiling or self.tiling()
        channels = len(images) * len(self.classes) * (2 if entropies else 1)
        for first, band in predict_bands(mean, stacked, channels, tiling, self.device, self.log, progress):
            if self.finished and np.isnan(band).any():  # a mask would be made of it as if it were background
                helps = what_helps_against_nan(self.precision, self.device)
                raise InputError(f"{name}: the network returns NaN: {helps}")
            yield first, band

    def probabilities(
        self,
        pixels: NDArray,
        tile: int | None = None,
        overlap: int | None = None,
        progress: Progress | None = None,
        name: str = "image",
    ) -> NDArray[np.float32]:
        """Raw pixels (C, H, W) of any real dtype to probabilities (K, H, W), float32 in [0, 1].

        The image is normalised as a whole before it is cut into tiles. The model is left in evaluation mode.

        Raises:
            InputError: if a finished model answers with NaN; it calls the image `name`.
        """
        image = ArrayRows(pixels)
        bands = self.bands(image, self.tiling(tile, overlap), progress, name)
        return assemble(bands, (len(self.classes), *image.shape[1:]))

    def together(self, versions: Sequence[NDArray]) -> list[NDArray[np.float32]]:
        """`probabilities` of several images (C, H, W), by the same tiles.

        Successive images of the same shape share a batch, as many as there are tiles in one.

        Raises:
            InputError: if the network of a finished model answers with NaN.
        """
        most = self.tiling().batch
        results: list[NDArray[np.float32]] = []
        while len(results) < len(versions):
            waiting = versions[len(results) : len(results) + most]
            alike = list(takewhile(lambda each, shape=waiting[0].shape: each.shape == shape, waiting))  # type: ignore[misc]
            images = [ArrayRows(each) for each in alike]
            stacked = ArrayRows(np.concatenate([image.pixels for image in images]))
            shape = (len(alike) * len(self.classes), *stacked.shape[1:])
            maps = assemble(self._bands(images, stacked), shape)
            results += np.split(maps, len(alike))
        return results

    def predict(self, image: ArrayLike, progress: Progress | None = None) -> NDArray[np.float32]:
        """Probability of foreground for each pixel of an image.

        Args:
            image: (H, W) or (H, W, channels) of any real dtype, in the units of the camera. Three or four channels of
                uint8 are taken for red, green, blue and alpha. Of other channels the one that the model was trained on
                (``data.channel``) is used; or pass that channel alone. The image is not rescaled: its pixel size must
                be ``model.facts["pixel_size"]`` (micrometres; absent: any size).
            progress: called with the pixels done and all pixels after each row of tiles; an exception that it raises
                ends the prediction.

        Returns:
            float32 in [0, 1]: (H, W) for a model of one class, (K, H, W) for K classes. ``predict(image) >
            model.threshold`` is the mask.

        Raises:
            InputError: if the array is not an image, if it is not clear which of its channels is meant, or if the
                network of a finished model answers with NaN.
        """
        array = np.asarray(image)
        if array.ndim not in (2, 3) or array.size == 0:
            raise InputError(f"image of shape {array.shape}: expected (height, width) or (height, width, colours)")
        reading = reading_of_model(self.facts, self.model.settings["in_channels"], len(self.classes))
        pixels = checked(channels_of_array(array, reading))
        probabilities = self.probabilities(pixels, progress=progress)
        return probabilities[0] if len(self.classes) == 1 else probabilities

    def labels(self, probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Probabilities (K, H, W) to labels (H, W): 0, or the most likely class if it reaches the threshold.

        Pieces smaller than `min_size` become background.
        """
        return drop_small(label_classes(probabilities, self.threshold), len(self.classes), self.min_size)


def channels_of_array(array: NDArray, reading: Reading) -> NDArray:
    """The channels (C, H, W) that a model takes from an array (H, W) or (H, W, channels) without colour information.

    Raises:
        InputError: if several channels are neither 8-bit colours nor what the model takes.
    """
    count = 1 if array.ndim == 2 else array.shape[2]
    colour = count in (3, 4) and array.dtype == np.uint8 and reading.channels in (1, 3)
    if count > 1 and reading.channel is not None:
        chosen = (reading.channel,) if isinstance(reading.channel, int) else tuple(reading.channel)
        if max(chosen) <= count:
            return to_channels(array[..., [number - 1 for number in chosen]], reading.channels, colour=False)
    if count > 1 and count != reading.channels and not colour:
        raise InputError(
            f"image of shape {array.shape}, {array.dtype}: {count} channels, but the model takes {reading.channels}; "
            "give one of them, such as predict(image[..., 0]); colours are 3 or 4 channels of uint8"
        )
    return to_channels(array, reading.channels, colour=colour)


def what_helps_against_nan(precision: str, device: torch.device) -> str:
    """Why a network with finite weights returns NaN, and what helps; bf16 has the range of float32."""
    if precision != "fp16":
        return "its numbers overflow, as with pixels far brighter than all others of the image"
    option = "" if device.type == "cpu" else "--device cpu has a wider range; "
    return f"its numbers overflow in fp16; {option}in Python: load_model(path, precision='fp32')"


def label_classes(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Probabilities (K, H, W) to labels (H, W) uint8: 0, or 1 + the most likely class if it reaches `threshold`."""
    if len(probabilities) == 1:
        return (probabilities[0] >= threshold).astype(np.uint8)
    best = probabilities.argmax(axis=0)
    return np.where(probabilities.max(axis=0) >= threshold, best + 1, 0).astype(np.uint8)


def drop_small(labels: NDArray[np.uint8], classes: int, min_size: int) -> NDArray[np.uint8]:
    """Labels (H, W) with the 8-connected pieces of fewer than `min_size` pixels made background, in place."""
    for label in range(1, classes + 1 if min_size > 1 else 1):
        piece = labels == label
        labels[piece & ~without_small(piece, min_size)] = 0
    return labels


def load_model(
    path: str | Path | Sequence[str | Path],
    device: str = "auto",
    precision: str = "auto",
    tta: bool = False,
    allow_targets: Sequence[str] = (),
) -> Predictor:
    """Open a ``best_<task>_model.pth`` for prediction, or several as an ensemble; or a pretrained model by its name.

    An ensemble returns the mean probability; its threshold is the mean, its `min_size` the largest of its members'.
    `allow_targets` are classes and packages that a file of another package's network may name, such as
    ``monai.networks.nets``: they are imported, so name only what you trust.

    Raises:
        InputError: if a file is not a model that can be read, or the models of an ensemble do not agree.

    >>> model = segexp.load_model("runs/vesicle/.../best_vesicle_model.pth")
    >>> mask = model.predict(segexp.read_image("cell.tif")) > model.threshold
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths:
        raise InputError("no model file given")
    chosen, _ = choose_device(device)
    predictors = [_open(one, chosen, choose_precision(precision, chosen)[0], allow_targets) for one in paths]
    first = predictors[0]
    for one, predictor in zip(paths[1:], predictors[1:], strict=True):
        for (what, ours), its in zip(_agreed(first).items(), _agreed(predictor).values(), strict=True):
            if ours != its:
                raise InputError(
                    f"{one}: {what} {its}, but {paths[0]} has {ours}; all models of an ensemble must agree"
                )
    first.others = predictors[1:]
    first.threshold = float(np.mean([predictor.threshold for predictor in predictors]))
    first.min_size = max(predictor.min_size for predictor in predictors)
    first.tta = tta
    return first


def _agreed(predictor: Predictor) -> dict[str, Any]:
    """The properties that the models of an ensemble must share: classes, inputs and scale."""
    return {
        "classes": predictor.classes,
        "in_channels": predictor.model.settings["in_channels"],
        "task.pixel_size": predictor.facts.get("pixel_size"),
    }


def _open(path: str | Path, device: torch.device, precision: str, allow_targets: Sequence[str]) -> Predictor:
    network, facts = checkpoint.load_model(path, allow_targets)
    min_size, temperature = facts.get("min_size", 0), facts.get("temperature", 1.0)  # absent before a run's end
    known = (facts["normalization"], facts["classes"], facts["threshold"])
    return Predictor(network, *known, device, precision, facts, min_size, temperature, finished=True)

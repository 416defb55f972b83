"""Functions that generate images with exact masks from a task and a seed.

The content of an image is drawn on the CPU by a random generator seeded from (seed, task, image number). The pixels are
computed in batches, in torch, on any device, and the noise is a function of (image key, pixel). An image therefore
depends neither on the number of images that are generated nor on the batch that it is in. On a CPU a batch is one
image, whose data then fit into the processor's cache.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segexp.synthesis import discs, filament_truth, filaments, vesicles
from segexp.synthesis.foreground import Foreground
from segexp.synthesis.layout import Layout, layout, tables
from segexp.synthesis.pixels import USUAL, compute
from segexp.synthesis.ranges import Limits, narrow

SMALLEST, LARGEST = 16, 16384  # px, side of an image
BATCH = 32  # images rendered at once on an accelerator

_RESIZED: dict[str, Callable[..., Any]] = {"vesicle": vesicles.resized, "cytoskeleton": filament_truth.resized}


@dataclass(frozen=True)
class Scene:
    """An image with its true mask and objects.

    Attributes:
        image: uint16 (H, W).
        mask: uint8 (H, W), 1 on visible objects; other values as set by `Foreground`.
        labels: int32 (H, W), k on entry k - 1 of `objects`; where objects overlap, the last one (the smallest vesicle).
        objects: the objects in focus, `Vesicles` or `Filaments`, in px.
        unfocused: the objects out of focus, `Discs` or `Filaments`.
        style: the style that was drawn.
        parameters: the value that was drawn for each row of the table.
    """

    image: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    objects: vesicles.Vesicles | filaments.Filaments
    unfocused: discs.Discs | filaments.Filaments
    style: str
    parameters: dict[str, float]


def _checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2 or not all(isinstance(s, int | np.integer) and SMALLEST <= s <= LARGEST for s in pair):
        raise ValueError(f"size must be one or two whole numbers from {SMALLEST} to {LARGEST} px; got {size!r}")
    return int(pair[0]), int(pair[1])


_Batch = tuple[list[Layout], Tensor, Tensor, Tensor, Tensor]
"""Layouts; images int32, masks uint8, labels int32 (B, H, W) and visibility bool as tensors on the device."""


@dataclass(frozen=True)
class _Request:
    """The checked arguments of a call."""

    task: str
    numbers: Sequence[int]
    size: tuple[int, int]
    seed: int
    device: torch.device
    styles: list[str]
    ranges: dict[str, Limits]
    foreground: Foreground

    def batch(self, numbers: Sequence[int]) -> _Batch:
        """Draw and render some of the images."""
        drawn = [layout(self.task, self.size, self.seed, i, self.styles, self.ranges) for i in numbers]
        for one in drawn:
            one.objects = _RESIZED[self.task](one.objects, one.parameters["psf"], self.foreground)
        with torch.no_grad():
            return drawn, *compute(self.task, drawn, self.size, self.device, self.foreground)

    def batches(self, threads: int | None = None) -> Iterator[_Batch]:
        """Yield the images batch by batch, in order.

        On a CPU, `threads` images are computed at once (default: the number of threads that torch may use), each on one
        thread. This is faster than several threads on one image, far faster if other programs use the cores too, and
        the result is the same to the bit for any number of threads.
        """
        if self.device.type != "cpu":
            for k in range(0, len(self.numbers), BATCH):
                yield self.batch(self.numbers[k : k + BATCH])
            return
        before = torch.get_num_threads()
        threads = before if threads is None else threads
        with ThreadPoolExecutor(max(1, min(threads, len(self.numbers))), initializer=_one_thread) as pool:
            waiting: deque[Future[_Batch]] = deque()
            try:
                for i in self.numbers:
                    waiting.append(pool.submit(self.batch, [i]))
                    if len(waiting) > 2 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
                torch.set_num_threads(before)  # threads started later would otherwise get the pool's setting


def _one_thread() -> None:
    torch.set_num_threads(1)


def _whole(name: str, value: object) -> int:
    if not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"{name} must be a whole number of 0 or more; got {value!r}")
    return int(value)


def _request(
    task: str,
    numbers: Sequence[int],
    size: int | tuple[int, int],
    seed: int,
    device: str | torch.device,
    foreground: Foreground,
    ranges: dict[str, Any],
) -> _Request:
    """Check the arguments; the errors state the value and what is accepted."""
    table, known = tables(task)
    if task == "vesicle" and foreground.width is not None:
        raise ValueError(
            "a mask width can be set for filaments only; for vesicles set a share of the peak (share or --mask-share), "
            "such as 0.5"
        )
    limits = dict(ranges)
    chosen = limits.pop("style", None)
    styles = list(known) if chosen is None else [chosen] if isinstance(chosen, str) else list(chosen)
    if not styles or set(styles) - set(known):
        raise ValueError(f"unknown style {chosen!r} for {task}; accepted: {', '.join(known)}")
    narrow(table, limits)
    return _Request(
        task, numbers, _checked_size(size), _whole("seed", seed), torch.device(device), styles, limits, foreground
    )


def _following(first: int, count: int) -> range:
    return range(_whole("first", first), first + _whole("count", count))


def generate(
    task: str,
    count: int,
    size: int | tuple[int, int],
    seed: int,
    first: int = 0,
    device: str | torch.device = "cpu",
    foreground: Foreground = USUAL,
    **ranges: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint16 (count, H, W) and masks uint8 0/1 of the same shape: images `first` to `first + count - 1`.

    `task` is one of `TASKS`; `size` is in px, one number or (H, W). `ranges` limit what is drawn: each is the name of a
    row of `tables(task)` with a number or (low, high) in the row's unit, or `style` with one name or several.
    `foreground` sets the width of masks, and their values besides 0 and 1.
    """
    request = _request(task, _following(first, count), size, seed, device, foreground, ranges)
    images, masks = np.empty((count, *request.size), np.uint16), np.empty((count, *request.size), np.uint8)
    done = 0
    for drawn, image, mask, _, _ in request.batches():
        images[done : done + len(drawn)] = image.cpu().numpy()
        masks[done : done + len(drawn)] = mask.cpu().numpy()
        done += len(drawn)
    return images, masks


def generate_scenes(
    task: str,
    count: int,
    size: int | tuple[int, int],
    seed: int,
    first: int = 0,
    device: str | torch.device = "cpu",
    foreground: Foreground = USUAL,
    **ranges: Any,
) -> Iterator[Scene]:
    """Yield the same images as `generate`, one by one, each with its objects, style and parameters."""
    request = _request(task, _following(first, count), size, seed, device, foreground, ranges)
    for drawn, *tensors in request.batches():
        image, mask, labels, visible = (tensor.cpu().numpy() for tensor in tensors)
        parts = 0
        for b, one in enumerate(drawn):
            parts = one.objects.mark(visible, parts)
            grey = image[b].astype(np.uint16)
            yield Scene(grey, mask[b], labels[b], one.objects, one.blurred, one.style, one.parameters)


def render(
    task: str,
    numbers: Sequence[int],
    size: int | tuple[int, int],
    seed: int,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    foreground: Foreground = USUAL,
    **ranges: Any,
) -> tuple[Tensor, Tensor]:
    """Return the images with the given numbers as tensors on `device`: uint16 images and uint8 masks 0/1, (B, H, W).

    For training on images that are never stored. The call does not wait for the device, unless the device has no memory
    left. The pixels are those of `generate(task, ..., first=number)`, and `ranges` has the same meaning. On a CPU,
    `threads` images are computed at once, by default as many as torch may use threads.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """
    if threads is not None and _whole("threads", threads) < 1:
        raise ValueError("threads must be 1 or more; got 0")
    numbers = [_whole("numbers", number) for number in numbers]
    request = _request(task, numbers, size, seed, device, foreground, ranges)
    images = torch.empty((len(numbers), *request.size), dtype=torch.uint16, device=request.device)
    masks = torch.empty(images.shape, dtype=torch.uint8, device=request.device)
    done = 0
    for drawn, image, mask, _, _ in request.batches(threads):
        images[done : done + len(drawn)] = image.to(torch.uint16)
        masks[done : done + len(drawn)] = mask
        done += len(drawn)
    return images, masks

"""One call from (task, seed) to images with exact truth.

What is in an image is drawn on the CPU by a generator seeded from (seed, task, image number); pixels are computed
batched, in torch, on any device, and noise is a function of (image key, pixel). So an image depends on nothing but
its number: not on how many are asked for, nor on the batch it is in. On a CPU the batch is one image: what an image
needs then stays in the cache.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segexp.synthesis import cells as cell
from segexp.synthesis import discs, filament_light, filament_truth, filaments, noise, optics, styles, vesicles
from segexp.synthesis.foreground import Foreground
from segexp.synthesis.jpeg import jpeg
from segexp.synthesis.ranges import Limits, Range, Style, draw, narrow
from segexp.synthesis.truth import Truth, View

TASKS = ("vesicle", "cytoskeleton")
SMALLEST, LARGEST = 16, 16384  # px, side of an image
USUAL = Foreground()
BATCH = 32  # images rendered at once on an accelerator

_TABLES: dict[str, dict[str, Range]] = {
    "vesicle": vesicles.VESICLES | cell.CELLS | optics.OPTICS,
    "cytoskeleton": filaments.FILAMENTS | cell.CELLS | optics.OPTICS,
}
_STYLES: dict[str, dict[str, Style]] = {"vesicle": styles.VESICLE_STYLES, "cytoskeleton": styles.FILAMENT_STYLES}
_SAMPLE: dict[str, Callable[..., Any]] = {"vesicle": vesicles.sample, "cytoskeleton": filaments.sample}
_DRAW: dict[str, Callable[..., Any]] = {"vesicle": vesicles.draw, "cytoskeleton": filament_light.draw}
_TRUTH: dict[str, Callable[..., Truth]] = {"vesicle": vesicles.truth, "cytoskeleton": filament_truth.truth}
_RESIZED: dict[str, Callable[..., Any]] = {"vesicle": vesicles.resized, "cytoskeleton": filament_truth.resized}
_UNFOCUSED: dict[str, Callable[..., Tensor]] = {
    "vesicle": vesicles.out_of_focus, "cytoskeleton": filament_truth.out_of_focus
}  # fmt: skip
_GRAIN = 0x5DEECE66D  # any number: the texture's noise is not the camera's
_KNOTS = (5, 11)  # knots a side of the random fields: background, texture of the haze


@dataclass
class Layout:
    """All that decides an image, small and on the CPU."""

    key: int  # of the noise
    style: str
    parameters: dict[str, float]
    cells: cell.Cells
    objects: Any  # Vesicles or Filaments, in focus
    blurred: Any  # Discs or Filaments, out of focus
    blobs: discs.Discs  # distractors
    knots: tuple[np.ndarray, np.ndarray]  # of the random fields
    angles: tuple[float, float]  # of the background's slope and of the bleaching, radians
    hot: np.ndarray  # (n, 3): row, column, charge as a share of the full scale


@dataclass(frozen=True)
class Scene:
    """An image with its truth.

    `image` uint16 (H, W); `mask` uint8 (H, W), 1 on visible objects, else what `Foreground` says; `labels` int32
    (H, W): k on entry k - 1 of `objects`, where objects overlap the last one (the smallest vesicle); `objects`:
    `Vesicles` or `Filaments`, in px; `unfocused`: `Discs` or `Filaments` out of focus.
    """

    image: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    objects: vesicles.Vesicles | filaments.Filaments
    unfocused: discs.Discs | filaments.Filaments
    style: str
    parameters: dict[str, float]


def tables(task: str) -> tuple[dict[str, Range], dict[str, Style]]:
    """Give all that `task` can vary, and its styles."""
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; accepted: {', '.join(TASKS)}")
    return _TABLES[task], _STYLES[task]


def layout(
    task: str, size: tuple[int, int], seed: int, index: int, styles: Sequence[str], ranges: dict[str, Limits]
) -> Layout:
    """Draw what image `index` of `seed` holds."""
    table, known = tables(task)
    # A stream for each stage: a new row of a table, or cells drawn otherwise, leaves what other stages draw as it was
    sequence = np.random.SeedSequence(seed, spawn_key=(TASKS.index(task), index))
    rng, field_rng, cell_rng, object_rng = (np.random.Generator(np.random.Philox(stage)) for stage in sequence.spawn(4))
    weights = np.array([known[name].weight for name in styles])
    style = styles[int(rng.choice(len(styles), p=weights / weights.sum()))]
    p = draw(narrow(table, dict(known[style].limits) | ranges), rng)
    field = tuple(field_rng.standard_normal((k, k)).astype(np.float32) for k in _KNOTS)
    angles = (field_rng.uniform(0, 2 * np.pi), field_rng.uniform(0, 2 * np.pi))
    count = field_rng.poisson(p["hot_pixels"] * size[0] * size[1])
    hot = np.stack(
        [
            field_rng.integers(0, size[0], count),
            field_rng.integers(0, size[1], count),
            field_rng.uniform(0.02, 0.6, count),
        ],
        1,
    )
    held = cell.sample(cell_rng, p, size)
    objects, blurred, blobs = _SAMPLE[task](object_rng, p, size, held)
    key = int(sequence.generate_state(1, np.uint64)[0].astype(np.int64))
    return Layout(key, style, p, held, objects, blurred, blobs, field, angles, hot)  # type: ignore[arg-type]


def _light(task: str, batch: list[Layout], canvas: Tensor, size: tuple[int, int]) -> tuple[Any, Tensor]:
    """Draw all light without optics: objects in focus on a flat canvas, those out of focus on a coarse one (B, h, w).

    The first of the pair is what the truth needs.
    """
    coarse = optics.coarse_shape(*size)
    unfocused = torch.zeros(len(batch) * coarse[0] * coarse[1] + 1, device=canvas.device)
    laid = _DRAW[task]([b.objects for b in batch], canvas, size)
    if task == "vesicle":
        for patch in discs.patches([discs.shrunk(b.blurred, optics.COARSE) for b in batch], coarse, canvas.device):
            discs.splat(unfocused, patch)
    else:
        filament_light.draw_coarse([b.blurred for b in batch], unfocused, coarse, optics.COARSE)
    for patch in discs.patches([b.blobs for b in batch], size, canvas.device):
        discs.splat(canvas, patch)
    return laid, unfocused[:-1].view(-1, *coarse)


def _grain(keys: Tensor, shape: tuple[int, int], sigma: np.ndarray) -> Tensor:
    """Give a fine texture of mean 0 and deviation 1 on the coarse grid, (B, *shape); `sigma` (B,) in full px."""
    return optics.smoothed_noise(noise.normal(keys ^ _GRAIN, *shape), sigma / optics.COARSE)


def _stored_as_jpeg(image: Tensor, p: dict[str, Tensor]) -> Tensor:
    """Bring grey values to 8 bits and through JPEG: int32 -> int32 in [0, 255], or in [0, 65535] where stretched."""
    depth = torch.where(p["stretch"] > 0.5, 65535.0, 2.0 ** p["bits"] - 1.0)[:, None, None]
    stored = jpeg((image * (255.0 / depth)).round_(), p["quality"])
    return (stored * torch.where(p["stretch"] > 0.5, 257.0, 1.0)[:, None, None]).to(torch.int32)


def _mask(
    task: str, batch: list[Layout], truth: Truth, size: tuple[int, int], canvas: Tensor, foreground: Foreground
) -> Tensor:
    """Give uint8 (B*H*W,): 1 on visible objects, elsewhere what `foreground` says of faint and unfocused ones."""
    mask = (truth.labels > 0).to(torch.uint8)
    for value, there in (
        (foreground.faint, truth.faint),
        (
            foreground.unfocused,
            _UNFOCUSED[task]([b.blurred for b in batch], [b.parameters["defocus"] for b in batch], size, canvas)
            if foreground.unfocused
            else None,
        ),
    ):
        if value and there is not None:
            mask = torch.where((mask == 0) & there, value, mask)
    return mask


def compute(
    task: str, batch: list[Layout], size: tuple[int, int], device: torch.device, foreground: Foreground = USUAL
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute a batch: image int32, mask uint8 and labels int32, all (B, H, W), and which objects' parts are visible.

    The last is bool, over all vesicles or steps of filaments in order.
    """
    (height, width), n = size, len(batch)
    names = list(batch[0].parameters)
    values = np.array([[b.parameters[name] for name in names] for b in batch], np.float32)
    on_cpu = dict(zip(names, values.T, strict=True))
    p = dict(zip(names, torch.from_numpy(values).to(device).unbind(1), strict=True))

    canvas = torch.zeros(n * height * width + 1, device=device)
    laid, unfocused = _light(task, batch, canvas, size)
    sharp = canvas[:-1].view(n, height, width)
    if on_cpu["dark"].any():
        sharp = sharp * (1.0 - 2.0 * p["dark"][:, None, None])
        unfocused = unfocused * (1.0 - 2.0 * p["dark"][:, None, None])

    coarse = optics.coarse_shape(height, width)
    slope, fade = torch.from_numpy(np.array([b.angles for b in batch], np.float32)).to(device).unbind(1)
    uneven, texture = (
        optics.smooth_field(torch.from_numpy(np.stack([b.knots[k] for b in batch])).to(device), coarse)
        for k in range(2)
    )
    keys = torch.from_numpy(np.array([b.key for b in batch])).to(device)
    grain = 1.0 + p["grain"][:, None, None] * _grain(keys, coarse, on_cpu["grain_size"])
    background = 1.0 + p["unevenness"][:, None, None] * (0.7 * optics.ramp(slope, coarse) + 0.3 * uneven)
    background = (background * grain).clamp_min_(0.0)
    wide = optics.blur(optics.coarsened(sharp), on_cpu["halo_psf"] / optics.COARSE) * p["halo"][:, None, None]
    behind = optics.blur(unfocused, on_cpu["defocus"] / optics.COARSE)
    smooth = p["background"][:, None, None] * background + wide + behind
    fields = [smooth, optics.illumination(p, fade, coarse)]
    if any(len(b.cells) for b in batch):
        level, haze = cell.draw([b.cells for b in batch], p, coarse, texture)
        fields += [level, haze * grain]
    smooth, lit, *held = optics.refined(torch.stack(fields, 1), height, width).unbind(1)

    if held:
        level, haze = held
        smooth = smooth + haze * (level / p["cell_edge"][:, None, None] + 0.5).clamp_(0.0, 1.0)
    expected = optics.blur(sharp, on_cpu["psf"]).mul_(1.0 - p["halo"][:, None, None])
    if on_cpu["airy"].any():
        rings = optics.airy_blur(sharp, on_cpu["psf"]).mul_(1.0 - p["halo"][:, None, None])
        expected = torch.where(p["airy"][:, None, None] > 0.5, rings, expected)
    expected += smooth
    # A dark object leaves a twentieth of what is behind it; one of negative brightness nothing
    expected = torch.maximum(expected, 0.05 * p["dark"][:, None, None] * smooth)
    scale = lit * p["photons"][:, None, None]
    expected = expected.mul_(scale)

    z = noise.normal(keys, height, width)
    if bool((on_cpu["noise_blur"] > 0.25).any()):  # less leaves the noise as it is
        z = optics.smoothed_noise(z, on_cpu["noise_blur"])
    hot = torch.zeros(n, height, width, device=device)
    for b, one in enumerate(batch):
        if len(one.hot):
            row, column, charge = torch.from_numpy(one.hot).to(device).unbind(1)
            hot[b, row.long(), column.long()] = charge.float()
    image = optics.exposed(expected, p, z, hot)
    if on_cpu["jpeg"].any():
        image = torch.where(p["jpeg"][:, None, None] > 0.5, _stored_as_jpeg(image, p), image)
    view = View(expected.flatten(), scale.flatten(), p, size)
    truth = _TRUTH[task]([b.objects for b in batch], laid, view, foreground.faint > 0)
    mask = _mask(task, batch, truth, size, canvas, foreground)
    return image, mask.view(image.shape), truth.labels.view(image.shape), truth.visible


def _checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2 or not all(isinstance(s, int | np.integer) and SMALLEST <= s <= LARGEST for s in pair):
        raise ValueError(f"size must be one or two whole numbers from {SMALLEST} to {LARGEST} px; got {size!r}")
    return int(pair[0]), int(pair[1])


_Batch = tuple[list[Layout], Tensor, Tensor, Tensor, Tensor]
"""Layouts, images int32, masks uint8 and labels int32 (B, H, W), visibility bool: tensors on the request's device."""


@dataclass(frozen=True)
class _Request:
    """What a caller asked for, checked."""

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
        """Give the images batch by batch, in order.

        On a CPU as many images at once as torch may use threads, each on one thread: faster than several threads on
        one image, far faster where other programs want the cores too, and the same to the bit for any number of them.
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
                torch.set_num_threads(before)  # the pool's setting is also what threads started later would get


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
    """Check the arguments; say what came and what is accepted."""
    table, known = tables(task)
    if task == "vesicle" and foreground.width is not None:
        raise ValueError("a mask of one width is for filaments; for vesicles give a share of the peak, such as 0.5")
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
    """Give images uint16 (count, H, W) and masks uint8 0/1 of that shape: numbers `first` and following of `seed`.

    `task` is one of `TASKS`; `size` is in px, one number or (H, W). `ranges` narrow what is drawn: the name of a row
    of `tables(task)` with a number or (low, high) in the row's unit, and `style`, one name or several. `foreground`
    says how wide masks are and what they hold besides 0 and 1.
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
    """Give the same images as `generate` one by one, each with all that is known about it."""
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
    """Give images of any numbers as tensors on `device`: (B, H, W) uint16 grey values, (B, H, W) uint8 masks 0/1.

    For training on images that no disk holds: nothing here waits for the device but where it has no memory left.
    The pixels are those of `generate(task, ..., first=number)`; `ranges` are meant as there. On a CPU `threads`
    images are drawn side by side, by default as many as torch may use threads.
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

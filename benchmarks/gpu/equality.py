"""Every operation on the device equals the CPU route, for the same draws and within stated bounds.

A pixel counts as unlike where it differs by more than 0.002 standard deviations plus 0.001 of its value (two units in
the last place of a 16-bit dtype). Behind a warp, CLAHE's rounding to 256 levels turns a difference of a millionth into
one of a level in a few pixels; the noise rounds to whole photons. So each has a share of pixels that may be unlike.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import cv2
import numpy as np
import torch
from benchmarks.gpu.parts import Setting, device_route, micrographs, operations, recipe

from segexp.augment import Augmentation, clahe

MAY_DIFFER = {"RandomCLAHE": 5e-3, "RandomPhotonNoise": 5e-3, "recipe": 5e-2}
MASKS_MAY_DIFFER = 1e-3  # positions half-way between two pixels
LEVELS = {256: 1, 65536: 2}  # grey levels that CLAHE may differ by from OpenCV


def checks(setting: Setting) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Each operation in float32, the recipes in three dtypes, and CLAHE against OpenCV."""
    batch, size = (16, 512) if setting.full else (8, 64)
    for bins in LEVELS:
        for grid in ((8, 8), (3, 5)):
            yield f"CLAHE, {bins} levels, {grid[0]}x{grid[1]} tiles, and OpenCV", partial(_opencv, setting, bins, grid)
    for task in ("vesicle", "cytoskeleton"):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            name = f"recipe {task}, {str(dtype).removeprefix('torch.')}"
            yield name, partial(compare, recipe(task), setting, batch, size, dtype, MAY_DIFFER["recipe"])
    for name, operation in operations().items():
        share = next((share for prefix, share in MAY_DIFFER.items() if name.startswith(prefix)), 1e-4)
        dtypes = (torch.float32, torch.bfloat16, torch.float16) if setting.full else (torch.float32,)
        for dtype in dtypes:
            full_name = f"{name}, {str(dtype).removeprefix('torch.')}"
            yield full_name, partial(compare, Augmentation([operation]), setting, batch, size, dtype, share)


def compare(
    pipeline: Augmentation, setting: Setting, batch: int, size: int, dtype: torch.dtype, may_differ: float
) -> dict:
    """The device's result beside the CPU's."""
    images, masks = micrographs(batch, size, torch.device("cpu"))
    images = images.to(dtype)
    params = pipeline.sample(images.shape, torch.Generator().manual_seed(1))
    expected, expected_masks = pipeline(images, masks, params=params)
    with nullcontext() if setting.full else device_route():
        result, moved = pipeline(images.to(setting.device), masks.to(setting.device), params=params)
    expected, result = expected.float(), result.cpu().float()
    gap = (result - expected).abs()
    deviation = expected.std((2, 3), keepdim=True)
    relative = max(1e-3, 2 * torch.finfo(dtype).eps)
    share = (gap > 2e-3 * deviation + relative * expected.abs()).float().mean().item()
    masks_share = (moved.cpu() != expected_masks).float().mean().item()
    sound = bool(torch.isfinite(result).all()) and share <= may_differ and masks_share <= MASKS_MAY_DIFFER
    return {
        "ok": sound,
        "unlike": share,
        "may be": may_differ,
        "worst": (gap / deviation).max().item(),
        "masks": masks_share,
    }


def _opencv(setting: Setting, bins: int, grid: tuple[int, int]) -> dict:
    size, batch = (512, 8) if setting.full else (60, 2)
    images, _ = micrographs(batch, size, torch.device("cpu"), seed=2)
    levels = (images - images.amin()).div(images.amax() - images.amin()).mul(bins - 1).round().numpy()[:, 0]
    levels = levels.astype(np.uint8 if bins == 256 else np.uint16)
    expected = np.stack([cv2.createCLAHE(2.0, (grid[1], grid[0])).apply(image) for image in levels])
    given = torch.from_numpy(levels.astype(np.float32))[:, None].to(setting.device) / (bins - 1)
    result = clahe(given, 2.0, grid, bins, "batched")[:, 0].cpu().numpy() * (bins - 1)
    gap = np.abs(np.rint(result) - expected)
    return {
        "ok": bool(gap.max() <= LEVELS[bins]),
        "largest difference, levels": float(gap.max()),
        "unlike": float((gap > 0).mean()),
    }

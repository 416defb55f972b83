"""From layouts to pixels: light, optics, camera and masks of a batch of images, in torch on any device.

Nothing here waits for the device: the sizes of all tensors follow from arrays on the CPU.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segexp.synthesis import cells as cell
from segexp.synthesis import discs, filament_light, filament_truth, noise, optics, vesicles
from segexp.synthesis.foreground import Foreground
from segexp.synthesis.jpeg import jpeg
from segexp.synthesis.layout import Layout
from segexp.synthesis.truth import Truth, View

USUAL = Foreground()

_DRAW: dict[str, Callable[..., Any]] = {"vesicle": vesicles.draw, "cytoskeleton": filament_light.draw}
_TRUTH: dict[str, Callable[..., Truth]] = {"vesicle": vesicles.truth, "cytoskeleton": filament_truth.truth}
_UNFOCUSED: dict[str, Callable[..., Tensor]] = {
    "vesicle": vesicles.out_of_focus, "cytoskeleton": filament_truth.out_of_focus
}  # fmt: skip
_GRAIN = 0x5DEECE66D  # an arbitrary number, which makes the texture's noise differ from the camera's


@dataclass(frozen=True)
class _Batch:
    """Layouts, and their parameters as (B,) tensors on the device and (B,) arrays on the CPU."""

    layouts: list[Layout]
    size: tuple[int, int]
    p: Mapping[str, Tensor]
    on_cpu: Mapping[str, np.ndarray]
    keys: Tensor  # int64 (B,)

    def over_pixels(self, name: str) -> Tensor:
        """Return a parameter as (B, 1, 1)."""
        return self.p[name][:, None, None]


def _gathered(layouts: list[Layout], size: tuple[int, int], device: torch.device) -> _Batch:
    names = list(layouts[0].parameters)
    values = np.array([[one.parameters[name] for name in names] for one in layouts], np.float32)
    on_cpu = dict(zip(names, values.T, strict=True))
    p = dict(zip(names, torch.from_numpy(values).to(device).unbind(1), strict=True))
    return _Batch(layouts, size, p, on_cpu, torch.from_numpy(np.array([one.key for one in layouts])).to(device))


def _light(task: str, batch: list[Layout], canvas: Tensor, size: tuple[int, int]) -> tuple[Any, Tensor]:
    """Draw all light before the optics: objects in focus on a flat canvas, the others on a coarse one (B, h, w).

    Returns the patches or steps that the task's `truth` function needs, and the coarse canvas.
    """
    coarse = optics.coarse_shape(*size)
    unfocused = torch.zeros(len(batch) * coarse[0] * coarse[1] + 1, device=canvas.device)
    laid = _DRAW[task]([b.objects for b in batch], canvas, size)
    if task == "vesicle":
        for patch in discs.patches([discs.shrunk(b.blurred, optics.COARSE) for b in batch], coarse, canvas.device):
            discs.splat(unfocused, patch)
    else:
        filament_light.draw_coarse([b.blurred for b in batch], unfocused, coarse, optics.COARSE)
    filament_light.draw([b.untraced for b in batch], canvas, size)
    for patch in discs.patches([b.blobs for b in batch], size, canvas.device):
        discs.splat(canvas, patch)
    return laid, unfocused[:-1].view(-1, *coarse)


def _grain(keys: Tensor, shape: tuple[int, int], sigma: np.ndarray) -> Tensor:
    """Return a fine texture of mean 0 and deviation 1 on the coarse grid, (B, *shape); `sigma` (B,) in image px."""
    return optics.smoothed_noise(noise.normal(keys ^ _GRAIN, *shape), sigma / optics.COARSE)


def _stored_as_jpeg(image: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    """Convert grey values to 8 bits and apply JPEG: int32 -> int32 in [0, 255], or in [0, 65535] if stretched."""
    depth = torch.where(p["stretch"] > 0.5, 65535.0, 2.0 ** p["bits"] - 1.0)[:, None, None]
    stored = jpeg((image * (255.0 / depth)).round_(), p["quality"])
    return (stored * torch.where(p["stretch"] > 0.5, 257.0, 1.0)[:, None, None]).to(torch.int32)


def _mask(
    task: str, batch: list[Layout], truth: Truth, size: tuple[int, int], canvas: Tensor, foreground: Foreground
) -> Tensor:
    """Return the mask, uint8 (B*H*W,): 1 on visible objects, `foreground`'s values on faint and unfocused ones."""
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


def _surroundings(b: _Batch, sharp: Tensor, unfocused: Tensor) -> tuple[Tensor, Tensor]:
    """Return all smooth light, and the share of illumination at each pixel, both (B, H, W).

    Smooth light is the background, the haze of cells, the objects' halos, and objects out of focus. It is computed on
    the coarse grid.
    """
    height, width = b.size
    device, coarse = sharp.device, optics.coarse_shape(height, width)
    slope, fade = torch.from_numpy(np.array([one.angles for one in b.layouts], np.float32)).to(device).unbind(1)
    uneven, texture = (
        optics.smooth_field(torch.from_numpy(np.stack([one.knots[k] for one in b.layouts])).to(device), coarse)
        for k in range(2)
    )
    grain = 1.0 + b.over_pixels("grain") * _grain(b.keys, coarse, b.on_cpu["grain_size"])
    background = 1.0 + b.over_pixels("unevenness") * (0.7 * optics.ramp(slope, coarse) + 0.3 * uneven)
    background = (background * grain).clamp_min_(0.0)
    wide = optics.blur(optics.coarsened(sharp), b.on_cpu["halo_psf"] / optics.COARSE) * b.over_pixels("halo")
    behind = optics.blur(unfocused, b.on_cpu["defocus"] / optics.COARSE)
    smooth = b.over_pixels("background") * background + wide + behind
    fields = [smooth, optics.illumination(b.p, fade, coarse)]
    if any(len(one.cells) for one in b.layouts):
        level, haze = cell.draw([one.cells for one in b.layouts], b.p, coarse, texture)
        fields += [level, haze * grain]
    smooth, lit, *others = optics.refined(torch.stack(fields, 1), height, width).unbind(1)
    if others:
        level, haze = others
        smooth = smooth + haze * (level / b.over_pixels("cell_edge") + 0.5).clamp_(0.0, 1.0)
    return smooth, lit


def _in_focus(b: _Batch, sharp: Tensor) -> Tensor:
    """Return the light of objects in focus after the narrow part of the PSF, (B, H, W)."""
    blurred = optics.blur(sharp, b.on_cpu["psf"])
    if b.on_cpu["airy"].any():
        blurred = torch.where(b.over_pixels("airy") > 0.5, optics.airy_blur(sharp, b.on_cpu["psf"]), blurred)
    return blurred.mul_(1.0 - b.over_pixels("halo"))


def _recorded(b: _Batch, expected: Tensor) -> Tensor:
    """Convert expected photons to the stored grey values: (B, H, W) -> int32."""
    z = noise.normal(b.keys, *b.size)
    if bool((b.on_cpu["noise_blur"] > 0.25).any()):  # a smaller sigma would hardly change the noise
        z = optics.smoothed_noise(z, b.on_cpu["noise_blur"])
    hot = torch.zeros_like(expected)
    for k, one in enumerate(b.layouts):
        if len(one.hot):
            row, column, charge = torch.from_numpy(one.hot).to(expected.device).unbind(1)
            hot[k, row.long(), column.long()] = charge.float()
    image = optics.exposed(expected, b.p, z, hot)
    if b.on_cpu["jpeg"].any():
        image = torch.where(b.over_pixels("jpeg") > 0.5, _stored_as_jpeg(image, b.p), image)
    return image


def compute(
    task: str, layouts: list[Layout], size: tuple[int, int], device: torch.device, foreground: Foreground = USUAL
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute a batch: image int32, mask uint8 and labels int32, all (B, H, W), and visibility.

    Visibility is bool, one value per vesicle or per step of a filament, over the whole batch in order.
    """
    b = _gathered(layouts, size, device)
    canvas = torch.zeros(len(layouts) * size[0] * size[1] + 1, device=device)
    laid, unfocused = _light(task, layouts, canvas, size)
    sharp = canvas[:-1].view(-1, *size)
    dark = b.over_pixels("dark")
    if b.on_cpu["dark"].any():
        sharp, unfocused = sharp * (1.0 - 2.0 * dark), unfocused * (1.0 - 2.0 * dark)
    smooth, lit = _surroundings(b, sharp, unfocused)
    expected = _in_focus(b, sharp).add_(smooth)
    # Light is never negative; behind a dark object at least a twentieth of the smooth light remains
    expected = torch.maximum(expected, 0.05 * dark * smooth)
    scale = lit * b.over_pixels("photons")
    expected = expected.mul_(scale)
    image = _recorded(b, expected)
    view = View(expected.flatten(), scale.flatten(), b.p, size)
    truth = _TRUTH[task]([one.objects for one in layouts], laid, view, foreground.faint > 0)
    mask = _mask(task, layouts, truth, size, canvas, foreground)
    return image, mask.view(image.shape), truth.labels.view(image.shape), truth.visible

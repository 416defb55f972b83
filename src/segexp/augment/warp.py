"""Random warps of images and masks together: flips, quarter turns, affine map and elastic deformation in one sampling.

The deformation cannot fold: with control points ``s`` pixels apart, a cubic B-spline deformation is locally one-to-one
if every control point moves by less than ``s / 2.05`` along each axis (Choi and Lee, "Injectivity conditions of 2D and
3D uniform cubic B-spline functions", 2000). Larger magnitudes are refused.
"""

from typing import Any

import torch
from kornia.augmentation import AugmentationBase2D
from torch import Tensor

from segexp.augment.base import Range, checked_probability, checked_range, draw, in_host_memory, to_device
from segexp.augment.bspline import control_points
from segexp.augment.geometry import (
    affine_matrix,
    compose,
    dihedral,
    dihedral_matrix,
    map_is_normalized,
    outside,
    resample,
    sampling_map,
)

FOLDING_LIMIT = 1 / 2.05  # largest displacement of a control point, as a share of the spacing
Maps = dict[bool, Tensor]  # sampling maps computed so far; the key says whether they are normalised


class RandomWarp(AugmentationBase2D):
    """Random flips, quarter turns, affine map and elastic deformation in one sampling, the same for images and masks.

    Every part has its own probability and is drawn per sample. If a sample gets only flips and turns, its pixels are
    moved, not interpolated. Quarter turns are drawn for square images only.

    Args:
        p_flip: probability of a flip, for each of the two axes.
        p_turn: probability of swapping rows and columns; with flips at 0.5, all eight symmetries are equally likely.
        p_affine: probability of rotation, scaling, shear and translation together.
        rotation: range in degrees, counter-clockwise.
        scale: range of the factor by which the content grows, uniform in its logarithm.
        shear: range in degrees, drawn for each axis.
        translation: range in pixels, drawn for each axis.
        p_elastic: probability of the elastic deformation.
        magnitude: range in pixels, one value per sample: the largest displacement of control points, and therefore of
            pixels, along each axis. The root mean square displacement of the pixels is about 0.27 of it along each
            axis.
        spacing: pixels between control points.
        interpolation: interpolation of images, "bilinear" or "bicubic".
        mask_interpolation: "nearest" keeps the labels; "bilinear" is for soft masks.
        padding: content outside the image: "reflection" (of image and mask) or "constant".
        fill: image value outside, for constant padding; 0 is the mean of a standardised image.
        mask_fill: mask value outside, for constant padding; 255: the loss ignores these pixels.

    Raises:
        ValueError: if a range is not one, or the deformation could fold with this magnitude.

    Attributes:
        probabilities: names of the probabilities that decide whether a sample is interpolated (not flips and turns).
    """

    probabilities = ("p_affine", "p_elastic")

    def __init__(
        self,
        p_flip: float = 0.5,
        p_turn: float = 0.5,
        p_affine: float = 0.5,
        rotation: Range = (-15.0, 15.0),
        scale: Range = (0.9, 1.1),
        shear: Range = (-5.0, 5.0),
        translation: Range = (0.0, 0.0),
        p_elastic: float = 0.5,
        magnitude: Range = (2.0, 10.0),
        spacing: float = 32.0,
        interpolation: str = "bilinear",
        mask_interpolation: str = "nearest",
        padding: str = "reflection",
        fill: float = 0.0,
        mask_fill: float = 255,
    ) -> None:
        super().__init__(p=1.0, p_batch=1.0, same_on_batch=False, keepdim=False)
        self.p_flip = checked_probability("p_flip", p_flip)
        self.p_turn = checked_probability("p_turn", p_turn)
        self.p_affine = checked_probability("p_affine", p_affine)
        self.p_elastic = checked_probability("p_elastic", p_elastic)
        self.rotation = checked_range("rotation", rotation, -360, 360)
        self.scale = checked_range("scale", scale, 0.01, 100)
        self.shear = checked_range("shear", shear, -44, 44)
        self.translation = checked_range("translation", translation)
        if spacing < 1:
            raise ValueError(f"spacing={spacing}: expected at least 1 pixel between control points")
        self.spacing = float(spacing)
        self.magnitude = checked_range("magnitude", magnitude, 0)
        if self.magnitude[1] > spacing * FOLDING_LIMIT:
            raise ValueError(
                f"magnitude={list(magnitude)} with spacing={spacing}: above {spacing * FOLDING_LIMIT:.1f} pixels the "
                "deformation can fold; lower the magnitude or increase the spacing"
            )
        for name, value, known in (
            ("interpolation", interpolation, ("bilinear", "bicubic")),
            ("mask_interpolation", mask_interpolation, ("nearest", "bilinear")),
            ("padding", padding, ("reflection", "constant")),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}: expected one of {', '.join(known)}")
        self.interpolation, self.mask_interpolation, self.padding = interpolation, mask_interpolation, padding
        self.fill, self.mask_fill = float(fill), float(mask_fill)
        self.warps = self.p_affine > 0 or self.p_elastic > 0

    def set_rng_device_and_dtype(self, device: torch.device, dtype: torch.dtype) -> None:
        """Draw on the CPU in float32 even after ``.to()`` has moved this module."""
        super().set_rng_device_and_dtype(torch.device("cpu"), torch.float32)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Draw for (B, C, H, W): flags ``flip_x``, ``flip_y``, ``turn``, ``warped`` (B,), ``matrix``, ``control``."""
        batch, _, height, width = batch_shape
        size = (height, width)
        square = height == width
        params = {
            "flip_x": torch.rand(batch) < self.p_flip,
            "flip_y": torch.rand(batch) < self.p_flip,
            "turn": (torch.rand(batch) < self.p_turn) & square,
            "warped": torch.zeros(batch, dtype=torch.bool),
        }
        if not self.warps:
            return params
        affine = torch.rand(batch) < self.p_affine
        drawn = affine_matrix(
            draw(batch, self.rotation),
            draw(batch, self.scale, log=True),
            draw(2 * batch, self.shear).view(batch, 2),
            draw(2 * batch, self.translation).view(batch, 2),
            size,
        )
        identity = torch.eye(2, 3, dtype=torch.float64)
        params["matrix"] = torch.where(affine.view(-1, 1, 1), drawn, identity)
        params["warped"] = affine
        if self.p_elastic > 0:
            elastic = torch.rand(batch) < self.p_elastic
            points = (control_points(height, self.spacing), control_points(width, self.spacing))
            reach = (draw(batch, self.magnitude) * elastic).view(-1, 1, 1, 1)
            params["control"] = (2 * torch.rand(batch, 2, *points) - 1) * reach
            params["warped"] = affine | elastic
        return params

    def warp(self, images: Tensor, masks: Tensor, params: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Warp images (B, C, H, W) and masks (B, K, H, W) with one sampling map; dtypes and shapes are kept."""
        warped, moved = self._warp([(images, False), (masks, True)], params)
        return warped, moved

    def _warp(self, targets: list[tuple[Tensor, bool]], params: dict[str, Tensor]) -> list[Tensor]:
        """Sample the rows with an affine or elastic part, move pixels of the others; ``targets``: (tensor, is mask)."""
        if not self.warps:
            return [_move(given, params) for given, _ in targets]
        size = (targets[0][0].shape[-2], targets[0][0].shape[-1])
        exact = dihedral_matrix(params["flip_x"], params["flip_y"], params["turn"], size)
        params = {**params, "matrix": compose(exact, params["matrix"])}
        maps: Maps = {}
        if not all(in_host_memory(given) for given, _ in targets):
            return [self._warp_batch(given, is_mask, params, maps) for given, is_mask in targets]
        chosen = params["warped"].tolist()
        rows = [row for row, is_warped in enumerate(chosen) if is_warped]
        unwarped = [row for row, is_warped in enumerate(chosen) if not is_warped]
        if not unwarped:
            return [self._sample(given, is_mask, params, maps) for given, is_mask in targets]
        drawn, still = _pick(params, rows), _pick(params, unwarped)
        results = []
        for given, is_mask in targets:
            result = torch.empty_like(given)
            result[unwarped] = _move(given[unwarped], still)
            if rows:
                result[rows] = self._sample(given[rows], is_mask, drawn, maps)
            results.append(result)
        return results

    def _warp_batch(self, given: Tensor, is_mask: bool, params: dict[str, Tensor], maps: Maps) -> Tensor:
        warped = self._sample(given, is_mask, params, maps)
        if self.p_affine == 1 or self.p_elastic == 1:
            return warped
        chosen = to_device(params["warped"], given.device).view(-1, 1, 1, 1)
        return torch.where(chosen, warped, _move(given, params))

    def _sample(self, given: Tensor, is_mask: bool, params: dict[str, Tensor], maps: Maps) -> Tensor:
        mode = self.mask_interpolation if is_mask else self.interpolation
        normalized = map_is_normalized(given, mode)
        size = (given.shape[-2], given.shape[-1])
        if normalized not in maps:
            maps[normalized] = sampling_map(
                params["matrix"], params.get("control"), self.spacing, size, given.device, normalized
            )
        if not is_mask or self.padding == "reflection":
            return resample(given, maps[normalized], mode, self.padding, self.fill)
        beyond = outside(maps[normalized], size, normalized)
        return resample(given, maps[normalized], mode, "border").masked_fill(beyond, self.mask_fill)

    def apply_transform(
        self,
        input: Tensor,
        params: dict[str, Tensor],
        flags: dict[str, Any],
        transform: Tensor | None = None,
    ) -> Tensor:
        """Kornia's hook for images."""
        return self._warp([(input, False)], params)[0]

    def apply_transform_mask(
        self,
        input: Tensor,
        params: dict[str, Tensor],
        flags: dict[str, Any],
        transform: Tensor | None = None,
    ) -> Tensor:
        """Kornia's hook for masks."""
        return self._warp([(input, True)], params)[0]

    def apply_non_transform_mask(
        self,
        input: Tensor,
        params: dict[str, Tensor],
        flags: dict[str, Any],
        transform: Tensor | None = None,
    ) -> Tensor:
        """Kornia's hook for masks of unchanged samples; there are none, because each part has its own probability."""
        return input


class RandomFlip(RandomWarp):
    """Random flips and quarter turns: every pixel is moved, none is interpolated.

    Args:
        p_flip: probability of a flip, for each of the two axes.
        p_turn: probability of swapping rows and columns (square images only).
    """

    def __init__(self, p_flip: float = 0.5, p_turn: float = 0.5) -> None:
        super().__init__(p_flip=p_flip, p_turn=p_turn, p_affine=0.0, p_elastic=0.0)


def _move(given: Tensor, params: dict[str, Tensor]) -> Tensor:
    return dihedral(given, params["flip_x"], params["flip_y"], params["turn"])


def _pick(params: dict[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    names = ("flip_x", "flip_y", "turn", "matrix", "control")
    return {name: params[name][rows] for name in names if name in params}

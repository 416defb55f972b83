"""Flips, quarter turns, affine maps and elastic deformation, composed into one sampling map and sampled once.

Coordinates are in pixels: (x, y) = (column, row), pixel centres at whole numbers. A map (B, 2, H, W) gives for every
output pixel the position in the input from which its value is sampled. Flips, turns and the affine map are one matrix;
the elastic part is a cubic B-spline (``bspline.py``) of random displacements, evaluated by two small matrix products.
Because images are sampled only once, they are blurred once and in one pass; a chain of operations blurs several times.

Images in host memory are sampled by OpenCV's ``remap`` (three times as fast as ``grid_sample`` there), and everything
else by ``grid_sample``. The two agree to rounding.
"""

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from segexp.augment.base import cast, in_host_memory, to_device
from segexp.augment.bspline import spline_weights

OPENCV_LARGEST = 32766  # remap's limit on a side
OPENCV_DTYPES = (torch.uint8, torch.int16, torch.float32)


def dihedral_matrix(flip_x: Tensor, flip_y: Tensor, turn: Tensor, size: tuple[int, int]) -> Tensor:
    """Return flips (B,) followed by a swap of rows and columns (B,) as output-to-input matrices, float64 (B, 2, 3).

    The eight combinations are the symmetries of the square. ``turn`` needs a square ``size`` (H, W).
    """
    height, width = size
    turn, zero = turn.double(), torch.zeros(len(turn), dtype=torch.float64, device=turn.device)
    sign_x, sign_y = 1 - 2 * flip_x.double(), 1 - 2 * flip_y.double()
    row_x = torch.stack([sign_x * (1 - turn), sign_x * turn, zero + flip_x * (width - 1)], dim=-1)
    row_y = torch.stack([sign_y * turn, sign_y * (1 - turn), zero + flip_y * (height - 1)], dim=-1)
    return torch.stack([row_x, row_y], dim=1)


def affine_matrix(rotation: Tensor, scale: Tensor, shear: Tensor, translation: Tensor, size: tuple[int, int]) -> Tensor:
    """Return affine maps about the image centre as output-to-input matrices, float64 (B, 2, 3).

    Args:
        rotation: (B,) degrees, counter-clockwise as displayed.
        scale: (B,) factor by which the content grows.
        shear: (B, 2) degrees, along x and along y.
        translation: (B, 2) pixels by which the content moves, right and down.
        size: height and width of the image.
    """
    angle, slant = rotation.double().deg2rad(), shear.double().deg2rad().tan()
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).view(-1, 2, 2)
    one = torch.ones_like(angle)
    unshear = torch.stack([one, -slant[:, 0], -slant[:, 1], one], dim=-1).view(-1, 2, 2)
    unshear = unshear / (1 - slant[:, 0] * slant[:, 1]).view(-1, 1, 1)
    linear = unshear @ turn / scale.double().view(-1, 1, 1)
    centre = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2], dtype=torch.float64)
    offset = centre - (linear @ (centre + translation.double())[..., None])[..., 0]
    return torch.cat([linear, offset[..., None]], dim=-1)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the matrix (B, 2, 3) that applies ``inner`` to a point and then ``outer``."""
    (linear, shift), (inner_linear, inner_shift) = (matrix.split([2, 1], dim=2) for matrix in (outer, inner))
    return torch.cat([linear @ inner_linear, linear @ inner_shift + shift], dim=-1)


def sampling_map(
    matrix: Tensor,
    control: Tensor | None,
    spacing: float,
    size: tuple[int, int],
    device: torch.device,
    normalized: bool = False,
) -> Tensor:
    """Return the input position of each output pixel: ``matrix`` applied to (pixel + elastic displacement).

    Args:
        matrix: (B, 2, 3) output-to-input pixel coordinates.
        control: (B, 2, rows, columns) displacements (x, y) in pixels of the control points, or None.
        spacing: pixels between control points.
        size: height and width.
        device: device on which the map is computed.
        normalized: return the coordinates of ``grid_sample`` (``align_corners=False``) instead of pixels.

    Returns:
        float32 (B, 2, H, W), channels (x, y).
    """
    height, width = size
    batch = len(matrix)
    if control is not None:
        control = torch.einsum("bij,bjrc->birc", matrix.narrow(2, 0, 2).double(), control.double())
    if normalized:
        extent = torch.stack([matrix.new_full((1,), width), matrix.new_full((1,), height)])
        shift = (torch.arange(3, device=matrix.device) == 2).to(matrix.dtype)
        matrix = matrix * (2 / extent) + shift * (1 / extent - 1)
        control = control if control is None else control * (2 / extent).view(2, 1, 1)
    matrix = to_device(matrix.float(), device)  # everything above is float64, a few values a sample
    x = torch.arange(width, device=device, dtype=torch.float32)
    y = torch.arange(height, device=device, dtype=torch.float32).unsqueeze(1)
    along_x, along_y, offset = matrix.view(batch, 2, 3, 1, 1).unbind(2)
    coordinates = torch.addcmul(torch.addcmul(offset, along_y, y), along_x, x)
    if control is None:
        return coordinates
    # The products below contain only displacements, so a lower matmul precision set by the user affects nothing else
    with torch.autocast(device.type, enabled=False):
        rows = spline_weights(height, spacing, device) @ to_device(control.float(), device)
        columns = spline_weights(width, spacing, device).T.expand(2 * batch, -1, -1)
        coordinates.view(2 * batch, height, width).baddbmm_(rows.view(2 * batch, height, -1), columns)
    return coordinates


def resample(images: Tensor, coordinates: Tensor, mode: str, padding: str, fill: float = 0.0) -> Tensor:
    """Sample (B, C, H, W) at a map (B, 2, H, W); the dtype is kept, integers are rounded.

    Args:
        images: the images or masks. Labels are converted to float32, which is exact up to 16,777,216.
        coordinates: in pixels for images in host memory, normalised for all others (``map_is_normalized``).
        mode: "nearest", "bilinear" or "bicubic".
        padding: outside the image: "reflection" (which repeats the edge pixel), "border", or "constant".
        fill: the constant; linear interpolation blends into it at the edge.
    """
    if not map_is_normalized(images, mode):
        return _resample_with_opencv(images, coordinates, mode, padding, fill)
    constant = padding == "constant"
    values = images.float() - fill if constant and fill else images.float()
    padding = "zeros" if constant else padding
    with torch.autocast(images.device.type, enabled=False):
        sampled = F.grid_sample(values, coordinates.permute(0, 2, 3, 1), mode, padding, align_corners=False)
    if constant and fill:
        sampled = sampled + fill
    if mode != "nearest" and not images.is_floating_point():
        sampled = sampled.round()
    return cast(sampled, images.dtype)


def map_is_normalized(images: Tensor, mode: str) -> bool:
    """Return whether ``resample`` uses ``grid_sample`` and its coordinates; otherwise it uses OpenCV and pixels.

    OpenCV's bicubic ``remap`` rounds positions to 1/32 pixel, so it is not used.
    """
    return not in_host_memory(images) or mode == "bicubic" or max(images.shape[-2:]) > OPENCV_LARGEST


def _resample_with_opencv(images: Tensor, maps: Tensor, mode: str, padding: str, fill: float) -> Tensor:
    interpolation = cv2.INTER_NEAREST if mode == "nearest" else cv2.INTER_LINEAR
    border = {"constant": cv2.BORDER_CONSTANT, "border": cv2.BORDER_REPLICATE, "reflection": cv2.BORDER_REFLECT}
    values = images.contiguous()
    if images.dtype == torch.bool and mode == "nearest":
        values = values.view(torch.uint8)
    elif images.dtype not in OPENCV_DTYPES or (mode != "nearest" and not images.is_floating_point()):
        values = values.float()
    sampled = torch.empty_like(values)
    for source, target, (x, y) in zip(values.numpy(), sampled.numpy(), maps.numpy(), strict=True):
        for plane, result in zip(source, target, strict=True):
            cv2.remap(plane, x, y, interpolation, dst=result, borderMode=border[padding], borderValue=fill)
    if mode != "nearest" and not images.is_floating_point():
        sampled = sampled.round()
    return cast(sampled, images.dtype)


def outside(coordinates: Tensor, size: tuple[int, int], normalized: bool) -> Tensor:
    """Return which output pixels come from outside the image: bool (B, 1, H, W) for a map (B, 2, H, W)."""
    if normalized:
        return (coordinates.abs() > 1).any(dim=1, keepdim=True)
    x, y = coordinates.split(1, dim=1)
    return (x < -0.5) | (x > size[1] - 0.5) | (y < -0.5) | (y > size[0] - 0.5)


def dihedral(images: Tensor, flip_x: Tensor, flip_y: Tensor, turn: Tensor) -> Tensor:
    """Flip, then swap rows and columns, by flags (B,) per sample; pixels are moved, not interpolated."""
    if in_host_memory(images):
        flags = zip(flip_x.tolist(), flip_y.tolist(), turn.tolist(), strict=True)
        return torch.stack([_moved(image, *which) for image, which in zip(images, flags, strict=True)])
    return _gathered(images.contiguous(), flip_x, flip_y, turn)


def _gathered(images: Tensor, flip_x: Tensor, flip_y: Tensor, turn: Tensor) -> Tensor:
    """Do the same on a GPU by one look-up: a source pixel's index is the sum of one term per row and one per column."""
    batch, channels, height, width = images.shape
    index = torch.int32 if images.numel() < 2**31 else torch.int64
    turn = turn & (height == width)
    plane = torch.arange(batch * channels, device=turn.device).view(batch, channels) * (height * width)
    first = plane + (flip_x * (width - 1) + flip_y * (height - 1) * width).view(-1, 1)
    along_x, along_y = 1 - 2 * flip_x.long(), width * (1 - 2 * flip_y.long())
    steps = torch.stack([torch.where(turn, along_x, along_y), torch.where(turn, along_y, along_x)], dim=1)
    terms = to_device(torch.cat([first, steps], dim=1).to(index), images.device).view(batch, -1, 1, 1)
    first, down, across = terms.split([channels, 1, 1], dim=1)
    y = torch.arange(height, device=images.device, dtype=index).unsqueeze(1)
    x = torch.arange(width, device=images.device, dtype=index)
    return images.view(-1).index_select(0, ((first + down * y) + across * x).view(-1)).view_as(images)


def _moved(image: Tensor, flip_x: bool, flip_y: bool, turn: bool) -> Tensor:
    axes = [axis for axis, flipped in ((-1, flip_x), (-2, flip_y)) if flipped]
    image = image.flip(axes) if axes else image
    return image.mT if turn else image

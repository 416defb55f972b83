"""CLAHE against OpenCV, which is the referee, and what RandomCLAHE keeps."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segexp.augment import RandomCLAHE, clahe

DTYPES = {256: np.uint8, 65536: np.uint16}
KINDS = ["random", "constant", "gradient", "saturated", "micrograph"]


def picture(kind: str, height: int, width: int, top: int) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    if kind == "random":
        return rng.integers(0, top + 1, (height, width))
    if kind == "constant":
        return np.full((height, width), top // 3)
    if kind == "gradient":
        return np.linspace(0, top, height * width).reshape(height, width)
    if kind == "saturated":
        return np.where(rng.random((height, width)) < 0.4, top, 0)
    rows, columns = np.mgrid[:height, :width]  # smooth blobs on a dim background with photon noise, like a micrograph
    light = 0.05 + np.exp(-((rows - height / 3) ** 2 + (columns - width / 2) ** 2) / 200)
    light += 0.5 * np.exp(-((rows - height / 1.4) ** 2) / 18)
    return np.clip(rng.poisson(light * 60) / 110, 0, 1) * top


def difference(levels: np.ndarray, clip_limit: float, grid: tuple[int, int], bins: int, backend: str) -> float:
    """Largest difference from OpenCV in grey levels."""
    levels = levels.astype(DTYPES[bins])
    expected = cv2.createCLAHE(clip_limit, (grid[1], grid[0])).apply(levels)
    images = torch.from_numpy(levels.astype(np.float32) / (bins - 1))[None, None]
    result = clahe(images, clip_limit, grid, bins, backend)[0, 0].numpy() * (bins - 1)
    return float(np.abs(result - expected).max())


@pytest.mark.parametrize("backend", ["batched", "opencv"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [(64, 64, (8, 8)), (61, 47, (8, 8)), (64, 60, (8, 8)), (40, 33, (3, 5)), (9, 70, (1, 4)), (5, 6, (8, 8))],
)
def test_equals_opencv_at_8_bit(kind, height, width, grid, backend):
    levels = picture(kind, height, width, 255)
    for clip_limit in (0.0, 1.0, 2.5, 40.0):
        assert difference(levels, clip_limit, grid, 256, backend) <= 1


@pytest.mark.parametrize("backend", ["batched", "opencv"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width", "grid"), [(64, 64, (2, 2)), (61, 47, (2, 3)), (60, 9, (4, 1))])
def test_equals_opencv_at_16_bit(kind, height, width, grid, backend):
    levels = picture(kind, height, width, 65535)
    for clip_limit in (0.0, 300.0):
        assert difference(levels, clip_limit, grid, 65536, backend) <= 2


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    clip_limit=st.floats(0, 60),
    seed=st.integers(0, 1000),
)
def test_equals_opencv_for_any_size_grid_and_limit(height, width, grid, clip_limit, seed):
    levels = np.random.default_rng(seed).integers(0, 256, (height, width))
    assert difference(levels, clip_limit, grid, 256, "batched") <= 1


def test_tiny_image_worked_by_hand():
    # one tile, no limit: the table is the cumulative count times 255 / 4, rounded
    images = torch.tensor([[0.0, 1.0], [1.0, 1.0]])[None, None]
    expected = torch.tensor([[64.0, 255.0], [255.0, 255.0]]) / 255
    for backend in ("batched", "opencv"):
        torch.testing.assert_close(clahe(images, 0.0, (1, 1), backend=backend)[0, 0], expected)


@pytest.mark.parametrize("backend", ["batched", "opencv"])
def test_every_sample_gets_its_own_limit(backend):
    images = torch.rand(3, 2, 40, 40, generator=torch.Generator().manual_seed(0)) ** 3
    limits = torch.tensor([0.0, 1.5, 4.0])
    together = clahe(images, limits, (2, 2), backend=backend)
    for sample in range(3):
        alone = clahe(images[sample : sample + 1], float(limits[sample]), (2, 2), backend=backend)
        assert torch.equal(together[sample : sample + 1], alone)
    assert not torch.equal(together[1], clahe(images[1:2], 4.0, (2, 2), backend=backend)[0])


@pytest.mark.parametrize("bins", [2, 1000])
def test_other_numbers_of_bins_are_batched(bins):
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    result = clahe(images, 2.0, (2, 2), bins) * (bins - 1)
    torch.testing.assert_close(result, result.round())
    with pytest.raises(ValueError, match="bins"):
        clahe(images, 2.0, (2, 2), bins, backend="opencv")


def test_refuses_what_it_cannot_do():
    images = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match="grid"):
        clahe(images, 2.0, (0, 8))
    with pytest.raises(ValueError, match="bins"):
        clahe(images, 2.0, (2, 2), bins=1)
    with pytest.raises(ValueError, match="backend"):
        clahe(images, 2.0, (2, 2), backend="kornia")


def standardised(seed: int = 0) -> torch.Tensor:
    images = torch.randn(4, 2, 48, 48, generator=torch.Generator().manual_seed(seed)).exp()
    return (images - images.mean()) / images.std() + 0.7  # a crop brighter than its image


def test_random_clahe_gives_mean_and_deviation_back():
    images = standardised()
    result = RandomCLAHE(grid=(4, 4), p=1.0)(images)
    assert not torch.allclose(result, images, atol=0.1)
    torch.testing.assert_close(result.mean((2, 3)), images.mean((2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.std((2, 3)), images.std((2, 3)), atol=1e-4, rtol=1e-4)


def test_random_clahe_equals_opencv_on_the_stretched_image():
    images = standardised()[:, :1]
    operation = RandomCLAHE(clip_limit=(3.0, 3.0), grid=(4, 6), restore=False, p=1.0)
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    levels = ((images - low) / (high - low) * 255).round().to(torch.uint8).numpy()
    for result, plane in zip(operation(images), levels, strict=True):
        expected = cv2.createCLAHE(3.0, (6, 4)).apply(plane[0])
        assert np.abs(result[0].numpy() * 255 - expected).max() <= 1


def test_random_clahe_ignores_scale_and_offset():
    images = standardised()
    operation = RandomCLAHE(grid=(4, 4), p=1.0)
    first = operation(images)
    moved = operation(images * 300 + 5000, params=operation._params)
    torch.testing.assert_close((moved - 5000) / 300, first, atol=2e-2, rtol=0)


def test_random_clahe_leaves_constant_images_alone():
    images = torch.full((2, 1, 16, 16), 3.25)
    torch.testing.assert_close(RandomCLAHE(grid=(2, 2), p=1.0)(images), images)


def test_limits_are_drawn_from_the_range():
    drawn = RandomCLAHE(clip_limit=(1.5, 2.5)).forward_parameters(torch.Size([200, 1, 8, 8]))["clip_limit"]
    assert drawn.min() >= 1.5
    assert drawn.max() <= 2.5
    assert drawn.std() > 0.2

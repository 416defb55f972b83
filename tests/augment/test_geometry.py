"""Maps and samplers: matrices worked by hand, and the two samplers against each other."""

import itertools
import math

import pytest
import torch

from segexp.augment.bspline import control_points, spline_weights
from segexp.augment.geometry import affine_matrix, compose, dihedral, dihedral_matrix, resample, sampling_map

CPU = torch.device("cpu")


def flags(*values: bool) -> list[torch.Tensor]:
    return [torch.tensor([value]) for value in values]


def affine(rotation=0.0, scale=1.0, shear=(0.0, 0.0), translation=(0.0, 0.0), size=(9, 9)) -> torch.Tensor:
    return affine_matrix(
        torch.tensor([rotation]), torch.tensor([scale]), torch.tensor([shear]), torch.tensor([translation]), size
    )


def warped(images: torch.Tensor, matrix: torch.Tensor, control=None, spacing=4.0, **options) -> torch.Tensor:
    options = {"mode": "bilinear", "padding": "reflection", **options}
    maps = sampling_map(matrix, control, spacing, images.shape[-2:], CPU, normalized=options["mode"] == "bicubic")
    return resample(images, maps, **options)


def test_spline_weights_are_a_partition_of_unity_and_reproduce_lines():
    weights = spline_weights(50, 7.0, CPU)
    assert weights.shape == (50, control_points(50, 7.0))
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(1), torch.ones(50))
    positions = (torch.arange(weights.shape[1]) - 1) * 7.0
    torch.testing.assert_close(weights @ positions, torch.arange(50.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(weights[14, 1:6], torch.tensor([0, 1 / 6, 2 / 3, 1 / 6, 0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("which", range(8))
def test_dihedral_matrix_and_dihedral_agree_and_are_exact(which):
    chosen = flags(bool(which & 1), bool(which & 2), bool(which & 4))
    images = torch.randn(1, 2, 13, 13)
    moved = dihedral(images, *chosen)
    assert torch.equal(warped(images, dihedral_matrix(*chosen, (13, 13))), moved)
    assert torch.equal(torch.sort(moved.flatten()).values, torch.sort(images.flatten()).values)
    batched = dihedral(images.requires_grad_(), *chosen)  # what a gradient is asked of takes the device's route
    assert torch.equal(batched, moved)


def test_the_eight_symmetries_differ():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    combinations = itertools.product((False, True), repeat=3)
    assert len({tuple(dihedral(image, *flags(*which)).flatten().tolist()) for which in combinations}) == 8


def test_flips_of_an_oblong_image():
    image = torch.arange(6.0).view(1, 1, 2, 3)
    assert dihedral(image, *flags(True, False, False)).flatten().tolist() == [2, 1, 0, 5, 4, 3]
    assert dihedral(image, *flags(False, True, False)).flatten().tolist() == [3, 4, 5, 0, 1, 2]


def test_translation_moves_content_right_and_down():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    moved = warped(image, affine(translation=(2.0, 1.0)))
    assert moved[0, 0, 5, 6] == 1
    assert moved.sum() == 1


def test_rotation_is_counter_clockwise_as_displayed():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 7] = 1  # right of the centre: a quarter turn takes it above the centre
    assert warped(image, affine(rotation=90.0))[0, 0, 1, 4] == pytest.approx(1, abs=1e-5)


def test_scale_grows_the_content():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 6] = 1
    grown = warped(image, affine(scale=2.0))
    assert grown[0, 0, 4, 8] == pytest.approx(1)


def test_shear_along_x_follows_the_tangent():
    forward = torch.linalg.inv(affine(shear=(30.0, 0.0))[0, :, :2])
    torch.testing.assert_close(forward, torch.tensor([[1.0, math.tan(math.radians(30))], [0.0, 1.0]]).double())


def test_compose_applies_the_inner_matrix_first():
    inner, outer = affine(rotation=20.0, translation=(1.0, 2.0)), affine(scale=1.5, shear=(5.0, -3.0))
    point = torch.tensor([3.0, 1.0, 1.0], dtype=torch.float64)
    once = torch.cat([inner[0] @ point, torch.ones(1, dtype=torch.float64)])
    torch.testing.assert_close(compose(outer, inner)[0] @ point, outer[0] @ once)


def test_control_points_that_move_together_translate():
    control = torch.zeros(1, 2, control_points(9, 4.0), control_points(9, 4.0))
    control[:, 0] = 3
    maps = sampling_map(affine(), control, 4.0, (9, 9), CPU)
    torch.testing.assert_close(maps[0, 0, 2], torch.arange(9.0) + 3)
    torch.testing.assert_close(maps[0, 1, :, 2], torch.arange(9.0))


@pytest.mark.parametrize("size", [(16, 16), (11, 23), (1, 5)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("padding", ["reflection", "border", "constant"])
def test_opencv_and_grid_sample_agree(size, mode, padding):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 2, *size, generator=generator)
    matrix = affine(rotation=25.0, scale=1.3, translation=(3.3, -2.2), size=size).repeat(2, 1, 1)
    control = torch.randn(2, 2, control_points(size[0], 4.0), control_points(size[1], 4.0), generator=generator)
    pixels = sampling_map(matrix, control, 4.0, size, CPU)
    normalized = sampling_map(matrix, control, 4.0, size, CPU, normalized=True)
    host = resample(images, pixels, mode, padding, fill=0.5)
    device = resample(images.requires_grad_(), normalized, mode, padding, fill=0.5)
    torch.testing.assert_close(host, device, atol=1e-4, rtol=1e-4)


def test_constant_padding_blends_into_the_fill():
    image = torch.ones(1, 1, 9, 9)
    moved = warped(image, affine(translation=(20.0, 0.0)), padding="constant", fill=-2.0)
    assert torch.equal(moved, torch.full_like(image, -2.0))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int16, torch.int32, torch.int64, torch.float16])
def test_nearest_keeps_dtype_and_labels(dtype):
    masks = (torch.rand(1, 2, 20, 20) > 0.5).to(dtype)
    moved = warped(masks, affine(rotation=33.0, size=(20, 20)), mode="nearest")
    assert moved.dtype == dtype
    assert moved.shape == masks.shape
    assert set(moved.unique().tolist()) == {0, 1}


def test_soft_masks_of_whole_numbers_are_rounded():
    masks = torch.full((1, 1, 6, 6), 7, dtype=torch.uint8)
    assert torch.equal(warped(masks, affine(translation=(0.3, 0.3))), masks)


def test_lower_matmul_precision_cannot_bend_the_map():
    matrix = affine(rotation=30.0, size=(300, 300))
    control = torch.zeros(1, 2, control_points(300, 16.0), control_points(300, 16.0))
    plain = sampling_map(matrix, None, 16.0, (300, 300), CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sampling_map(matrix, control, 16.0, (300, 300), CPU), plain)

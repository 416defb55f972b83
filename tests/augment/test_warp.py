"""RandomWarp and RandomFlip: image and mask together, exact moves, no folding, no blur where none is due."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.augmentation import AugmentationSequential

from segexp.augment import RandomFlip, RandomWarp
from segexp.augment.bspline import control_points
from segexp.augment.geometry import sampling_map
from segexp.augment.warp import FOLDING_LIMIT

EVERYTHING = {"p_affine": 1.0, "p_elastic": 1.0, "translation": (-4.0, 4.0), "spacing": 16.0, "magnitude": (1.0, 5.0)}
CPU = torch.device("cpu")


def both(warp: RandomWarp, images: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return warp.warp(images, masks, warp.forward_parameters(images.shape))


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 4),
    channels=st.integers(1, 3),
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    mask_dtype=st.sampled_from([torch.uint8, torch.bool, torch.int64, torch.float32]),
    padding=st.sampled_from(["reflection", "constant"]),
    p=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 100),
)
def test_shapes_dtypes_and_labels_are_kept(batch, channels, height, width, dtype, mask_dtype, padding, p, seed):
    torch.manual_seed(seed)
    images = torch.randn(batch, channels, height, width).to(dtype)
    masks = (torch.rand(batch, 2, height, width) > 0.6).to(mask_dtype)
    warp = RandomWarp(**{**EVERYTHING, "p_affine": p, "p_elastic": p}, padding=padding, mask_fill=1)
    warped, moved = both(warp, images, masks)
    assert (warped.dtype, warped.shape) == (dtype, images.shape)
    assert (moved.dtype, moved.shape) == (mask_dtype, masks.shape)
    assert torch.isfinite(warped).all()
    assert set(moved.unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("device_route", [False, True])
def test_image_and_mask_move_together(device_route):
    # the image holds its own coordinates: where it says (x, y), the mask must hold the label that was at (x, y)
    torch.manual_seed(0)
    size = 64
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    images = torch.stack([x, y]).float().expand(6, 2, size, size)
    masks = torch.randint(0, 200, (6, 1, size, size), dtype=torch.uint8)
    warped, moved = both(RandomWarp(**EVERYTHING), images.clone().requires_grad_(device_route), masks)
    source = warped.detach().round().long()
    certain = ((warped - source).abs() < 0.49).all(1)  # all but the ties between two pixels
    assert certain.float().mean() > 0.9
    sample = torch.arange(6)[:, None, None].expand_as(certain)[certain]
    expected = masks[sample, 0, source[:, 1][certain], source[:, 0][certain]]
    assert torch.equal(moved[:, 0][certain], expected)


def test_what_comes_from_outside_is_marked():
    torch.manual_seed(0)
    images, masks = torch.ones(4, 1, 40, 40), torch.zeros(4, 1, 40, 40, dtype=torch.uint8)
    warp = RandomWarp(p_affine=1, p_elastic=0, translation=(10.0, 12.0), padding="constant", fill=0.0)
    warped, moved = both(warp, images, masks)
    assert set(moved.unique().tolist()) == {0, 255}
    assert (warped[moved == 0] > 0.24).all()  # a quarter in the corners
    assert (warped[moved == 255] < 0.51).all()


@pytest.mark.parametrize("device_route", [False, True])
def test_flips_alone_move_pixels_exactly(device_route):
    torch.manual_seed(0)
    images = torch.randn(16, 1, 37, 37)
    masks = torch.randint(0, 9, (16, 1, 37, 37), dtype=torch.uint8)
    warp = RandomWarp(p_affine=0.3, p_elastic=0.3)
    params = warp.forward_parameters(images.shape)
    params["warped"][:] = False
    warped, moved = warp.warp(images.clone().requires_grad_(device_route), masks, params)
    for before, after in ((images, warped), (masks, moved)):
        assert torch.equal(before.flatten(1).sort().values, after.flatten(1).sort().values)
    assert not torch.equal(warped, images)


def test_random_flip_reaches_all_eight_symmetries():
    torch.manual_seed(0)
    images = torch.arange(4.0).view(1, 1, 2, 2).expand(200, 1, 2, 2)
    seen = {tuple(image.flatten().tolist()) for image in RandomFlip()(images)}
    assert len(seen) == 8


def test_oblong_images_are_not_turned():
    params = RandomFlip(p_turn=1.0).forward_parameters(torch.Size([50, 1, 4, 6]))
    assert not params["turn"].any()


@settings(max_examples=20, deadline=None)
@given(height=st.integers(2, 50), width=st.integers(2, 50), channels=st.integers(1, 3))
def test_zero_strength_is_the_identity(height, width, channels):
    still = (0.0, 0.0)
    warp = RandomWarp(0, 0, 1, still, (1.0, 1.0), still, still, 1, still)
    images = torch.randn(2, channels, height, width)
    masks = torch.randint(0, 5, (2, 1, height, width))
    for gradient in (False, True):
        warped, moved = both(warp, images.clone().requires_grad_(gradient), masks)
        torch.testing.assert_close(warped.detach(), images, atol=1e-4, rtol=1e-4)
        assert torch.equal(moved, masks)


@settings(max_examples=15, deadline=None)
@given(spacing=st.floats(4, 40), share=st.floats(0.1, 1.0), seed=st.integers(0, 1000))
def test_no_folding_up_to_the_limit(spacing, share, seed):
    # signs are drawn too: every control point moves by the full magnitude, the worst there is
    size = 64
    points = control_points(size, spacing)
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (4, 2, points, points), generator=generator) * 2 - 1.0
    control = signs * spacing * FOLDING_LIMIT * share
    maps = sampling_map(torch.eye(2, 3).expand(4, 2, 3), control, spacing, (size, size), CPU)
    assert (jacobian(maps) > 0).all()


def jacobian(maps: torch.Tensor) -> torch.Tensor:
    """Determinant of the map's derivative between neighbouring pixels: not positive where it folds."""
    along_x = (maps[:, :, :, 1:] - maps[:, :, :, :-1])[:, :, :-1]
    along_y = (maps[:, :, 1:] - maps[:, :, :-1])[..., :-1]
    return along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0]


def test_jacobian_sees_a_fold():
    maps = sampling_map(torch.eye(2, 3)[None], None, 8.0, (16, 16), CPU)
    assert (jacobian(maps) > 0).all()
    maps[:, 0, :, 8:] -= 4
    assert (jacobian(maps) < 0).any()


def test_default_settings_do_not_fold():
    torch.manual_seed(0)
    warp = RandomWarp(p_affine=1, p_elastic=1)
    params = warp.forward_parameters(torch.Size([16, 1, 128, 128]))
    assert (jacobian(sampling_map(params["matrix"], params["control"], warp.spacing, (128, 128), CPU)) > 0).all()


def test_magnitude_bounds_the_displacement_and_is_drawn_per_sample():
    torch.manual_seed(0)
    warp = RandomWarp(p_affine=0, p_elastic=1, magnitude=(2.0, 9.0), spacing=20.0)
    params = warp.forward_parameters(torch.Size([30, 1, 64, 64]))
    still = sampling_map(torch.eye(2, 3).expand(30, 2, 3), None, 20.0, (64, 64), CPU)
    moved = (sampling_map(params["matrix"], params["control"], 20.0, (64, 64), CPU) - still).abs()
    assert moved.max() <= 9.0
    largest = params["control"].abs().flatten(1).max(1).values
    assert largest.min() < 4
    assert largest.max() > 7


def test_folding_magnitudes_are_refused():
    with pytest.raises(ValueError, match="fold"):
        RandomWarp(magnitude=(0.0, 16.0), spacing=32.0)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"p_flip": 1.5}, "p_flip"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"rotation": (10.0, -10.0)}, "rotation"),
        ({"padding": "zeros"}, "padding"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"spacing": 0.0}, "spacing"),
    ],
)
def test_settings_are_checked_by_name(options, name):
    with pytest.raises(ValueError, match=name):
        RandomWarp(**options)


def test_bicubic_is_sharper_than_bilinear():
    torch.manual_seed(0)
    images = torch.randn(2, 1, 40, 40)
    half = {"p_flip": 0, "p_turn": 0, "p_affine": 1, "p_elastic": 0, "translation": (0.5, 0.5)}
    half |= {"rotation": (0, 0), "scale": (1, 1), "shear": (0, 0)}
    linear, cubic = (RandomWarp(**half, interpolation=name)(images) for name in ("bilinear", "bicubic"))
    assert cubic.std() > 1.1 * linear.std()


def test_soft_masks_keep_their_mass():
    torch.manual_seed(0)
    masks = torch.zeros(8, 1, 64, 64)
    masks[:, :, 28:36, 28:36] = 1
    warp = RandomWarp(p_affine=1, p_elastic=0, scale=(1, 1), shear=(0, 0), mask_interpolation="bilinear")
    _, moved = both(warp, masks, masks)
    torch.testing.assert_close(moved.sum((1, 2, 3)), torch.full((8,), 64.0), atol=3, rtol=0)
    assert ((moved > 0.01) & (moved < 0.99)).any()


def test_inside_kornias_own_container():
    torch.manual_seed(0)
    images, masks = torch.randn(4, 1, 32, 32), torch.randint(0, 3, (4, 1, 32, 32), dtype=torch.uint8)
    warp = RandomWarp(**EVERYTHING)
    container = AugmentationSequential(warp, RandomFlip(), data_keys=["input", "mask"])
    warped, moved = container(images, masks)
    assert (warped.shape, moved.shape, moved.dtype) == (images.shape, masks.shape, torch.uint8)
    again, moved_again = container(images, masks, params=container._params)
    assert torch.equal(warped, again)
    assert torch.equal(moved, moved_again)
    expected, expected_mask = warp.warp(images, masks, container._params[0].data)
    flipped = container[1].warp(expected, expected_mask, container._params[1].data)
    torch.testing.assert_close(warped, flipped[0])
    assert torch.equal(moved, flipped[1])

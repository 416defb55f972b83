"""Each intensity operation against a value known on paper, and what all of them keep."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import segexp.augment as augment
from segexp.augment.intensity import blur, brightness_contrast, gamma, illumination, square

OPERATIONS = [
    augment.RandomCLAHE(grid=(3, 2), p=0.5),
    augment.Standardize(p=0.5),
    augment.RandomBrightnessContrast(p=0.5),
    augment.RandomExtremeScale(p=0.5),
    augment.RandomSquare(p=0.5),
    augment.RandomGamma(p=0.5),
    augment.RandomPhotonNoise(p=0.5),
    augment.RandomBlur(p=0.5),
    augment.RandomIllumination(p=0.5),
]
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: type(op).__name__)


def images(batch: int = 4, channels: int = 2, size: int = 24, seed: int = 0) -> torch.Tensor:
    """Standardised by the statistics of a larger image: a crop of mean 0.5 and deviation 1.5, partly negative."""
    noise = torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(seed))
    return 0.5 + 1.5 * noise


@each_operation
@settings(max_examples=8, deadline=None)
@given(
    batch=st.integers(1, 4),
    channels=st.integers(1, 3),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    constant=st.booleans(),
)
def test_shape_and_dtype_are_kept_and_nothing_becomes_nan(operation, batch, channels, height, width, dtype, constant):
    shape = (batch, channels, height, width)
    given = torch.full(shape, 2.0) if constant else torch.randn(shape)
    result = operation(given.to(dtype))
    assert (result.shape, result.dtype) == (given.shape, dtype)
    assert torch.isfinite(result).all()


@each_operation
def test_only_selected_samples_change_on_host_and_device_route(operation):
    torch.manual_seed(3)
    given = images()
    params = operation.forward_parameters(given.shape)
    params["batch_prob"] = torch.tensor([1.0, 0.0, 1.0, 0.0])
    host = operation(given, params=params)
    device = operation(given.clone().requires_grad_(), params=params).detach()  # all are computed, then selected
    assert torch.equal(host[1::2], given[1::2])
    assert torch.equal(device[1::2], given[1::2])
    assert not torch.equal(host[0], given[0])
    torch.testing.assert_close(host, device, atol=2e-3, rtol=1e-3)


@each_operation
@pytest.mark.parametrize("gradient", [False, True])
def test_memory_layout_does_not_matter(operation, gradient):
    torch.manual_seed(3)
    given = images(channels=3)
    params = operation.forward_parameters(given.shape)
    expected = operation(given, params=params)
    for laid_out in (given.mT.contiguous().mT, given.contiguous(memory_format=torch.channels_last)):
        result = operation(laid_out.requires_grad_(gradient), params=params).detach()
        torch.testing.assert_close(result, expected, atol=2e-3, rtol=1e-3)


@each_operation
def test_a_sample_does_not_depend_on_its_batch(operation):
    torch.manual_seed(3)
    given = images()
    params = operation.forward_parameters(given.shape)
    params["batch_prob"][:] = 1
    together = operation(given, params=params)
    for row in range(len(given)):
        own = {name: value if name == "forward_input_shape" else value[row : row + 1] for name, value in params.items()}
        torch.testing.assert_close(operation(given[row : row + 1], params=own), together[row : row + 1])


@each_operation
def test_moving_the_module_leaves_the_draws_on_the_cpu(operation):
    torch.manual_seed(0)
    before = operation.forward_parameters(images().shape)
    operation.to(torch.float64)
    torch.manual_seed(0)
    after = operation.forward_parameters(images().shape)
    operation.to(torch.float32)
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    operation._apply(lambda t: t.to("meta"))  # as .to("cuda") would
    assert all(value.device.type == "cpu" for value in operation.forward_parameters(images().shape).values())


def test_standardize():
    result = augment.Standardize()(images() * 1e4 + 1e5)
    torch.testing.assert_close(result.mean((2, 3)), torch.zeros(4, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.std((2, 3), correction=0), torch.ones(4, 2), atol=1e-3, rtol=0)
    assert torch.equal(augment.Standardize()(torch.full((1, 1, 7, 7), 0.1)), torch.zeros(1, 1, 7, 7))


def test_brightness_and_contrast_are_in_deviations_about_the_mean():
    given = images(1, 1)
    result = brightness_contrast(given, torch.tensor([0.5]), torch.tensor([2.0]))
    deviation = given.std(correction=0)
    torch.testing.assert_close(result, (given - given.mean()) * 2 + given.mean() + 0.5 * deviation)


def test_standardising_behind_the_jitter_cancels_it_and_in_front_does_not():
    torch.manual_seed(0)
    jitter, standardize = augment.RandomBrightnessContrast(p=1.0), augment.Standardize()
    torch.testing.assert_close(standardize(jitter(images())), standardize(images()), atol=1e-4, rtol=1e-4)
    assert (jitter(standardize(images())) - standardize(images())).abs().mean() > 0.05


def test_extreme_scale_does_not_clamp():
    operation = augment.RandomExtremeScale(factor=(65000.0, 65000.0), p=1.0)
    torch.testing.assert_close(operation(images()), images() * 65000)
    assert operation(images().half()).abs().max() == torch.finfo(torch.float16).max


@pytest.mark.parametrize(("distribution", "median"), [("log_uniform", math.sqrt(65000)), ("uniform", 32500)])
def test_extreme_scale_distribution(distribution, median):
    torch.manual_seed(0)
    operation = augment.RandomExtremeScale(distribution=distribution)
    factors = operation.forward_parameters(torch.Size([4000, 1, 2, 2]))["factor"]
    assert factors.median() == pytest.approx(median, rel=0.25)
    assert factors.min() >= 1
    assert factors.max() <= 65001


def test_square_worked_by_hand():
    given = torch.tensor([-1.0, 0.0, 2.0, 3.0]).view(1, 1, 2, 2)
    assert square(given, None).flatten().tolist() == [-1, 0, 4, 9]
    assert square(given, "max").flatten().tolist() == pytest.approx([-1 / 3, 0, 4 / 3, 3])
    assert square(given, "deviation").std() == pytest.approx(given.std())


def test_gamma_keeps_the_ends_and_bends_between():
    given = torch.tensor([-1.0, 1.0, 3.0]).view(1, 1, 1, 3)
    assert gamma(given, torch.tensor([2.0])).flatten().tolist() == pytest.approx([-1, 0, 3])


def test_random_gamma_gives_mean_and_deviation_back():
    result = augment.RandomGamma(gamma=(2.0, 2.0), p=1.0)(images())
    assert not torch.allclose(result, images(), atol=0.05)
    torch.testing.assert_close(result.mean((2, 3)), images().mean((2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.std((2, 3)), images().std((2, 3)), atol=1e-4, rtol=0)


def test_blur_of_a_point_is_the_gaussian_and_keeps_its_mass():
    given = torch.zeros(2, 1, 31, 31)
    given[:, :, 15, 15] = 1
    result = blur(given, torch.tensor([1.0, 2.0]), radius=7)
    torch.testing.assert_close(result.sum((1, 2, 3)), torch.ones(2))
    assert result[0, 0, 15, 15] == pytest.approx(1 / (2 * math.pi), rel=0.01)
    assert result[1, 0, 15, 17] / result[1, 0, 15, 15] == pytest.approx(math.exp(-0.5), rel=1e-3)
    assert torch.equal(blur(given, torch.zeros(2), radius=3), given)


def test_illumination_multiplies_above_the_darkest_pixel():
    given = images(1, 1)
    low = given.min()
    evenly = illumination(given, torch.full((1, 4, 4), 0.5))
    torch.testing.assert_close(evenly, low + (given - low) * 0.5)
    slope = torch.linspace(-1, 2, 4).expand(1, 4, 4) * 0.4 + 1  # factor 1 at the left edge, 1.4 at the right one
    field = (illumination(given, slope) - low) / (given - low + 1e-12)
    assert field[0, 0, 5, 0] == pytest.approx(1, abs=1e-3)
    assert field[0, 0, 5, -1] == pytest.approx(1.4, abs=1e-3)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: augment.RandomBrightnessContrast(contrast=(-1.0, 1.0)), "contrast"),
        (lambda: augment.RandomExtremeScale(factor=(0.0, 1.0)), "factor"),
        (lambda: augment.RandomExtremeScale(distribution="normal"), "distribution"),
        (lambda: augment.RandomSquare(restore="mean"), "restore"),
        (lambda: augment.RandomGamma(gamma=(2.0, 1.0)), "gamma"),
        (lambda: augment.RandomPhotonNoise(photons=(0.0, 1.0)), "photons"),
        (lambda: augment.RandomBlur(sigma=(1.0, 2.0, 3.0)), "sigma"),
        (lambda: augment.RandomIllumination(points=3), "points"),
        (lambda: augment.RandomBlur(p=2.0), "p=2"),
    ],
)
def test_settings_are_checked_by_name(build, name):
    with pytest.raises(ValueError, match=name):
        build()

"""The U-Net: shapes for any size, settings that rebuild it, the classic parameter count."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segexp.errors import InputError
from segexp.models import MODELS, UNet
from segexp.models.unet import fold_batch_norms, pad_to_multiple, set_prior


@settings(max_examples=40)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    classes=st.integers(1, 3),
    channels=st.integers(1, 3),
    shrink=st.sampled_from([1, 2, 4]),
)
def test_any_size_comes_back_as_it_went_in(height, width, classes, channels, shrink):
    model = UNet(channels, classes, widths=(4, 8, 8), shrink=shrink, detail=4).eval()
    assert model(torch.zeros(2, channels, height, width)).shape == (2, classes, height, width)


@pytest.mark.parametrize("shrink", [1, 2])
def test_folded_batch_norms_change_nothing(shrink):
    torch.manual_seed(0)
    model = UNet(1, 2, widths=(4, 8, 8), shrink=shrink)
    images = torch.rand(4, 1, 40, 56) * 5
    for _ in range(3):
        model(images)  # statistics of their own
    folded = fold_batch_norms(model)
    assert model.training
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    expected = model.eval()(images)
    torch.testing.assert_close(folded(images), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1
    assert (
        fold_batch_norms(UNet(widths=(4, 8), norm="group")).state_dict().keys()
        == UNet(widths=(4, 8), norm="group").state_dict().keys()
    )


def test_weights_of_the_reference():
    """By hand: 3x3 convolutions without bias, two norm values a channel, 2x2 transposed convolutions, the head."""

    def block(a, b):
        return 9 * a * b + 9 * b * b + 4 * b

    encoder = block(1, 64) + block(64, 128) + block(128, 256) + block(256, 512)
    decoder = block(512, 256) + block(256, 128) + block(128, 64)
    ups = sum(4 * b * a + a for a, b in ((64, 128), (128, 256), (256, 512)))
    assert sum(p.numel() for p in UNet().parameters()) == encoder + decoder + ups + 64 + 1


def test_weights_of_the_fast_one():
    """By hand, one image channel: the stem, three scales down and up, and the three convolutions of the refinement."""

    def block(a, b, side=3):
        return side * side * a * b + 9 * b * b + 4 * b

    encoder = block(1, 16, side=4) + block(16, 32) + block(32, 64) + block(64, 128)
    decoder = block(128, 64) + block(64, 32) + block(32, 16)
    ups = sum(4 * b * a + a for a, b in ((16, 32), (32, 64), (64, 128), (8, 16)))
    refinement = (9 * 8 + 2 * 8) + (9 * 16 * 8 + 2 * 8)
    model = UNet(widths=(16, 32, 64, 128), shrink=2, detail=8)
    assert sum(p.numel() for p in model.parameters()) == encoder + decoder + ups + refinement + 8 + 1


@pytest.mark.parametrize("shrink", [1, 2])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_settings_rebuild_the_model(norm, shrink):
    model = UNet(3, 2, widths=[4, 6], kernel_size=5, norm=norm, shrink=shrink, detail=4).eval()
    twin = MODELS["UNet"](**model.settings).eval()
    twin.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 12, 12)
    torch.testing.assert_close(twin(images), model(images))


def test_settings_of_older_files_still_build_their_model():
    model = UNet(widths=(4, 8))
    older = {name: model.settings[name] for name in ("in_channels", "classes", "widths", "kernel_size", "norm")}
    UNet(**older).load_state_dict(model.state_dict())


@pytest.mark.parametrize("shrink", [1, 2, 4])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_gradient_reaches_every_weight(norm, shrink):
    torch.manual_seed(0)
    model = UNet(widths=(8, 16, 16), norm=norm, shrink=shrink)
    model(torch.randn(2, 1, 32, 32)).square().mean().backward()
    for name, parameter in model.named_parameters():
        # a bias before a batch norm is taken out again, so only weights are asked for
        assert name.endswith("bias") or parameter.grad.abs().max() > 0, name


def field(model, size=96):
    """How many rows above and below a pixel in the middle of an image of `size` pixels change its logit."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()  # so that no ReLU hides a path
    images = torch.rand(1, 1, size, size, requires_grad=True)
    model(images)[0, 0, size // 2, size // 2].backward()
    rows = images.grad[0, 0].abs().sum(1).nonzero()
    return size // 2 - int(rows[0]), int(rows[-1]) - size // 2


def test_a_shrunk_image_is_seen_twice_as_far():
    torch.manual_seed(0)
    plain = field(UNet(widths=(4, 4, 4), norm="none"))
    shrunk = field(UNet(widths=(4, 4, 4), norm="none", shrink=2))
    assert min(shrunk) > 1.6 * max(plain)
    assert max(shrunk) <= 6 * 8 - 4  # what exported packages state as their halo


def test_full_resolution_detail_reaches_the_logits():
    """Two images that differ in a checkerboard, which shrinking by averages would not tell apart."""
    torch.manual_seed(0)
    model = UNet(widths=(4, 8), shrink=2).eval()
    with torch.no_grad():
        for parameter in model.stem[0].parameters():
            parameter.fill_(1.0)  # the first convolution only averages
        board = torch.ones(16, 16)
        board[::2, ::2] = board[1::2, 1::2] = -1
        flat, checked = model(torch.zeros(1, 1, 16, 16)), model(board[None, None])
    assert (flat - checked).abs()[..., 4:-4, 4:-4].min() > 1e-6


@pytest.mark.parametrize("shrink", [1, 2])
def test_traced_model_takes_other_batches_and_sizes(shrink):
    torch.manual_seed(0)
    model = UNet(widths=(4, 8), shrink=shrink).eval()
    with warnings.catch_warnings(action="ignore"):  # sizes that need padding take another branch, which is not traced
        traced = torch.jit.trace(model, torch.randn(1, 1, 32, 32))
    for shape in ((3, 1, 32, 32), (1, 1, 64, 48)):
        images = torch.randn(shape)
        torch.testing.assert_close(traced(images), model(images))


@pytest.mark.parametrize("shrink", [1, 2])
def test_runs_on_a_pretended_device(shrink):
    model = UNet(widths=(4, 8), shrink=shrink).to("meta")
    assert model(torch.empty(2, 1, 30, 31, device="meta")).shape == (2, 1, 30, 31)


def test_title_tells_two_models_of_the_same_widths_apart():
    assert UNet(widths=(4, 8)).title == "UNet [4, 8]"
    assert UNet(widths=(4, 8), shrink=2).title == "UNet [4, 8] on the image shrunk by 2"


def test_padding_reflects_and_repeats_where_it_cannot():
    images = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert pad_to_multiple(images, 4)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    images = torch.arange(3.0).reshape(1, 1, 1, 3).expand(1, 1, 4, 3)
    assert pad_to_multiple(images, 4)[0, 0, 0].tolist() == [0, 1, 2, 1]
    assert pad_to_multiple(images, 1) is images


def test_prior_sets_the_share_of_foreground():
    model = UNet(1, 2, widths=(4, 4)).eval()
    torch.nn.init.zeros_(model.head.weight)
    set_prior(model.head.bias, [0.01, 0.3])
    probabilities = torch.sigmoid(model(torch.randn(1, 1, 8, 8)))
    torch.testing.assert_close(probabilities.mean((0, 2, 3)), torch.tensor([0.01, 0.3]))


@pytest.mark.parametrize(
    "settings_",
    [
        {"kernel_size": 4},
        {"norm": "layer"},
        {"widths": [8]},
        {"widths": [8, 0]},
        {"shrink": 3},
        {"shrink": 0},
        {"detail": 0},
    ],
)
def test_wrong_settings_are_named(settings_):
    with pytest.raises(InputError, match=next(iter(settings_))):
        UNet(**settings_)

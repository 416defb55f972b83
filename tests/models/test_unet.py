"""The U-Net: shapes for any size, settings that rebuild it, the classic parameter count."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segexp.errors import InputError
from segexp.models import MODELS, UNet
from segexp.models.unet import pad_to_multiple, set_prior


@settings(max_examples=20)
@given(height=st.integers(1, 70), width=st.integers(1, 70), classes=st.integers(1, 3), channels=st.integers(1, 3))
def test_any_size_comes_back_as_it_went_in(height, width, classes, channels):
    model = UNet(channels, classes, widths=(4, 8, 8)).eval()
    assert model(torch.zeros(2, channels, height, width)).shape == (2, classes, height, width)


def test_weights_of_the_reference():
    """By hand: 3x3 convolutions without bias, two norm values a channel, 2x2 transposed convolutions, the head."""

    def block(a, b):
        return 9 * a * b + 9 * b * b + 4 * b

    encoder = block(1, 64) + block(64, 128) + block(128, 256) + block(256, 512)
    decoder = block(512, 256) + block(256, 128) + block(128, 64)
    ups = sum(4 * b * a + a for a, b in ((64, 128), (128, 256), (256, 512)))
    assert sum(p.numel() for p in UNet().parameters()) == encoder + decoder + ups + 64 + 1


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_settings_rebuild_the_model(norm):
    model = UNet(3, 2, widths=[4, 6], kernel_size=5, norm=norm).eval()
    twin = MODELS["UNet"](**model.settings).eval()
    twin.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 12, 12)
    torch.testing.assert_close(twin(images), model(images))


def test_padding_reflects_and_repeats_where_it_cannot():
    images = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert pad_to_multiple(images, 4)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    images = torch.arange(3.0).reshape(1, 1, 1, 3).expand(1, 1, 4, 3)
    assert pad_to_multiple(images, 4)[0, 0, 0].tolist() == [0, 1, 2, 1]
    assert pad_to_multiple(images, 1) is images


def test_prior_sets_the_share_of_foreground():
    model = UNet(1, 2, widths=(4, 4)).eval()
    torch.nn.init.zeros_(model.head.weight)
    set_prior(model, [0.01, 0.3])
    probabilities = torch.sigmoid(model(torch.randn(1, 1, 8, 8)))
    torch.testing.assert_close(probabilities.mean((0, 2, 3)), torch.tensor([0.01, 0.3]))


@pytest.mark.parametrize("settings_", [{"kernel_size": 4}, {"norm": "layer"}, {"widths": [8]}, {"widths": [8, 0]}])
def test_wrong_settings_are_named(settings_):
    with pytest.raises(InputError, match=next(iter(settings_))):
        UNet(**settings_)

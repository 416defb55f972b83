import cv2
import numpy as np
import pytest
import torch

from segexp.synthesis.jpeg import jpeg


def _picture(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    smooth = 120 + 70 * np.sin(x / 9.0) * np.cos(y / 13.0)
    return np.clip(smooth + 12 * np.random.default_rng(0).standard_normal(shape), 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("quality", [20, 60, 75, 95])
@pytest.mark.parametrize("shape", [(64, 72), (61, 45)])
def test_pixels_are_those_of_a_codec(quality, shape):
    picture = _picture(shape)
    _, stored = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    wanted = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE).astype(int)
    got = jpeg(torch.from_numpy(picture).float()[None], torch.tensor([float(quality)]))[0].numpy()
    inner = np.s_[: shape[0] // 8 * 8, : shape[1] // 8 * 8]  # what fills blocks up is the codec's own choice
    # A codec computes with whole numbers: many pixels differ by a level, and a coefficient on the edge by a step
    apart = np.abs(got - wanted)[inner]
    assert apart.mean() < 0.5
    lost, codec_lost = (got - picture)[inner], (wanted - picture.astype(int))[inner]
    assert lost.std() == pytest.approx(codec_lost.std(), rel=0.02)
    if quality < 90:
        assert np.corrcoef(lost.ravel(), codec_lost.ravel())[0, 1] > 0.97
    assert got.min() >= 0
    assert got.max() <= 255


def test_each_image_has_its_own_quality():
    picture = torch.from_numpy(_picture((32, 32))).float().expand(2, -1, -1)
    both = jpeg(picture, torch.tensor([30.0, 90.0]))
    errors = (both - picture).square().mean((1, 2))
    assert errors[0] > 3 * errors[1]
    assert torch.equal(jpeg(picture[1:], torch.tensor([90.0]))[0], both[1])

import numpy as np
import pytest
import torch

from segexp.synthesis import filament_light, filaments
from segexp.synthesis.chains import STEP


def _one(y, x, width=2.0, period=0.0):
    n = len(y)
    return filaments.Filaments(
        np.asarray(y, float), np.asarray(x, float), np.ones(n), np.array([0, n]), np.array([width]), np.array([width]),
        np.ones(1), np.ones(1), np.array([period]), np.zeros(n, bool),
    )  # fmt: skip


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 1.2, np.pi / 2, 2.5])
@pytest.mark.parametrize("width", [1.0, 2.0, 5.0])
def test_a_filament_holds_the_light_of_its_length_and_width(angle, width):
    s = STEP * np.arange(12)
    y, x = 40 + np.sin(angle) * s - 12 * np.sin(angle), 40.3 + np.cos(angle) * s - 12 * np.cos(angle)
    canvas = torch.zeros(80 * 80 + 1)
    filament_light.draw([_one(y, x, width)], canvas, (80, 80))
    image = canvas[:-1].view(80, 80)
    assert float(image.sum()) == pytest.approx(width * 11 * STEP, rel=1e-3)
    assert float(image.max()) == pytest.approx(min(width, 1.0), abs=0.35)


def test_light_beyond_the_border_is_dropped():
    canvas = torch.zeros(30 * 30 + 1)
    filament_light.draw([_one(np.full(30, 10.0), STEP * np.arange(30) - 20.0)], canvas, (30, 30))
    image = canvas[:-1].view(30, 30)
    assert float(image[8:13].sum()) == pytest.approx(float(image.sum()))
    assert float(image.sum()) == pytest.approx(2 * 30, rel=0.05)


def test_the_coarse_grid_holds_the_same_light_at_the_same_place():
    one = _one(30 + 0.4 * np.arange(12), 11 + 2.8 * np.arange(12), 2.0)
    fine, coarse = torch.zeros(80 * 80 + 1), torch.zeros(20 * 20 + 1)
    filament_light.draw([one], fine, (80, 80))
    filament_light.draw_coarse([one], coarse, (20, 20), 4)
    fine, coarse = fine[:-1].view(80, 80), coarse[:-1].view(20, 20)
    assert float(coarse.sum() * 16) == pytest.approx(float(fine.sum()), rel=1e-3)
    for axis in (0, 1):
        centre = float((fine.sum(axis) * torch.arange(80)).sum() / fine.sum())
        middle = float((coarse.sum(axis) * (4 * torch.arange(20) + 1.5)).sum() / coarse.sum())
        assert middle == pytest.approx(centre, abs=0.1)


def test_dots_have_half_the_light():
    s = STEP * np.arange(21)
    full, dotted = torch.zeros(80 * 80 + 1), torch.zeros(80 * 80 + 1)
    filament_light.draw([_one(np.full(21, 40.0), s + 5)], full, (80, 80))
    filament_light.draw([_one(np.full(21, 40.0), s + 5, period=6.0)], dotted, (80, 80))
    assert float(dotted.sum() / full.sum()) == pytest.approx(0.5, abs=0.08)

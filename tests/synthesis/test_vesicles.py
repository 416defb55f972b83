import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segexp import synthesis
from segexp.synthesis import discs, layout

PLAIN = {
    "style": "any", "cells": 0.0, "in_cells": 0.0, "clustered": 0.0, "blurred": 0.0, "hot_pixels": 0.0, "contrast": 1.0,
    "photons": 500.0, "exposure": 0.5, "background": 0.02, "unevenness": 0.0, "bits": 16,
}  # fmt: skip


def _drawn(y, x, radius, shape=(64, 64), **rest):
    canvas = torch.zeros(shape[0] * shape[1] + 1)
    one = discs.make(np.array([y]), np.array([x]), np.array([radius]), np.array([1.0]), **rest)
    (patch,) = discs.patches([one], shape, canvas.device)
    discs.splat(canvas, patch)
    return canvas[:-1].view(shape), patch


@settings(max_examples=40, deadline=None)
@given(st.floats(0.8, 20.0), st.floats(28.0, 36.0), st.floats(28.0, 36.0))
def test_a_disc_holds_the_light_of_its_area_around_its_centre(radius, y, x):
    image, _ = _drawn(y, x, radius)
    assert float(image.sum()) == pytest.approx(np.pi * radius**2, rel=0.03, abs=0.2)
    place = torch.arange(64.0)
    # A disc of radius 0.8 px is the hardest: its light lies on four pixels or so
    assert float((image.sum(1) * place).sum() / image.sum()) == pytest.approx(y, abs=0.08)
    assert float((image.sum(0) * place).sum() / image.sum()) == pytest.approx(x, abs=0.08)


def test_the_coarse_grid_holds_the_same_light_at_the_same_place():
    one = discs.make(np.array([32.2]), np.array([29.0]), np.array([7.0]), np.array([1.0]))
    canvas = torch.zeros(16 * 16 + 1)
    for patch in discs.patches([discs.shrunk(one, 4)], (16, 16), canvas.device):
        discs.splat(canvas, patch)
    image = canvas[:-1].view(16, 16)
    assert float(image.sum() * 16) == pytest.approx(np.pi * 49, rel=0.04)
    assert float((image.sum(1) * (4 * torch.arange(16) + 1.5)).sum() / image.sum()) == pytest.approx(32.2, abs=0.4)


@pytest.mark.parametrize("elongation", [1.0, 1.4])
def test_the_area_of_a_disc_is_that_of_its_radius(elongation):
    for radius in (3.0, 7.5, 15.0):
        _, patch = _drawn(32.2, 31.7, radius, elongation=elongation, angle=0.6)
        assert int((patch.distance <= radius).sum()) == pytest.approx(np.pi * radius**2, rel=0.06)


def test_a_ring_is_dark_inside():
    image, _ = _drawn(32.0, 32.0, 10.0, rim=2.0, lumen=0.25)
    assert float(image[32, 32]) == pytest.approx(0.25, abs=0.01)
    assert float(image[32, 41]) == pytest.approx(1.0, abs=0.06)


def test_discs_may_leave_the_image_on_every_side():
    for y, x in ((-3.0, 20.0), (66.0, 20.0), (20.0, -3.0), (20.0, 66.0), (-90.0, -90.0)):
        image, _ = _drawn(y, x, 6.0)
        assert float(image.sum()) < 0.6 * np.pi * 36
        assert float(image[10:54, 30:54].sum()) == 0.0


def test_the_mask_is_the_union_of_the_true_discs():
    (one,) = synthesis.generate_scenes("vesicle", 1, 200, 4, radius=5.0, coverage=0.1, elongation=1.0, psf=1.0, **PLAIN)
    place = np.mgrid[:200, :200]
    mask = np.zeros((200, 200), bool)
    assert one.objects.visible.any()
    for (y, x), radius in zip(
        one.objects.centres[one.objects.visible], one.objects.extent[one.objects.visible], strict=True
    ):
        mask |= np.hypot(place[0] - y, place[1] - x) <= radius
    assert (one.mask != mask).mean() < 1e-4  # float32 against float64 at the very edge


def test_labels_number_the_visible_vesicles():
    (one,) = synthesis.generate_scenes("vesicle", 1, 256, 1, radius=3.0, coverage=0.03, **PLAIN)
    seen = set(np.unique(one.labels)) - {0}
    visible = set(np.flatnonzero(one.objects.visible) + 1)
    assert seen <= visible
    y, x = one.objects.centres[one.objects.visible].T
    inside = (y > 0) & (y < 255) & (x > 0) & (x < 255)
    assert len(seen) >= 0.9 * inside.sum() > 10
    for k in sorted(seen)[:20]:
        rows, columns = np.nonzero(one.labels == k)
        centre = one.objects.centres[k - 1]
        assert np.hypot(rows - centre[0], columns - centre[1]).max() <= one.objects.extent[k - 1] * 1.3


def test_a_tiny_vesicle_covers_what_the_microscope_shows_of_it():
    (one,) = synthesis.generate_scenes(
        "vesicle", 1, 128, 2, radius=0.8, radius_spread=0.0, coverage=0.002, elongation=1.0, psf=2.0, **PLAIN
    )
    assert one.objects.extent == pytest.approx(2.36)
    assert (one.labels > 0).sum() / len(np.unique(one.labels[one.labels > 0])) == pytest.approx(
        np.pi * 2.36**2, rel=0.2
    )


def test_invisible_vesicles_are_not_foreground():
    dim = PLAIN | {"photons": 1.0, "background": 50.0, "exposure": 0.5}
    _, masks = synthesis.generate("vesicle", 2, 128, 0, radius=3.0, coverage=0.1, **dim)
    assert masks.sum() == 0


def test_vesicles_out_of_focus_are_not_foreground():
    alone = PLAIN | {"blurred": 0.0}
    both = PLAIN | {"blurred": 5.0}
    sharp = layout.layout("vesicle", (128, 128), 0, 0, ["any"], {k: v for k, v in alone.items() if k != "style"})
    more = layout.layout("vesicle", (128, 128), 0, 0, ["any"], {k: v for k, v in both.items() if k != "style"})
    np.testing.assert_array_equal(sharp.objects.discs.y, more.objects.discs.y)
    assert len(more.blurred) > len(sharp.blurred) == 0


def test_sizes_and_brightness_span_what_the_table_says():
    radii, peaks = [], []
    for one in synthesis.generate_scenes("vesicle", 40, 128, 0):
        radii.extend(one.objects.radii)
        peaks.extend(one.objects.peak)
    assert np.min(radii) < 1.5
    assert np.max(radii) > 15
    assert np.log10(np.max(peaks) / np.min(peaks)) > 2

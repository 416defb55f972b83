import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from segexp import synthesis
from segexp.synthesis import Foreground, foreground

ALONE = {
    "cells": 0.0, "in_cells": 0.0, "blurred": 0.0, "hot_pixels": 0.0, "contrast": 1.0, "photons": 1e6, "exposure": 0.5,
    "background": 0.001, "unevenness": 0.0, "bits": 16, "halo": 0.0, "offset": 0.0, "jpeg": 0.0, "subtracted": 0.0,
    "vignetting": 0.0, "bleaching": 0.0, "read_noise": 0.0, "noise_blur": 0.0,
}  # fmt: skip
VESICLE = ALONE | {"style": "any", "clustered": 0.0, "streaks": 0.0, "radius_spread": 0.0, "elongation": 1.0}
FILAMENT = ALONE | {
    "style": "free", "dotted": 0.0, "broken": 0.0, "blobs": 0.0, "variation": 0.0, "bundle": 1.0, "width_spread": 0.0,
    "length": 60.0, "persistence": 1e6, "curl": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("width", [0.5, 2.0, 6.0])
def test_a_bars_width_is_that_of_its_blurred_profile(width, share):
    fine = 50  # places a px
    place = (np.arange(-1000, 1001)) / fine
    profile = gaussian_filter1d((np.abs(place) <= width / 2).astype(float), 1.3 * fine)
    inside = np.count_nonzero(profile >= share * profile.max()) / fine
    assert foreground.bar_width(np.array([width]), 1.3, share)[0] == pytest.approx(inside, abs=0.05)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("rim", "lumen", "flat"), [(0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (1.5, 0.2, 1.0), (1.5, 0.8, 0.5)])
@pytest.mark.parametrize("radius", [1.5, 6.0])
def test_a_discs_radius_is_that_of_its_blurred_profile(radius, rim, lumen, flat, share):
    fine = 12
    y, x = np.mgrid[-180:181, -180:181] / fine
    r = np.hypot(y, x)
    light = (r <= radius) * (flat + (1 - flat) * np.sqrt((1 - (r / radius) ** 2).clip(0)))
    ring = rim > 0 and radius > rim
    if ring:
        light = np.where(r < radius - rim, lumen * light, light)
    blurred = gaussian_filter(light, 1.3 * fine)
    wanted = r[blurred >= share * blurred.max()].max()
    arrays = [np.array([v]) for v in (radius, rim if ring else 0.0, lumen, flat)]
    assert foreground.disc_radius(*arrays, 1.3, share)[0] == pytest.approx(wanted, abs=0.12)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_mask_at_a_share_of_the_peak_is_the_image_cut_there(share):
    """One vesicle alone, almost without noise: the mask is what a threshold on the image gives."""
    found = 0
    for number in range(8):
        (one,) = synthesis.generate_scenes(
            "vesicle", 1, 64, 1, first=number, radius=4.0, coverage=0.012, rings=0.0, psf=1.5, stretch=1.0,
            foreground=Foreground(share=share), **VESICLE,
        )  # fmt: skip
        inside = one.objects.centres[(np.abs(one.objects.centres - 31.5) < 22).all(1)]
        if len(one.objects) == len(inside) == 1:
            found += 1
            wanted = one.image >= share * (one.image.max() - np.median(one.image)) + np.median(one.image)
            assert np.count_nonzero(wanted != one.mask) <= 6
    assert found >= 2


def test_a_filaments_mask_has_the_width_asked_for():
    for width in (1.5, 4.0, 7.0):
        (one,) = synthesis.generate_scenes(
            "cytoskeleton", 1, 256, 3, filaments=30.0, foreground=Foreground(width=width), **FILAMENT
        )
        assert one.objects.extent == pytest.approx(width)
        inside = [k for k, line in enumerate(one.objects.centrelines) if (np.abs(line - 127.5) < 120).all()]
        areas = [(one.labels == k + 1).sum() / one.objects.lengths[k] for k in inside]
        assert max(areas) == pytest.approx(width, rel=0.12)  # where others cross, less is left


def test_the_image_does_not_depend_on_the_foreground():
    for task, chosen in (("vesicle", Foreground(share=0.2, faint=3, unfocused=255)), ("cytoskeleton", Foreground(9.0))):
        plain, masks = synthesis.generate(task, 3, 96, 0)
        image, other = synthesis.generate(task, 3, 96, 0, foreground=chosen)
        np.testing.assert_array_equal(plain, image)
        assert (masks != other).any()


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_objects_out_of_focus_have_the_value_asked_for(task):
    limits = {"style": {"vesicle": "any", "cytoskeleton": "network"}[task], "blurred": 0.6, "defocus": 3.0}
    limits |= {"broken": 0.0, "dotted": 0.0} if task == "cytoskeleton" else {}
    there = 0
    for one, usual in zip(
        synthesis.generate_scenes(task, 4, 128, 0, foreground=Foreground(unfocused=255), **limits),
        synthesis.generate_scenes(task, 4, 128, 0, **limits),
        strict=True,
    ):
        np.testing.assert_array_equal(one.mask == 1, usual.mask == 1)
        assert set(np.unique(one.mask)) <= {0, 1, 255}
        blurred = one.unfocused
        centres = np.round(np.stack([blurred.y, blurred.x], 1)).astype(int)
        inside = centres[((centres >= 0) & (centres < 128)).all(1)]
        there += len(inside)
        assert (one.mask[tuple(inside.T)] != 0).all()
        if task == "vesicle":  # the mask ends where the discs do
            y, x = np.nonzero(one.mask == 255)
            near = np.hypot(y[:, None] - blurred.y, x[:, None] - blurred.x)
            reach = np.maximum(blurred.radius, 1.18 * 3.0) * blurred.elongation**0.5
            assert (near <= reach + 0.01).any(1).all()
    assert there > 10


@pytest.mark.parametrize("task", synthesis.TASKS)
def test_faint_objects_have_the_value_asked_for(task):
    limits = {"photons": 0.2, "background": 50.0, "style": {"vesicle": "any", "cytoskeleton": "network"}[task]}
    for one in synthesis.generate_scenes(task, 3, 128, 0, foreground=Foreground(faint=2), **limits):
        assert set(np.unique(one.mask)) <= {0, 2}
        assert (one.mask == 2).any() == (len(one.objects) > 0)
        assert one.labels.max() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 2.0, "share": 0.5}, "expected one of them"),
        ({"width": 0.1}, r"0\.5 to 50 px; got 0\.1"),
        ({"share": 1.0}, r"0\.05 to 0\.95.*1\.0"),
        ({"faint": 256}, "faint.*256"),
        ({"unfocused": -1}, "unfocused.*-1"),
    ],
)
def test_a_foreground_that_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Foreground(**arguments)


def test_vesicles_have_no_single_width():
    with pytest.raises(ValueError, match=r"filaments.*share"):
        synthesis.generate("vesicle", 1, 32, 0, foreground=Foreground(width=3.0))

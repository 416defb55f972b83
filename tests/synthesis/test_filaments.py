import numpy as np
import pytest

from segexp import synthesis

PLAIN = {
    "style": "free", "cells": 0.0, "in_cells": 0.0, "blurred": 0.0, "hot_pixels": 0.0, "contrast": 1.0,
    "photons": 800.0, "exposure": 0.5, "background": 0.02, "unevenness": 0.0, "dotted": 0.0, "broken": 0.0,
    "blobs": 0.0, "variation": 0.0, "bundle": 1.0, "width_spread": 0.0, "bits": 16, "halo": 0.0,
}  # fmt: skip


def _distance(shape, line):
    """Distance of each pixel centre from a polyline, by brute force."""
    place = np.stack(np.mgrid[: shape[0], : shape[1]], -1)[:, :, None].astype(float)
    a, d = line[:-1], np.diff(line, axis=0)
    t = (((place - a) * d).sum(-1) / (d**2).sum(-1)).clip(0, 1)
    return np.linalg.norm(place - a - t[..., None] * d, axis=-1).min(-1)


@pytest.mark.parametrize("width", [1.0, 2.4, 5.0])
def test_the_mask_lies_within_half_its_width_of_the_centrelines(width):
    (one,) = synthesis.generate_scenes(
        "cytoskeleton", 1, 128, 3, width=width, filaments=60.0, length=100.0, persistence=300.0, **PLAIN
    )
    assert one.objects.visible[one.objects.steps].all()
    distance = np.min([_distance((128, 128), line) for line in one.objects.centrelines], axis=0)
    half = max(2.0, width) / 2
    assert one.mask.sum() > 100
    assert (one.mask.astype(bool) & (distance > half + 0.01)).sum() == 0
    missed = (one.mask == 0) & (distance < half - 0.01)
    assert missed.sum() <= 3.5 * half**2 * len(one.objects)  # square ends against the round ones of a distance
    ends = np.concatenate([line[[0, -1]] for line in one.objects.centrelines])
    place = np.argwhere(missed)
    if len(place):
        near = np.linalg.norm(place[:, None] - ends[None], axis=-1).min(1)
        assert (near > half + 1).sum() == 0


def test_labels_number_the_filaments():
    (one,) = synthesis.generate_scenes("cytoskeleton", 1, 128, 3, width=2.0, filaments=60.0, **PLAIN)
    seen = set(np.unique(one.labels)) - {0}
    assert seen
    assert seen <= set(range(1, len(one.objects) + 1))
    for k in seen:
        line = one.objects.centrelines[k - 1]
        assert _distance((128, 128), line)[one.labels == k].max() <= 1.15
        assert one.objects.lengths[k - 1] == pytest.approx(
            np.linalg.norm(np.diff(line, axis=0), axis=1).sum(), rel=0.02
        )


def test_invisible_filaments_are_not_foreground():
    dim = PLAIN | {"photons": 0.2, "background": 50.0}
    _, masks = synthesis.generate("cytoskeleton", 2, 128, 0, filaments=80.0, **dim)
    assert masks.sum() == 0


def test_long_breaks_are_not_foreground_and_dots_are():
    (broken,) = synthesis.generate_scenes("cytoskeleton", 1, 256, 1, filaments=20.0, **PLAIN | {"broken": 1.0})
    f = broken.objects
    dark = f.light == 0
    assert dark.any()
    assert not f.visible[dark].any()
    (dotted,) = synthesis.generate_scenes("cytoskeleton", 1, 256, 1, filaments=20.0, **PLAIN | {"dotted": 1.0})
    assert (dotted.objects.period > 0).all()
    assert dotted.objects.visible[dotted.objects.steps].all()


def test_blobs_are_not_foreground():
    (one,) = synthesis.generate_scenes("cytoskeleton", 1, 128, 0, filaments=0.0, **PLAIN | {"blobs": 300.0})
    assert one.mask.sum() == 0
    assert one.image.max() > 3 * np.median(one.image)


def test_filaments_stay_in_their_cells():
    limits = {"in_cells": 1.0, "leaving": 0.0, "bundle": 1.0, "haze": 0.01, "blobs": 0.0, "blurred": 0.0, "cells": 1.0}
    (one,) = synthesis.generate_scenes("cytoskeleton", 1, 256, 2, style="network", **limits)
    assert 0 < one.mask.mean() < 0.5
    dense = [s.mask.mean() for s in synthesis.generate_scenes("cytoskeleton", 20, 256, 0)]
    assert min(dense) < 0.02
    assert max(dense) > 0.08


def test_a_dark_filament_is_judged_by_the_light_it_takes():
    """Where little light is left, what is left says nothing about how well the filament can be seen."""
    dark = PLAIN | {"dark": 1.0, "background": 1.05, "photons": 6.0, "read_noise": 0.0, "exposure": 0.8}
    (one,) = synthesis.generate_scenes("cytoskeleton", 1, 128, 3, width=4.0, psf=0.8, filaments=60.0, **dark)
    assert one.objects.visible[one.objects.steps].mean() > 0.9

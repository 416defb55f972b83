"""Recovery: images generated with hidden parameters lead back to those, within stated tolerances."""

import numpy as np
import pytest

from segexp import synthesis
from segexp.calibration import fit
from segexp.calibration.fit import calibrate

VESICLES = {"style": "field", "radius": (4.0, 5.0), "radius_spread": 0.2, "photons": (40.0, 60.0), "background": 0.6}
FILAMENTS = {"style": "network", "psf": (1.2, 1.4), "photons": (100.0, 150.0), "haze": (0.05, 0.1), "blobs": 0.0}


def centre(limits):
    return float(np.sqrt(limits[0] * limits[1]))


def test_hidden_parameters_of_vesicles_are_found_again(monkeypatch):
    """Within a factor of 1.6 for the radius and 2 for the photons, where the table spans 7 and 100 and more."""
    monkeypatch.setattr(fit, "SCENES", 6)
    images, _ = synthesis.generate("vesicle", 6, 96, 77, **VESICLES)
    told = []
    found = calibrate(
        "vesicle", list(images), draws=240, generations=1, seconds=20, progress=lambda share, text: told.append(share)
    )
    assert found.after["all"] < 0.6 * found.before["all"]
    assert 4.5 / 1.6 < centre(found.ranges["radius"]) < 4.5 * 1.6
    assert 50 / 2 < centre(found.ranges["photons"]) < 50 * 2
    assert "photons" in found.identified
    assert "cells" not in found.ranges  # so the style's own count: none
    assert found.ranges["style"][0] in ("field", "any")
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(found.history) <= 1


def test_the_same_seed_finds_the_same(monkeypatch):
    monkeypatch.setattr(fit, "SCENES", 3)
    images, _ = synthesis.generate("vesicle", 2, 64, 5)
    one, other = (calibrate("vesicle", list(images), draws=64, generations=1, seconds=60, seed=3) for _ in range(2))
    assert one == other
    assert one.evaluations > 0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "hidden", "share", "tolerances"),
    [
        ("vesicle", VESICLES, 0.45, {"radius": 1.35, "photons": 1.6, "background": 1.6}),
        ("cytoskeleton", FILAMENTS, 0.6, {"psf": 1.3, "photons": 1.8}),
    ],
)
def test_a_full_search_is_nearer(task, hidden, share, tolerances):
    images, _ = synthesis.generate(task, 12, 256, 77, **hidden)
    found = calibrate(task, list(images), draws=1000, generations=25, seconds=120)
    assert found.after["all"] < share * found.before["all"]
    for name, factor in tolerances.items():
        limits = hidden[name] if isinstance(hidden[name], tuple) else (hidden[name],) * 2
        assert centre(limits) / factor < centre(found.ranges[name]) < centre(limits) * factor, name

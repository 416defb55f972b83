import numpy as np
import pytest

from segexp import synthesis
from segexp.synthesis import cells, filaments, untraced, vesicles

PLAIN = {
    "style": "free", "photons": 1000.0, "read_noise": 0.0, "background": 0.5, "unevenness": 0.0, "blobs": 0.0,
    "blurred": 0.0, "grain": 0.0, "vignetting": 0.0, "bleaching": 0.0, "hot_pixels": 0.0, "subtracted": 0.0,
    "jpeg": 0.0, "exposure": 0.3, "dotted": 0.0, "halo": 0.0, "ruffles": 0.0,
}  # fmt: skip


def test_a_tangle_is_in_the_image_and_not_in_the_mask():
    without, none = synthesis.generate("cytoskeleton", 1, 128, 4, **PLAIN, filaments=0.0001, tangle=0.0)
    woven, mask = synthesis.generate(
        "cytoskeleton", 1, 128, 4, **PLAIN, filaments=0.0001, tangle=2000.0, tangle_light=0.5
    )
    assert not none.any()
    assert not mask.any()
    ratio = woven.astype(float).std() / without.astype(float).std()
    assert ratio > 2.0
    assert woven.mean() > without.mean()


def test_the_tangle_leaves_filaments_as_they_are():
    limits = PLAIN | {"filaments": 30.0, "prominence": 0.0, "snr": 0.0, "faintest": 0.0}
    (plain,) = synthesis.generate_scenes("cytoskeleton", 1, 128, 4, **limits, tangle=0.0)
    (woven,) = synthesis.generate_scenes("cytoskeleton", 1, 128, 4, **limits, tangle=2000.0)
    assert plain.mask.any()
    np.testing.assert_array_equal(plain.mask, woven.mask)
    np.testing.assert_array_equal(plain.labels, woven.labels)
    assert (plain.image != woven.image).mean() > 0.5


def test_ruffles_lie_at_the_edges_of_cells():
    parameters = {name: row.at(0.5) for name, row in synthesis.tables("cytoskeleton")[0].items()}
    parameters |= {"tangle": 0.0, "ruffles": 200.0, "ruffle_width": 6.0, "cells": 1.0, "cell_radius": 80.0}
    rng = np.random.default_rng(0)
    placed = cells.sample(rng, parameters, (256, 256))
    drawn = untraced.beside_filaments(rng, parameters, (256, 256), placed)
    assert len(drawn) > 10
    assert np.median(drawn.width) == pytest.approx(6.0, rel=0.3)
    depth = np.array(
        [max(placed.level(np.array([y]), np.array([x]), np.array([c]))[0] for c in range(len(placed)))
         for y, x in zip(drawn.y[::5], drawn.x[::5], strict=True)]
    )  # fmt: skip
    assert np.median(np.abs(depth)) < 0.25 * 80.0
    no_cells = cells.sample(rng, parameters | {"cells": 0.0}, (256, 256))
    assert len(untraced.beside_filaments(rng, parameters, (256, 256), no_cells)) == 0


@pytest.mark.parametrize(("rule", "value"), [("prominence", 0.8), ("faintest", 0.4), ("snr", 40.0)])
def test_what_does_not_stand_out_is_not_in_the_mask(rule, value):
    easy = {"prominence": 0.0, "faintest": 0.0, "snr": 0.0}
    _, all_of_them = synthesis.generate("cytoskeleton", 2, 128, 1, **PLAIN, **easy, filaments=40.0, contrast=6.0)
    image, some = synthesis.generate(
        "cytoskeleton", 2, 128, 1, **PLAIN, **easy | {rule: value}, filaments=40.0, contrast=6.0
    )
    assert 0 < some.sum() < 0.8 * all_of_them.sum()
    traced, left_out = image[some > 0].mean(), image[(all_of_them > 0) & (some == 0)].mean()
    assert traced > left_out


def test_vesicles_have_no_membranes_beside_them_by_default():
    assert untraced.BESIDE_VESICLES["membranes"].high == 0.0
    limits = {"style": "electron", "coverage": 0.01, "bodies": 0.0, "lumps": 0.0, "streaks": 0.0}
    without, masks = synthesis.generate("vesicle", 1, 128, 0, **limits, membranes=0.0)
    image, same = synthesis.generate("vesicle", 1, 128, 0, **limits, membranes=40.0)
    assert (image < without).sum() > 10 * (image > without).sum()  # membranes are dark there
    assert same.sum() <= masks.sum()


def test_vesicles_that_lie_apart_do_not_overlap():
    (crowd,) = synthesis.generate_scenes("vesicle", 1, 256, 0, style="large", coverage=0.8, apart=0.0)
    (apart,) = synthesis.generate_scenes("vesicle", 1, 256, 0, style="large", coverage=0.8, apart=1.0)
    assert 3 < len(apart.objects) < len(crowd.objects)

    def closest(scene):
        places, radii = scene.objects.centres, scene.objects.radii
        gaps = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) / (radii[:, None] + radii[None])
        return gaps[np.triu_indices(len(radii), 1)].min()

    assert closest(apart) >= 0.9 > closest(crowd)


def test_bodies_and_lumps_are_bright_and_not_in_the_mask():
    limits = {"style": "any", "coverage": 0.0001, "streaks": 0.0, "blurred": 0.0}
    before, _ = synthesis.generate("vesicle", 1, 128, 3, **limits)
    for name in ("bodies", "lumps"):
        image, mask = synthesis.generate("vesicle", 1, 128, 3, **limits, **{name: 60.0})
        assert image.mean() > before.mean(), name
        assert mask.mean() < 0.05


def test_a_style_of_no_share_is_drawn_by_name_alone():
    assert synthesis.tables("vesicle")[1]["giant"].weight == 0.0
    drawn = {scene.style for scene in synthesis.generate_scenes("vesicle", 40, 32, 0)}
    assert "giant" not in drawn
    assert len(drawn) > 2
    assert {scene.style for scene in synthesis.generate_scenes("vesicle", 3, 32, 0, style="giant")} == {"giant"}


def test_rows_of_both_tasks_name_what_they_draw():
    assert set(untraced.BESIDE_FILAMENTS) >= {"tangle", "ruffles"}
    assert not set(vesicles.CROWD) & set(vesicles.VESICLES)
    assert not set(untraced.BESIDE_FILAMENTS) & set(filaments.FILAMENTS)

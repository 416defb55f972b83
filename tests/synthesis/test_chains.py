import numpy as np
import pytest

from segexp import synthesis
from segexp.synthesis import cells, chains, layout

CELL = {"cells": 1.0, "cell_radius": 60.0, "cell_contrast": 1.0, "in_cells": 1.0, "leaving": 0.0, "bundle": 1.0}


def _drawn(number=0, size=(256, 256), **ranges):
    """Give the layout of an image of the style "network"."""
    rest = {"radial": 0.0, "cortex": 0.0, "spikes": 0.0, "dotted": 0.0, "broken": 0.0, "blurred": 0.0, "order": 0.0}
    return layout.layout("cytoskeleton", size, 5, number, ["network"], rest | CELL | ranges)


def _depth(layout, line):
    """How far inside the nearest outline each node lies, as a share of the outline's radius there."""
    held = layout.cells
    shares = []
    for c in range(len(held)):
        owner = np.full(len(line), c)
        level = held.level(line[:, 0], line[:, 1], owner)
        shares.append(level / (level + np.hypot(line[:, 0] - held.y[c], line[:, 1] - held.x[c])))
    return np.max(shares, axis=0)


def test_chains_bend_as_their_persistence_length_says():
    rng = np.random.default_rng(0)
    zero = np.zeros(4000)
    _, _, angle = chains.chains(rng, zero, zero, zero, 41, 120.0, zero)
    contour = chains.STEP * np.arange(40)
    expected = np.exp(-contour / (2 * 120.0))  # in two dimensions
    np.testing.assert_allclose(np.cos(angle).mean(0), expected, atol=0.03)


def test_cortex_runs_along_the_outline():
    drawn = _drawn(cortex=1.0, filaments=40.0)
    assert len(drawn.objects) > 5
    for line in drawn.objects.centrelines:
        depth = _depth(drawn, line)
        assert depth.min() > -0.02
        assert depth.max() < 0.1
    apart = np.concatenate([np.hypot(*np.diff(line, axis=0).T) for line in drawn.objects.centrelines])
    assert np.median(apart) == pytest.approx(chains.STEP, rel=0.1)


def test_spikes_stick_out_of_the_outline():
    drawn = _drawn(number=3, spikes=1.0, filaments=60.0, persistence=2000.0)
    lines = drawn.objects.centrelines
    assert len(lines) > 5
    outside = [line for line in lines if _depth(drawn, line[-1:])[0] < 0]
    assert len(outside) > 0.6 * len(lines)
    assert np.median([_depth(drawn, line[:1])[0] for line in lines]) == pytest.approx(0.04, abs=0.03)


def test_confined_filaments_end_at_their_outlines():
    drawn = _drawn(number=1, filaments=200.0)
    assert min(_depth(drawn, line).min() for line in drawn.objects.centrelines) > -1e-3
    free = _drawn(number=1, filaments=200.0, leaving=1.0)
    assert min(_depth(free, line).min() for line in free.objects.centrelines) < -0.1


def test_branches_leave_their_mothers_at_70_degrees():
    rng = np.random.default_rng(0)
    count = 300
    zero = np.zeros(count)
    starts = chains.Starts(
        zero, zero, np.full(count, 0.3), np.full(count, 60), np.zeros(count, int), zero, np.zeros(count, int),
        np.zeros(count, bool),
    )  # fmt: skip
    none = cells.Cells(*np.zeros((2, 0)), np.zeros((0, cells.ANGLES)), *np.zeros((3, 0)), np.zeros((0, 3)))
    mothers = chains.grown(rng, starts, 1e13)
    both = chains.branched(rng, mothers, starts, none, 1.0, 1e13)
    daughters = both.rows(np.arange(count, len(both)))
    assert len(daughters) == pytest.approx(count * 60 * chains.STEP / 100, rel=0.15)
    angle = np.degrees(np.arctan2(daughters.y[:, 1] - daughters.y[:, 0], daughters.x[:, 1] - daughters.x[:, 0]) - 0.3)
    assert np.abs(angle).mean() == pytest.approx(70.0, abs=1.0)
    assert np.abs(angle).std() == pytest.approx(7.0, abs=1.0)
    assert 0.4 < (angle > 0).mean() < 0.6
    on_line = daughters.y[:, 0] * np.cos(0.3) - daughters.x[:, 0] * np.sin(0.3)
    np.testing.assert_allclose(on_line, 0.0, atol=1e-3)


def test_an_array_has_its_lines_at_the_distance_asked_for():
    limits = {"in_cells": 0.0, "cells": 0.0, "order": 1.0, "spacing": 12.0, "persistence": 1e13, "curl": 0.0}
    drawn = _drawn(filaments=150.0, **limits)
    lines = drawn.objects.centrelines
    turn = np.arctan2(*(lines[0][-1] - lines[0][0]))
    place = np.array([line[0, 0] * np.cos(turn) - line[0, 1] * np.sin(turn) for line in lines])
    phase = np.exp(2j * np.pi * place / 12.0)
    assert abs(phase.mean()) > 0.6  # Gaussian jitter of 0.12 leaves 0.75; even places would leave 0
    loose = [line[0] for line in _drawn(filaments=150.0, **limits | {"spacing": 0.0}).objects.centrelines]
    place = np.array([y * np.cos(turn) - x * np.sin(turn) for y, x in loose])
    assert abs(np.exp(2j * np.pi * place / 12.0).mean()) < 0.4


def test_lengths_are_those_of_the_centrelines():
    (one,) = synthesis.generate_scenes("cytoskeleton", 1, 128, 0, style="cortex", bundle=2.0, filaments=150.0)
    assert len(one.objects) > 10
    for line, length in zip(one.objects.centrelines, one.objects.lengths, strict=True):
        assert np.hypot(*np.diff(line, axis=0).T).sum() == pytest.approx(length, rel=1e-4)

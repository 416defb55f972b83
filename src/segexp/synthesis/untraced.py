"""Structures in focus that look like filaments and are in no mask, because nobody would trace them.

In images of filaments: a tangle of short fine filaments, which gives haze a woven texture, and the wavy folds (ruffles)
at the edges of cells. In images of vesicles, mainly in electron micrographs: long membranes of cells and organelles.
"""

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np

from segexp.synthesis.cells import Cells
from segexp.synthesis.filaments import FILAMENTS, MOST, Filaments, sample_chains
from segexp.synthesis.ranges import Range

BESIDE_FILAMENTS: dict[str, Range] = {
    "snr": Range(8.0, 8.0, "ratio", "least signal-to-noise ratio over 15 px of length of a filament in the mask"),
    "prominence": Range(
        0.25, 0.25, "share", "least brightness of a filament in the mask relative to the light under and around it"
    ),
    "faintest": Range(0.06, 0.06, "brightness", "least brightness of a filament in the mask"),
    "tangle": Range(0.0, 600.0, "filaments/512x512 px", "expected number of short fine filaments that nobody traces"),
    "tangle_light": Range(0.02, 0.15, "brightness", "brightness of the brightest of these filaments", "log"),
    "ruffles": Range(0.0, 4.0, "ruffles/512x512 px", "expected number of folds at the cells' edges"),
    "ruffle_width": Range(3.0, 9.0, "px", "median width of the folds before blur", "log"),
}
BESIDE_VESICLES: dict[str, Range] = {
    "membranes": Range(0.0, 0.0, "membranes/512x512 px", "expected number of long membranes in focus"),
    "membrane_width": Range(1.5, 4.0, "px", "median width of these membranes before blur", "log"),
}

_PLAIN = dict.fromkeys(FILAMENTS, 0.0) | {"bundle": 1.0, "bundle_width": 1.0}
_TANGLE = {"length": 25.0, "persistence": 25.0, "width": 0.8, "contrast": 3.0}
_RUFFLE = {"length": 45.0, "persistence": 25.0, "curl": 0.01, "contrast": 3.0, "variation": 0.6, "in_cells": 1.0}
_MEMBRANE = {"length": 400.0, "persistence": 150.0, "curl": 0.006, "contrast": 2.0, "variation": 0.2}


def beside_filaments(
    rng: np.random.Generator, p: Mapping[str, float], size: tuple[int, int], cells: Cells
) -> Filaments:
    """Draw the tangle of one image, which lies in cells as the filaments do, and the ruffles."""
    scale = size[0] * size[1] / 512**2
    count = rng.poisson(min(p["tangle"], MOST / _TANGLE["length"]) * scale)
    shape = {**p, **_PLAIN, **_TANGLE, "width_spread": 0.2, "in_cells": p["in_cells"]}
    tangle = sample_chains(rng, count, shape, size, cells)
    tangle = replace(tangle, density=p["tangle_light"] * tangle.density, peak=p["tangle_light"] * tangle.peak)
    if not len(cells):
        return tangle
    shape = {**p, **_PLAIN, **_RUFFLE, "cortex": 0.7, "width": p["ruffle_width"], "width_spread": 0.3}
    return _joined(tangle, sample_chains(rng, rng.poisson(p["ruffles"] * scale), shape, size, cells))


def beside_vesicles(rng: np.random.Generator, p: Mapping[str, float], size: tuple[int, int], cells: Cells) -> Filaments:
    """Draw the membranes of one image."""
    count = rng.poisson(p["membranes"] * size[0] * size[1] / 512**2)
    shape = {**p, **_PLAIN, **_MEMBRANE, "width": p["membrane_width"], "width_spread": 0.3}
    return sample_chains(rng, count, shape, size, cells)


def _joined(first: Filaments, second: Filaments) -> Filaments:
    """Concatenate the chains of `first` and `second`."""
    values = {
        field.name: np.concatenate([getattr(first, field.name), getattr(second, field.name)])
        for field in fields(Filaments)
        if field.name != "start"
    }
    return Filaments(**values, start=np.concatenate([first.start, first.start[-1] + second.start[1:]]))

"""Scores of a predicted mask or probability map against the truth: pure functions on NumPy arrays.

overlap: pixels · skeleton, topology: filaments · surface: outlines · objects: vesicles · calibration: probabilities ·
interval: uncertainty of means over images · registry: every score by name · region: what they share.
"""

from segexp.metrics.calibration import average_precision, brier, calibration_error, probability_histogram
from segexp.metrics.interval import bootstrap_interval, paired_difference
from segexp.metrics.objects import match_objects, object_scores
from segexp.metrics.overlap import Counts, confusion, overlap_scores
from segexp.metrics.registry import Score
from segexp.metrics.skeleton import cldice, skeleton_scores
from segexp.metrics.surface import surface_scores
from segexp.metrics.topology import betti_numbers, topology_scores

__all__ = [
    "Counts",
    "Score",
    "average_precision",
    "betti_numbers",
    "bootstrap_interval",
    "brier",
    "calibration_error",
    "cldice",
    "confusion",
    "match_objects",
    "object_scores",
    "overlap_scores",
    "paired_difference",
    "probability_histogram",
    "skeleton_scores",
    "surface_scores",
    "topology_scores",
]

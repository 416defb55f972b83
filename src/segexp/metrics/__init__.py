"""Scores of a predicted mask against the truth: pure functions on NumPy arrays."""

from segexp.metrics.overlap import Counts, confusion, overlap_scores
from segexp.metrics.skeleton import cldice

__all__ = ["Counts", "cldice", "confusion", "overlap_scores"]

"""Scores of a model on annotated images: for each image, means with intervals, operating points and comparisons.

scores: the rows of one image · images: a model on many images · io: ``evaluation.json`` and ``scores.csv`` ·
operating_point: threshold, temperature and smallest object · corruptions, robustness: curves of changed images ·
comparison: two runs on the same images · run: ``segexp evaluate`` · tables: scores in the terminal.
"""

from segexp.evaluation.images import Evaluation, evaluate, evaluate_fully, summarize
from segexp.evaluation.scores import Row, score_image
from segexp.metrics.registry import FAMILIES, SCORES

__all__ = ["FAMILIES", "SCORES", "Evaluation", "Row", "evaluate", "evaluate_fully", "score_image", "summarize"]

"""Scores of a model on annotated images: image by image, their means with intervals, and what follows from them.

scores: the scores' names, and the rows of one image · images: a model on many images · record: ``evaluation.json`` ·
operating_point: threshold, temperature and smallest object · perturbation, robustness: curves of changed images ·
comparison: two runs on the same images · run: ``segexp evaluate`` · tables: scores in the terminal.
"""

from segexp.evaluation.images import Evaluation, evaluate, evaluate_fully, summarize
from segexp.evaluation.scores import FAMILIES, SCORES, Row, score_image

__all__ = ["FAMILIES", "SCORES", "Evaluation", "Row", "evaluate", "evaluate_fully", "score_image", "summarize"]

"""Fit what the generator varies to images of a microscope, none of them annotated: `segexp calibrate`."""

from segexp.calibration.features import GROUPS, describe, distance, groups_of
from segexp.calibration.fit import Calibration, Progress, calibrate

__all__ = ["GROUPS", "Calibration", "Progress", "calibrate", "describe", "distance", "groups_of"]

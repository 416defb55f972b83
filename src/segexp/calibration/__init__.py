"""Fit what the generator varies to images of a microscope, none of them annotated: `segexp calibrate`."""

from segexp.calibration.fit import Calibration, Progress, calibrate
from segexp.calibration.look import GROUPS, distance, groups_of, look

__all__ = ["GROUPS", "Calibration", "Progress", "calibrate", "distance", "groups_of", "look"]

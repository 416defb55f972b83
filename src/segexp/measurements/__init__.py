"""Measurements from a mask and its image: one row per vesicle or per filament segment, and a summary of the image.

settings = segexp.measurements.Settings(kind="objects")
result = segexp.measurements.measure(mask, image, settings, pixel_size=0.065)
result.objects    # one row per object; result.summary: one row for the image; result.labels: the objects' pixels
"""

from segexp.measurements.measure import KINDS, Measurement, Settings, columns, measure
from segexp.measurements.table import Row, write_rows

__all__ = ["KINDS", "Measurement", "Row", "Settings", "columns", "measure", "write_rows"]

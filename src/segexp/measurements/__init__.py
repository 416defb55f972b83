"""From a mask and its image to numbers: vesicles one by one, filaments segment by segment, and what they add up to.

result = segexp.measurements.measure(mask, image, kind="objects", pixel_size=0.065)
result.objects    # rows, one an object; result.summary: one row for the image; result.labels: the objects as drawn
"""

from segexp.measurements.measure import KINDS, Measurement, Settings, columns, measure
from segexp.measurements.table import Row, write_rows

__all__ = ["KINDS", "Measurement", "Row", "Settings", "columns", "measure", "write_rows"]

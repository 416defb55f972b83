"""Objects as regions of ImageJ and Fiji: a ``.zip`` that the ROI manager opens."""

import io
import zipfile

import numpy as np
from roifile import ROI_TYPE, ImagejRoi

from segexp.measurements.measure import Measurement
from segexp.measurements.outlines import outlines, ring_area


def rois(
    measurement: Measurement, prefix: str, page: int | None = None, axis: str = "", planes: int = 1, before: int = 0
) -> dict[str, bytes]:
    """ImageJ ROIs by their names in the archive: a polygon for each vesicle, a line for each segment of a filament.

    Holes are filled, as a polygon in ImageJ has none. `page` is the slice, from 1, of a stack that they lie on. Where a
    page has several `planes`, its channels, they lie on all of them if `axis` says what the pages are, ``Z`` or ``T``.
    `before` is the number of objects of the page's earlier classes: tables and label images count on from there.
    """
    files: dict[str, bytes] = {}

    def add(number: int, points: np.ndarray, kind: ROI_TYPE) -> None:
        name = f"{prefix}_{before + number:05}"
        roi = ImagejRoi.frompoints(points, name=name)
        roi.roitype = kind
        if page is not None and planes > 1 and axis:
            setattr(roi, f"{axis.lower()}_position", page)
        elif page is not None:
            roi.position = (page - 1) * planes + 1  # of ImageJ's planes, of which the channels run fastest
        files[f"{name}.roi"] = roi.tobytes()

    if measurement.lines is not None:
        for number, line in enumerate(measurement.lines, 1):
            add(number, (line[:, ::-1] + 0.5).astype(np.float32), ROI_TYPE.POLYLINE)
        return files
    for number, rings in outlines(measurement.labels, joined=True).items():
        add(number, max(rings, key=ring_area).astype(np.int32), ROI_TYPE.POLYGON)
    return files


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """A zip archive of named files; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()

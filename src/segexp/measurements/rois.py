"""Objects as ROIs of ImageJ and Fiji, in a ``.zip`` for the ROI manager."""

import io
import zipfile

import numpy as np
from roifile import ROI_TYPE, ImagejRoi

from segexp.measurements.measure import Measurement
from segexp.measurements.outlines import outlines, ring_area


def rois(
    measurement: Measurement, prefix: str, page: int | None = None, axis: str = "", planes: int = 1, before: int = 0
) -> dict[str, bytes]:
    """Return ImageJ ROIs by their names in the archive: a polygon per vesicle, a line per segment of a filament.

    Holes are filled, because a polygon in ImageJ has no holes. `page` is the slice of a stack, from 1, to which the
    ROIs belong. If a page has several `planes` (channels), the ROIs belong to all of them if `axis` states what the
    pages are, ``Z`` or ``T``. `before` is the number of objects in the page's earlier classes; objects are numbered
    from there on, as in tables and label images.
    """
    files: dict[str, bytes] = {}

    def add(number: int, points: np.ndarray, kind: ROI_TYPE) -> None:
        name = f"{prefix}_{before + number:05}"
        # roifile counts characters, ImageJ UTF-16 units: beyond U+FFFF a name would lose its end. ImageJ takes the name
        # in the archive where the ROI has none.
        roi = ImagejRoi.frompoints(points, name=name if max(name) <= "\uffff" else "")
        roi.roitype = kind
        if page is not None and planes > 1 and axis:
            setattr(roi, f"{axis.lower()}_position", page)
        elif page is not None:
            roi.position = (page - 1) * planes + 1  # index of ImageJ's plane; channels vary fastest
        files[f"{name}.roi"] = roi.tobytes()

    if measurement.lines is not None:
        for number, line in enumerate(measurement.lines, 1):
            add(number, (line[:, ::-1] + 0.5).astype(np.float32), ROI_TYPE.POLYLINE)
        return files
    for number, rings in outlines(measurement.labels, joined=True).items():
        add(number, max(rings, key=ring_area).astype(np.int32), ROI_TYPE.POLYGON)
    return files


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """Return a zip archive of named files; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()

"""Vesicles: splits touching ones, measures size, shape, brightness and position of each, and summarises the image."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import perimeter_crofton, regionprops
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from segexp.measurements.background import local_background
from segexp.measurements.table import Row

NECK = 0.03
"""Least share by which the distance to the background falls between two objects, where that is more than the depth."""


def split_touching(mask: NDArray, depth: float) -> NDArray[np.int32]:
    """Number the objects of a mask (H, W) from 1, split at their necks; int32 (H, W), 0 is background.

    Each maximum of the distance to the background becomes an object if it is more than `depth` px and more than 3 %
    above the saddle to a higher maximum (h-maxima; Vincent 1993, doi:10.1109/83.217222). The watershed of the distance
    is the boundary. Because of the 3 %, large objects with a rough outline are not split. With a `depth` of 0, touching
    objects are not split. The image's border is not background.
    """
    mask = np.asarray(mask, bool)
    labels = ndimage.label(mask, np.ones((3, 3)))[0].astype(np.int32)
    if depth <= 0 or mask.all():
        return labels
    distance = ndimage.distance_transform_edt(mask)
    tops, _ = ndimage.label(local_maxima(distance) & mask, np.ones((3, 3)))
    first = np.unique(tops, return_index=True)[1][1:]  # one pixel of each maximum
    peaks = np.bincount(labels.ravel()[first], minlength=labels.max() + 1)
    count = int(labels.max())
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if peaks[number] < 2:  # most objects need no split, which would be slow
            continue
        inside = labels[box] == number
        parts = _cut(np.where(inside, distance[box], 0), inside, depth)
        new = inside & (parts > 1)
        labels[box][new] = parts[new] - 1 + count
        count += int(parts.max()) - 1
    return labels


def _cut(distance: NDArray[np.float64], inside: NDArray[np.bool_], depth: float) -> NDArray[np.int32]:
    """Return the parts of one object, numbered from 1."""
    linear = depth / NECK  # above this distance, equal steps of the relief are equal ratios of the distance
    relief = np.where(distance > linear, linear * (1 + np.log(np.maximum(distance, linear) / linear)), distance)
    relief = np.where(inside, relief, -2 * depth)  # lower than any lowered maximum, so that none merges with outside
    relief = np.pad(relief, 1, constant_values=-2 * depth)
    peaks = local_maxima(reconstruction(relief - depth, relief))[1:-1, 1:-1] & inside
    markers, _ = ndimage.label(peaks, np.ones((3, 3)))
    return watershed(-distance, markers, mask=inside, connectivity=2).astype(np.int32)


def measure_vesicles(labels: NDArray[np.int32], image: NDArray, gap: float = 2, ring: float = 4) -> list[Row]:
    """Return one row for each object 1..N, in px.

    ``circularity`` is 4 pi area / perimeter^2, at most 1 (a disc), with Crofton's perimeter in four directions.
    ``mean_above_background`` is the mean of `image` (H, W) over the object, minus the median of the ring around it (see
    `local_background`); ``integrated_above_background`` is this difference times the area. Positions are centroids,
    with pixel centres at whole numbers. ``nearest_px`` is the distance to the nearest other centroid, NaN if there is
    only one object.
    """
    background = local_background(labels, image, gap, ring)
    height, width = labels.shape
    rows: list[Row] = []
    for region in regionprops(labels, image):
        top, left, bottom, right = region.bbox
        perimeter = perimeter_crofton(np.pad(region.image, 1), directions=4)
        y, x = region.centroid
        mean = region.image_intensity[region.image].mean(dtype=np.float64)  # float16 has only three digits
        above = float(mean - background[region.label - 1])
        rows.append(
            {
                "object": int(region.label),
                "y_px": y,
                "x_px": x,
                "area_px2": int(region.area),
                "diameter_px": float(np.sqrt(4 * region.area / np.pi)),
                "perimeter_px": float(perimeter),
                "circularity": min(1.0, 4 * np.pi * float(region.area) / float(perimeter) ** 2),
                "mean_above_background": above,
                "integrated_above_background": above * int(region.area),
                "background": float(background[region.label - 1]),
                "touches_border": int(top == 0 or left == 0 or bottom == height or right == width),
            }
        )
    centres = np.array([[row["y_px"], row["x_px"]] for row in rows], float).reshape(-1, 2)
    nearest = cKDTree(centres).query(centres, k=2)[0][:, 1] if len(rows) > 1 else [float("nan")] * len(rows)
    for row, distance in zip(rows, nearest, strict=True):
        row["nearest_px"] = float(distance)
    return rows


def summarize_vesicles(rows: list[Row], shape: tuple[int, int]) -> Row:
    """Return the image's row: number, density, sizes and distances of the objects.

    Objects that touch the border count in the number and the covered share, but not in the sizes, because they are cut.
    """
    whole = np.array([row["diameter_px"] for row in rows if not row["touches_border"]], float)
    nearest = np.array([row["nearest_px"] for row in rows], float)
    area = shape[0] * shape[1]
    summary: Row = {
        "objects": len(rows),
        "density_per_px2": len(rows) / area,
        "covered_share": sum(float(row["area_px2"]) for row in rows) / area,
        "objects_measured": len(whole),
        "diameter_mean_px": _or_nan(np.mean, whole),
        "diameter_sd_px": _or_nan(np.std, whole),
    }
    for percent in (10, 25, 50, 75, 90):
        summary[f"diameter_p{percent}_px"] = float(np.percentile(whole, percent)) if len(whole) else float("nan")
    distances = nearest[np.isfinite(nearest)]
    return summary | {
        "nearest_mean_px": _or_nan(np.mean, distances),
        "nearest_median_px": _or_nan(np.median, distances),
    }


def _or_nan(statistic: Callable[[NDArray], Any], values: NDArray) -> float:
    return float(statistic(values)) if len(values) else float("nan")

"""Outlines of labelled objects, exactly along the edges of their pixels, for programs that store objects as polygons.

A pixel in row r and column c covers x from c to c + 1 and y from r to r + 1, as in ImageJ and QuPath. The area inside
an outline therefore equals the number of the object's pixels.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Ring = NDArray[np.int64]
"""Corners (N, 2), x and y, without a repeated first corner; clockwise as seen around an object, counter-clockwise
around a hole."""
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up, as (x, y)


def outlines(labels: NDArray[np.integer], joined: bool = False) -> dict[int, list[Ring]]:
    """Return the rings of each label above 0: outer rings have a positive `ring_area`, holes a negative one.

    Args:
        labels: (H, W).
        joined: true: pixels that touch only at a corner are in one ring, which touches itself there. False: they are in
            two rings, and no ring touches itself; a hole that reaches the outside at a corner remains a hole.
    """
    rings: dict[int, list[Ring]] = {}
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        inside = labels[box] == number
        corner = np.array([box[1].start, box[0].start])
        rings[number] = [ring + corner for ring in mask_rings(inside, joined)]
    return rings


def mask_rings(mask: NDArray[np.bool_], joined: bool = False) -> list[Ring]:
    """Return the rings of a mask (H, W); see `outlines`."""
    padded = np.pad(np.asarray(mask, bool), 1)
    inside = padded[1:-1, 1:-1]
    # edges run around an object, which is on their right as seen; each edge begins at a corner of its pixel
    beyond = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])  # above, right, below, left
    begins = ((0, 0), (1, 0), (1, 1), (0, 1))
    edges: dict[tuple[int, int], list[int]] = {}
    for direction, (other, (dx, dy)) in enumerate(zip(beyond, begins, strict=True)):
        rows, columns = np.nonzero(inside & ~other)
        for corner in zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True):
            edges.setdefault(corner, []).append(direction)
    rings = []
    while edges:
        ring = _follow(edges, joined)
        rings += [ring] if joined else _simple(ring)
    return rings


def _follow(edges: dict[tuple[int, int], list[int]], joined: bool) -> Ring:
    """Follow one ring through the remaining edges, and remove its edges from them."""
    first = point = next(iter(edges))
    start = heading = _take(edges, first, edges[first][0])
    corners = [first]
    while True:
        point = (point[0] + _STEPS[heading][0], point[1] + _STEPS[heading][1])
        # where two pixels touch at a corner, a right turn stays on this pixel and a left turn crosses to the other
        across = (heading + (3 if joined else 1)) % 4
        left = edges.get(point, [])
        if point == first and (not left or (across == start and across not in left)):
            break
        turn = _take(edges, point, across if across in left else left[0])
        if turn != heading:
            corners.append(point)
        heading = turn
    return np.array(corners[heading == start :], np.int64)  # the first corner may lie within a straight edge


def _simple(ring: Ring) -> list[Ring]:
    """Split a ring that touches itself at corners into rings that do not; QuPath reads only such polygons."""
    rings: list[Ring] = []
    path: list[tuple[int, int]] = []
    seen: dict[tuple[int, int], int] = {}
    for x, y in ring.tolist():
        if (x, y) in seen:
            first = seen[x, y]
            rings.append(np.array(path[first:], np.int64))
            for corner in path[first:]:
                del seen[corner]
            del path[first:]
        seen[x, y] = len(path)
        path.append((x, y))
    return [*rings, np.array(path, np.int64)]


def _take(edges: dict[tuple[int, int], list[int]], point: tuple[int, int], direction: int) -> int:
    edges[point].remove(direction)
    if not edges[point]:
        del edges[point]
    return direction


def ring_area(ring: Ring) -> float:
    """Return the signed area in square pixels: positive around an object, negative around a hole."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2

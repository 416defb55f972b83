"""Outlines of labelled objects, exactly along their pixels' edges, for programs that keep objects as polygons.

A pixel in row r and column c covers x from c to c + 1 and y from r to r + 1, as in ImageJ and QuPath; so an outline
encloses as many square pixels as the object has.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Ring = NDArray[np.int64]
"""Corners (N, 2), x and y, not closed; clockwise as seen around an object, the other way around a hole."""
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up, as (x, y)


def outlines(labels: NDArray[np.integer], joined: bool = False) -> dict[int, list[Ring]]:
    """Rings of each label over 0: outer ones have a positive `ring_area`, holes a negative one.

    Args:
        labels: (H, W).
        joined: whether pixels that touch at a corner only lie within one ring, which then touches itself there; else
            in two, and no ring touches itself: a hole that reaches the outside at a corner stays a hole.
    """
    rings: dict[int, list[Ring]] = {}
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        if place is None:
            continue
        inside = labels[place] == number
        corner = np.array([place[1].start, place[0].start])
        rings[number] = [ring + corner for ring in mask_rings(inside, joined)]
    return rings


def mask_rings(mask: NDArray[np.bool_], joined: bool = False) -> list[Ring]:
    """Rings of a mask (H, W); see `outlines`."""
    padded = np.pad(np.asarray(mask, bool), 1)
    inside = padded[1:-1, 1:-1]
    # edges run round an object with it on their right hand as seen; each begins at a corner of its pixel
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
    """Take one ring out of the edges that are left."""
    first = place = next(iter(edges))
    start = heading = _take(edges, first, edges[first][0])
    corners = [first]
    while True:
        place = (place[0] + _STEPS[heading][0], place[1] + _STEPS[heading][1])
        # where two pixels touch at a corner, turning right stays with this one and turning left crosses over
        across = (heading + (3 if joined else 1)) % 4
        left = edges.get(place, [])
        if place == first and (not left or (across == start and across not in left)):
            break
        turn = _take(edges, place, across if across in left else left[0])
        if turn != heading:
            corners.append(place)
        heading = turn
    return np.array(corners[heading == start :], np.int64)  # the first corner may lie within a straight edge


def _simple(ring: Ring) -> list[Ring]:
    """The rings that a ring consists of which touches itself at corners; QuPath reads no other polygons."""
    rings: list[Ring] = []
    path: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    for x, y in ring.tolist():
        if (x, y) in places:
            first = places[x, y]
            rings.append(np.array(path[first:], np.int64))
            for corner in path[first:]:
                del places[corner]
            del path[first:]
        places[x, y] = len(path)
        path.append((x, y))
    return [*rings, np.array(path, np.int64)]


def _take(edges: dict[tuple[int, int], list[int]], place: tuple[int, int], direction: int) -> int:
    edges[place].remove(direction)
    if not edges[place]:
        del edges[place]
    return direction


def ring_area(ring: Ring) -> float:
    """Signed area in square pixels: positive around an object, negative around a hole."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2

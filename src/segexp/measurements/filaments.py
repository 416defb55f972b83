"""Filaments: the mask's centrelines as a graph of segments between ends and branch points, and what each is like.

The skeleton is scikit-image's, by the method of Lee, Kashyap and Chu (1994, doi:10.1006/cgip.1994.1042); the graph is
skan's (Nunez-Iglesias et al. 2018, doi:10.7717/peerj.4312). Pixel chains are staircases, up to 8 % longer than the line
they stand for and bent at every step; so each is smoothed before its length, direction and curvature are taken.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

from segexp.measurements.background import local_background
from segexp.measurements.table import Row

SMOOTHING = 2.5
"""Standard deviation in px of the Gaussian along a chain of pixels, for its length and direction."""
CURVATURE_WINDOW = 31
"""Pixels of a chain that a parabola is fitted to for its curvature, in which the staircase shows far more."""


@dataclass
class Segment:
    """A stretch of centreline.

    Attributes:
        path: (N, 2), smoothed, y and x in px.
        length: in px, to the mask's end where the end is free.
        curvature: mean absolute curvature, 1/px.
        free_ends: 0, 1 or 2.
    """

    path: NDArray[np.float64]
    length: float
    curvature: float
    free_ends: int


@dataclass
class Network:
    """All centrelines of a mask.

    Attributes:
        segments: of the skeleton's graph.
        labels: int32 (H, W), k + 1 on the mask's pixels nearest to segment k; 0 on specks without a line in them.
        branch_points: places where three or more segments meet; a crossing counts once.
        ends: free ends.
    """

    segments: list[Segment]
    labels: NDArray[np.int32]
    branch_points: int
    ends: int


def trace(mask: NDArray, spur: float = 3.0) -> Network:
    """Skeletonise a mask (H, W) and cut it into segments.

    Side branches are dropped that reach less than `spur` px beyond the filament they stand on. Two branch points closer
    than one and a half times the sum of their inscribed circles' radii are one: skeletons show an X as two Y.
    """
    mask = np.asarray(mask, bool)
    depth = ndimage.distance_transform_edt(mask)
    skeleton = skeletonize(mask, method="lee") > 0
    for _ in range(2):  # dropping a side branch can lay bare another
        skeleton, changed = _without_spurs(skeleton, depth, spur)
        if not changed:
            break
    chains, ends = _chains(skeleton)
    owner = np.full(mask.shape, -1, np.int64)
    joined = _Groups()
    segments: list[Segment] = []
    free = 0
    for chain, degrees in zip(chains, ends, strict=True):
        first, last = chain[0], chain[-1]
        radii = depth[tuple(first)], depth[tuple(last)]
        for place, degree in zip((first, last), degrees, strict=True):
            if degree > 2:
                joined.find(tuple(place))
        if min(degrees) > 2 and tuple(first) != tuple(last) and _length(chain) < 1.5 * sum(radii):
            joined.join(tuple(first), tuple(last))
            continue
        owner[tuple(chain.T)] = len(segments)
        segments.append(_segment(chain, (degrees[0] == 1, degrees[1] == 1), radii, mask.shape))
        free += segments[-1].free_ends
    return Network(segments, _nearest(owner, mask), joined.count(), free)


def _segment(
    chain: NDArray[np.intp], free: tuple[bool, bool], radii: tuple[float, float], shape: tuple[int, ...]
) -> Segment:
    """One chain of pixels (N, 2) with the half widths at its ends, in an image of `shape`."""
    closed = tuple(chain[0]) == tuple(chain[-1])
    sigma = min(SMOOTHING, 0.04 * len(chain)) if closed else SMOOTHING  # more would shrink a small ring to a point
    path = smooth(chain.astype(float), sigma, closed)
    # skeletonising shortens a free end by about the half width there, and may bend it into a corner of the mask
    ends = zip((chain[0], chain[-1]), radii, free, strict=True)
    beyond = sum(_beyond(place, radius, shape) for place, radius, loose in ends if loose)
    skip = [int(np.ceil(radius)) if loose else 0 for radius, loose in zip(radii, free, strict=True)]
    inner = chain[skip[0] : len(chain) - skip[1]]
    bend = curvature(inner.astype(float), closed)
    return Segment(path, _length(path) + beyond, bend, sum(free))


def measure_filaments(network: Network, image: NDArray, gap: float = 2, ring: float = 4) -> list[Row]:
    """One row for each segment, in px.

    ``width_px`` is the area of the mask's pixels nearest to the segment over its length. ``curvature_per_px`` is the
    mean size of the turn per px of the smoothed centreline. ``orientation_deg`` is the mean axis, 0 along the rows, 90
    up the columns, below 180. Intensities are those of the mask's pixels, above the local background of `image` (H, W).
    """
    labels = network.labels
    count = len(network.segments)
    index = np.arange(1, count + 1)
    area = np.bincount(labels.ravel(), minlength=count + 1)[1 : count + 1]
    total = np.bincount(labels.ravel(), weights=image.ravel(), minlength=count + 1)[1 : count + 1]
    background = local_background(labels, image, gap, ring)
    rows: list[Row] = []
    for k, segment in zip(index, network.segments, strict=True):
        angle, _ = axis_of(direction_moment(segment.path))
        middle = segment.path.mean(axis=0)
        above = float(total[k - 1] / area[k - 1] - background[k - 1])
        rows.append(
            {
                "segment": int(k),
                "y_px": float(middle[0]),
                "x_px": float(middle[1]),
                "length_px": segment.length,
                "width_px": float(area[k - 1] / segment.length),
                "curvature_per_px": segment.curvature,
                "orientation_deg": angle,
                "mean_above_background": above,
                "integrated_above_background": above * int(area[k - 1]),
                "background": float(background[k - 1]),
                "free_ends": segment.free_ends,
            }
        )
    return rows


def summarize_filaments(rows: list[Row], network: Network) -> Row:
    """The image's row: how much, how branched, how parallel.

    ``order`` is the nematic order parameter, the size of the mean of exp(2i angle) over all centrelines by length: 1
    where all run one way, 0 where every direction is as frequent as the one across it.
    """
    height, width = network.labels.shape
    lengths = np.array([row["length_px"] for row in rows], float)
    total = float(lengths.sum())
    moment = sum((direction_moment(segment.path) for segment in network.segments), 0j)
    angle, _ = axis_of(moment)
    steps = sum(_length(segment.path) for segment in network.segments)

    def mean(name: str) -> float:
        values = np.array([row[name] for row in rows], float)
        known = np.isfinite(values)
        return float(np.average(values[known], weights=lengths[known])) if known.any() else float("nan")

    return {
        "segments": len(rows),
        "length_px": total,
        "density_per_px": total / (height * width),
        "branch_points": network.branch_points,
        "free_ends": network.ends,
        "width_mean_px": mean("width_px"),
        "curvature_mean_per_px": mean("curvature_per_px"),
        "order": abs(moment) / steps if steps > 0 else float("nan"),
        "orientation_deg": angle if steps > 0 else float("nan"),
    }


def smooth(chain: NDArray[np.float64], sigma: float, closed: bool = False) -> NDArray[np.float64]:
    """A chain of pixels (N, 2) with its staircase smoothed away; open ends stay where they are."""
    if len(chain) < 3:
        return chain
    if closed:
        ring = ndimage.gaussian_filter1d(chain[:-1], sigma, axis=0, mode="wrap")
        return np.concatenate([ring, ring[:1]])
    # about each end the chain goes on as its own point reflection, so that the smoothed one starts where it started
    pad = int(4 * sigma) + 1
    longer = np.pad(chain, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")
    return ndimage.gaussian_filter1d(longer, sigma, axis=0, mode="nearest")[pad : pad + len(chain)]


def curvature(chain: NDArray[np.float64], closed: bool = False) -> float:
    """Mean over the arc of the absolute curvature of a chain of pixels (N, 2), in 1/px.

    From parabolas fitted to stretches of `CURVATURE_WINDOW` pixels (Savitzky and Golay 1964,
    doi:10.1021/ac60214a047), or to the whole chain if it is shorter; to a quarter of a ring at most, since no
    parabola follows more of it. NaN under 7 pixels, which tell nothing about it.
    """
    from scipy.signal import savgol_filter  # here, since it takes half a second to import

    if len(chain) < 7:
        return float("nan")
    longest = max(len(chain) // 4, 5) if closed else len(chain)
    window = min(CURVATURE_WINDOW, longest - 1 + longest % 2)
    mode = "wrap" if closed else "interp"
    points = chain[:-1] if closed else chain
    first, second = (savgol_filter(points, window, 2, deriv=d, axis=0, mode=mode) for d in (1, 2))
    speed = np.hypot(first[:, 0], first[:, 1])
    turning = np.abs(first[:, 1] * second[:, 0] - first[:, 0] * second[:, 1]) / np.maximum(speed, 1e-9) ** 2
    return float(turning.sum() / speed.sum())


def direction_moment(path: NDArray[np.float64]) -> complex:
    """Sum of length times exp(2i angle) over the steps of a path (N, 2); angles counter-clockwise as seen."""
    steps = np.diff(path, axis=0)
    axis = steps[:, 1] - 1j * steps[:, 0]
    size = np.abs(axis)
    return complex((axis[size > 0] ** 2 / size[size > 0]).sum())


def axis_of(moment: complex) -> tuple[float, float]:
    """Angle in degrees from 0 to below 180, and size, of a sum of `direction_moment`."""
    return float(np.degrees(np.angle(moment)) / 2 % 180), abs(moment)


def _length(path: NDArray) -> float:
    return float(np.hypot(*np.diff(path.astype(float), axis=0).T).sum())


def _beyond(place: NDArray, radius: float, shape: tuple[int, ...]) -> float:
    """How far the mask goes on past a free end; nothing if that end lies on the image's border."""
    room = min(place[0], place[1], shape[0] - 1 - place[0], shape[1] - 1 - place[1])
    return min(float(radius) - 0.25, float(room) + 0.5)


def _chains(skeleton: NDArray[np.bool_]) -> tuple[list[NDArray[np.intp]], list[tuple[int, int]]]:
    """Chains of pixels (N, 2) of a skeleton's graph, and the degrees of their two ends."""
    import skan  # compiles for some seconds when first used, so not before it is

    pieces, _ = ndimage.label(skeleton, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    if sizes.max() < 2:
        return [], []
    graph = skan.Skeleton((sizes > 1)[pieces], keep_images=False)  # it comments on single pixels, or fails on them
    paths = [graph.path(i) for i in range(graph.n_paths)]
    chains = [np.rint(graph.coordinates[path]).astype(np.intp) for path in paths]
    ends = [(int(graph.degrees[path[0]]), int(graph.degrees[path[-1]])) for path in paths]
    return chains, ends


def _without_spurs(
    skeleton: NDArray[np.bool_], depth: NDArray[np.float64], spur: float
) -> tuple[NDArray[np.bool_], bool]:
    """The skeleton without the side branches that hardly leave the inscribed circle of the branch point."""
    kept = skeleton.copy()
    for chain, degrees in zip(*_chains(skeleton), strict=True):
        if sorted(degrees)[0] != 1 or max(degrees) < 3:
            continue
        if degrees[0] == 1:
            chain = chain[::-1]
        if _length(chain) + depth[tuple(chain[-1])] < depth[tuple(chain[0])] + spur:
            kept[tuple(chain[1:].T)] = False
    return skeletonize(kept, method="lee") > 0, bool((kept != skeleton).any())


def _nearest(owner: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Label each pixel of the mask with the number, from 1, of the segment nearest to it."""
    if (owner < 0).all():
        return np.zeros(mask.shape, np.int32)
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    _, (rows, columns) = ndimage.distance_transform_edt(owner < 0, return_indices=True)
    return np.where(mask & (pieces == pieces[rows, columns]), owner[rows, columns] + 1, 0).astype(np.int32)


class _Groups:
    """Branch points that are one: union and find."""

    def __init__(self) -> None:
        self.parent: dict[tuple[int, ...], tuple[int, ...]] = {}

    def find(self, place: tuple[int, ...]) -> tuple[int, ...]:
        self.parent.setdefault(place, place)
        while self.parent[place] != place:
            place = self.parent[place]
        return place

    def join(self, a: tuple[int, ...], b: tuple[int, ...]) -> None:
        self.parent[self.find(a)] = self.find(b)

    def count(self) -> int:
        return sum(place == parent for place, parent in self.parent.items())

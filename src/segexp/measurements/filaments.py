"""Filaments: the mask's centrelines as a graph of segments between ends and branch points, and their measurements.

The skeleton is scikit-image's, by the method of Lee, Kashyap and Chu (1994, doi:10.1006/cgip.1994.1042); the graph is
skan's (Nunez-Iglesias et al. 2018, doi:10.7717/peerj.4312). Chains of pixels are staircases, up to 8 % longer than the
line that they represent and bent at every step. They are therefore smoothed before length, direction and curvature are
measured.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

from segexp.measurements.background import local_background
from segexp.measurements.table import Row

SMOOTHING = 2.5
"""Standard deviation in px of the Gaussian that smooths a chain of pixels for its length and direction."""
CURVATURE_WINDOW = 31
"""Number of pixels to which a parabola is fitted for the curvature, which the staircase disturbs far more."""


@dataclass
class Segment:
    """A stretch of centreline.

    Attributes:
        path: (N, 2), smoothed, y and x in px.
        length: in px; at a free end, the length includes the stretch up to the end of the mask.
        curvature: mean absolute curvature, 1/px.
        free_ends: number of free ends: 0, 1 or 2.
    """

    path: NDArray[np.float64]
    length: float
    curvature: float
    free_ends: int


@dataclass
class Network:
    """All centrelines of a mask.

    Attributes:
        segments: the segments of the skeleton's graph.
        labels: int32 (H, W), k + 1 on the mask's pixels nearest to segment k; 0 on specks without a segment.
        branch_points: number of points where three or more segments meet; a crossing counts once.
        ends: number of free ends.
    """

    segments: list[Segment]
    labels: NDArray[np.int32]
    branch_points: int
    ends: int


def trace(mask: NDArray, spur: float = 3.0) -> Network:
    """Skeletonise a mask (H, W) and cut it into segments.

    Side branches that stick out of their filament by less than `spur` px are removed. Two branch points are merged if
    they are closer than 1.5 times the sum of the radii of their inscribed circles, because the skeleton of an X has two
    Y-shaped branch points.
    """
    mask = np.asarray(mask, bool)
    depth = ndimage.distance_transform_edt(mask)
    skeleton = skeletonize(mask, method="lee") > 0
    for _ in range(2):  # removing a side branch can expose another
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
        for end, degree in zip((first, last), degrees, strict=True):
            if degree > 2:
                joined.find(tuple(end))
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
    """Return the segment of a chain of pixels (N, 2) with the half widths at its ends, in an image of `shape`."""
    closed = tuple(chain[0]) == tuple(chain[-1])
    sigma = min(SMOOTHING, 0.04 * len(chain)) if closed else SMOOTHING  # more would shrink a small ring to a point
    path = smooth(chain.astype(float), sigma, closed)
    # skeletonising shortens a free end by about its half width, and may bend it into a corner of the mask
    ends = zip((chain[0], chain[-1]), radii, free, strict=True)
    beyond = sum(_beyond(point, radius, shape) for point, radius, loose in ends if loose)
    skip = [int(np.ceil(radius)) if loose else 0 for radius, loose in zip(radii, free, strict=True)]
    inner = chain[skip[0] : len(chain) - skip[1]]
    bend = curvature(inner.astype(float), closed)
    return Segment(path, _length(path) + beyond, bend, sum(free))


def measure_filaments(network: Network, image: NDArray, gap: float = 2, ring: float = 4) -> list[Row]:
    """Return one row for each segment, in px.

    ``width_px`` is the area of the mask's pixels nearest to the segment, divided by its length. ``curvature_per_px`` is
    the mean absolute `curvature`. ``orientation_deg`` is the mean axis in [0, 180): 0 is horizontal, 90 vertical,
    counter-clockwise as seen. Intensities are those of `image` (H, W) on the segment's pixels of the mask, minus the
    local background.
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
    """Return the image's row: total length, density, branching and alignment.

    ``order`` is the nematic order parameter, the magnitude of the length-weighted mean of exp(2i angle) over all
    centrelines: 1 if all are parallel, 0 if every direction is as frequent as the one perpendicular to it.
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
    """Smooth a chain of pixels (N, 2) to remove its staircase; open ends keep their positions."""
    if len(chain) < 3:
        return chain
    if closed:
        ring = ndimage.gaussian_filter1d(chain[:-1], sigma, axis=0, mode="wrap")
        return np.concatenate([ring, ring[:1]])
    # the chain is extended at each end by its point reflection, so that the smoothed chain keeps its ends
    pad = int(4 * sigma) + 1
    longer = np.pad(chain, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")
    return ndimage.gaussian_filter1d(longer, sigma, axis=0, mode="nearest")[pad : pad + len(chain)]


def curvature(chain: NDArray[np.float64], closed: bool = False) -> float:
    """Return the mean over the arc of the absolute curvature of a chain of pixels (N, 2), in 1/px.

    Parabolas are fitted to stretches of `CURVATURE_WINDOW` pixels (Savitzky and Golay 1964, doi:10.1021/ac60214a047),
    or to the whole chain if it is shorter; on a ring, to at most a quarter of it, because a parabola does not fit more.
    The result is NaN for fewer than 7 pixels, which are too few to measure it.
    """
    from scipy.signal import savgol_filter  # imported here because the import takes half a second

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
    """Return the sum of length * exp(2i angle) over the steps of a path (N, 2); angles counter-clockwise as seen."""
    steps = np.diff(path, axis=0)
    axis = steps[:, 1] - 1j * steps[:, 0]
    size = np.abs(axis)
    return complex((axis[size > 0] ** 2 / size[size > 0]).sum())


def axis_of(moment: complex) -> tuple[float, float]:
    """Return the angle in degrees, in [0, 180), and the magnitude of a sum of `direction_moment`."""
    return float(np.degrees(np.angle(moment)) / 2 % 180), abs(moment)


def _length(path: NDArray) -> float:
    return float(np.hypot(*np.diff(path.astype(float), axis=0).T).sum())


def _beyond(point: NDArray, radius: float, shape: tuple[int, ...]) -> float:
    """Return the distance from a free end to the end of the mask, px, at most to the image's border."""
    room = min(point[0], point[1], shape[0] - 1 - point[0], shape[1] - 1 - point[1])
    return min(float(radius) - 0.25, float(room) + 0.5)


def _chains(skeleton: NDArray[np.bool_]) -> tuple[list[NDArray[np.intp]], list[tuple[int, int]]]:
    """Return the chains of pixels (N, 2) of a skeleton's graph, and the degrees of their two ends."""
    import skan  # imported here because it compiles for some seconds when first used

    pieces, _ = ndimage.label(skeleton, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    if sizes.max() < 2:
        return [], []
    graph = skan.Skeleton((sizes > 1)[pieces], keep_images=False)  # skan warns about single pixels, or fails on them
    paths = [graph.path(i) for i in range(graph.n_paths)]
    chains = [np.rint(graph.coordinates[path]).astype(np.intp) for path in paths]
    ends = [(int(graph.degrees[path[0]]), int(graph.degrees[path[-1]])) for path in paths]
    return chains, ends


def _without_spurs(
    skeleton: NDArray[np.bool_], depth: NDArray[np.float64], spur: float
) -> tuple[NDArray[np.bool_], bool]:
    """Remove the side branches that hardly leave the inscribed circle of their branch point.

    Returns the skeleton, and whether it changed.
    """
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
    """Union-find over branch points that count as one."""

    def __init__(self) -> None:
        self.parent: dict[tuple[int, ...], tuple[int, ...]] = {}

    def find(self, point: tuple[int, ...]) -> tuple[int, ...]:
        self.parent.setdefault(point, point)
        while self.parent[point] != point:
            point = self.parent[point]
        return point

    def join(self, a: tuple[int, ...], b: tuple[int, ...]) -> None:
        self.parent[self.find(a)] = self.find(b)

    def count(self) -> int:
        return sum(point == parent for point, parent in self.parent.items())

"""The courses of filaments: worm-like chains, arcs along cells' outlines, branches, strands of a bundle.

A chain is a polyline with a node every `STEP` px. From node to node its direction changes by a normal random angle of
variance STEP / persistence. N chains are stored as one array (N, nodes), with a bool array of the same shape that says
which nodes exist.
"""

from dataclasses import dataclass, replace

import numpy as np

from segexp.synthesis.cells import ANGLES, Cells

STEP = 2.9  # px between nodes: the polyline of a circle of radius 10 px deviates from it by 0.11 px


@dataclass
class Starts:
    """Where N chains begin and how far they go."""

    y: np.ndarray  # px, of the node `middle`
    x: np.ndarray
    direction: np.ndarray  # radians, at that node
    nodes: np.ndarray  # int
    middle: np.ndarray  # int; 0 if the chain grows from its start in one direction only
    curl: np.ndarray  # rad/px, constant curvature
    cell: np.ndarray  # int, the cell that the chain belongs to
    confined: np.ndarray  # bool: whether the chain is cut where it leaves that cell


@dataclass
class Courses:
    """N chains as arrays (N, nodes), and the index of the start that each grew from."""

    y: np.ndarray  # float32, px
    x: np.ndarray
    keep: np.ndarray  # bool: whether the node exists; the existing nodes of a row are contiguous
    start: np.ndarray  # (N,) int

    def __len__(self) -> int:
        return len(self.start)

    def rows(self, chosen: np.ndarray) -> "Courses":
        """Return the chosen chains."""
        return Courses(self.y[chosen], self.x[chosen], self.keep[chosen], self.start[chosen])


def chains(
    rng: np.random.Generator,
    y: np.ndarray,
    x: np.ndarray,
    direction: np.ndarray,
    nodes: int,
    persistence: float,
    curl: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grow worm-like chains from first nodes: (N,) each -> y, x (N, nodes) and direction (N, nodes - 1), radians."""
    angle = rng.standard_normal((len(y), nodes - 1), dtype=np.float32)
    angle *= np.float32(np.sqrt(STEP / persistence))
    angle += (STEP * curl[:, None]).astype(np.float32)
    angle[:, 0] = direction
    np.cumsum(angle, 1, out=angle)
    ys, xs = np.empty((len(y), nodes), np.float32), np.empty((len(y), nodes), np.float32)
    for coordinate, first, component in ((ys, y, np.sin), (xs, x, np.cos)):
        coordinate[:, 0] = first
        np.multiply(component(angle), np.float32(STEP), out=coordinate[:, 1:])
        np.cumsum(coordinate, 1, out=coordinate)
    return ys, xs, angle


def grown(rng: np.random.Generator, starts: Starts, persistence: float) -> Courses:
    """Grow a chain from each start; the node `middle` has the position and the direction of the start."""
    count = len(starts.y)
    most = int(starts.nodes.max(initial=2))
    ys, xs, angle = chains(rng, np.zeros(count), np.zeros(count), starts.direction, most, persistence, starts.curl)
    row = np.arange(count)
    ys -= ys[row, starts.middle][:, None]
    xs -= xs[row, starts.middle][:, None]
    turned = (starts.direction - angle[row, np.minimum(starts.middle, most - 2)])[:, None]
    cos, sin = np.cos(turned).astype(np.float32), np.sin(turned).astype(np.float32)
    y = starts.y[:, None].astype(np.float32) + cos * ys + sin * xs
    x = starts.x[:, None].astype(np.float32) - sin * ys + cos * xs
    return Courses(y, x, np.arange(most) < starts.nodes[:, None], row)


def run_around(inside: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Keep, in each row of a bool array (N, nodes), only the run of True that contains the row's `middle`."""
    column = np.arange(inside.shape[1])
    forward = np.logical_and.accumulate(inside | (column < middle[:, None]), 1)
    backward = np.logical_and.accumulate((inside | (column > middle[:, None]))[:, ::-1], 1)[:, ::-1]
    return forward & backward


def cut_at_outlines(courses: Courses, starts: Starts, cells: Cells) -> Courses:
    """Cut each confined chain to the unbroken part around its middle that lies inside its cell."""
    keep = courses.keep
    if len(cells):
        owner = np.broadcast_to(starts.cell[courses.start][:, None], courses.y.shape)
        keep = keep & ((cells.level(courses.y, courses.x, owner) > 0) | ~starts.confined[courses.start][:, None])
    return replace(courses, keep=run_around(keep, starts.middle[courses.start]))


def laid_along_outlines(
    rng: np.random.Generator, courses: Courses, chosen: np.ndarray, owner: np.ndarray, cells: Cells
) -> None:
    """Move the chosen chains (bool) to the outlines of their cells, in place: the cortex.

    They lie inside the outline, by up to 8 % of the radius.
    """
    depth = 1.0 - 0.08 * rng.random(len(courses)) ** 2
    begin = rng.random(len(courses))
    theta = (np.arange(ANGLES + 1) + 0.5) / ANGLES * 2 * np.pi - np.pi
    along = STEP * np.arange(courses.y.shape[1])
    for c in np.unique(owner[chosen]):
        row = np.flatnonzero(chosen & (owner == c))
        radius = np.append(cells.outline[c], cells.outline[c, 0])
        dy, dx = radius * np.sin(theta), radius * np.cos(theta)
        walked = np.append(0.0, np.hypot(np.diff(dy), np.diff(dx)).cumsum())
        position = (begin[row, None] * walked[-1] + along / depth[row, None]) % walked[-1]
        courses.y[row] = cells.y[c] + depth[row, None] * np.interp(position, walked, dy)
        courses.x[row] = cells.x[c] + depth[row, None] * np.interp(position, walked, dx)


def branched(
    rng: np.random.Generator, courses: Courses, starts: Starts, cells: Cells, each: float, persistence: float
) -> Courses:
    """Add daughter filaments that branch off the chains at 70 degrees, on average `each` of them per 100 px of mother.

    The angle is that of Arp2/3 branches (Mullins et al., PNAS 1998), +- 7 degrees. A daughter is 0.15 to 0.6 times as
    long as its mother.
    """
    kept = courses.keep.sum(1)
    mother = np.repeat(np.arange(len(courses)), rng.poisson(each * kept * STEP / 100.0))
    first = courses.keep.argmax(1)[mother]
    node = first + (rng.random(len(mother)) * (kept[mother] - 1)).astype(int)
    node = np.minimum(node, courses.y.shape[1] - 2)
    dy = courses.y[mother, node + 1] - courses.y[mother, node]
    dx = courses.x[mother, node + 1] - courses.x[mother, node]
    side = rng.choice([-1.0, 1.0], len(mother))
    direction = np.arctan2(dy, dx) + side * np.radians(70.0 + 7.0 * rng.standard_normal(len(mother)))
    nodes = np.maximum(5, (kept[mother] * rng.uniform(0.15, 0.6, len(mother))).astype(int))
    origin = courses.start[mother]
    daughters = Starts(
        courses.y[mother, node], courses.x[mother, node], direction, nodes, np.zeros(len(mother), int),
        starts.curl[origin], starts.cell[origin], starts.confined[origin],
    )  # fmt: skip
    grew = cut_at_outlines(grown(rng, daughters, persistence), daughters, cells)
    most = max(courses.y.shape[1], grew.y.shape[1])

    def padded(array: np.ndarray) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, most - array.shape[1])))

    y, x, keep = (np.concatenate([padded(getattr(c, name)) for c in (courses, grew)]) for name in ("y", "x", "keep"))
    return Courses(y, x, keep, np.concatenate([courses.start, origin]))


def slow(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return smooth random curves along the second axis, roughly standard normal, that change over about 30 px."""
    knots = rng.standard_normal((shape[0], shape[1] // 10 + 2), dtype=np.float32)
    position = np.arange(shape[1], dtype=np.float32) / 10
    left = position.astype(int)
    share = position - left
    mixed = knots[:, left] * (1 - share) + knots[:, left + 1] * share
    return mixed / np.sqrt((1 - share) ** 2 + share**2)


def bundled(
    rng: np.random.Generator, courses: Courses, strands: np.ndarray, spread: float, frayed: np.ndarray
) -> Courses:
    """Replace chain n by a bundle of `strands[n]` chains that run beside its course, each deviating a little.

    `spread` is the standard deviation of the strands' positions across the bundle, px. A strand may end before the
    bundle does, by up to 35 % of the length: at both ends where `frayed` is true, otherwise only at the far end.
    """
    copy = np.repeat(np.arange(len(courses)), strands)
    many = strands[copy] > 1
    taken = courses.rows(copy)
    if not many.any():
        return taken
    dy, dx = (np.gradient(along, STEP, axis=1)[copy] for along in (courses.y, courses.x))
    phase = rng.uniform(0.0, np.pi, (len(copy), 1)) + np.arange(courses.y.shape[1]) * STEP / 80.0
    aside = spread * rng.standard_normal((len(copy), 1)) * np.cos(phase)
    aside = ((aside + 0.7 * slow(rng, taken.keep.shape)) * many[:, None]).astype(np.float32)
    position = (np.cumsum(taken.keep, 1) - 1) / np.maximum(taken.keep.sum(1) - 1, 1)[:, None]  # 0 first node, 1 last
    ends = np.where(many[:, None], rng.uniform(0.0, 0.35, (len(copy), 2)), 0.0)
    keep = taken.keep & ((position >= ends[:, :1]) | ~frayed[copy][:, None]) & (position <= 1.0 - ends[:, 1:])
    return replace(taken, y=taken.y + aside * dx, x=taken.x - aside * dy, keep=keep)


def within(courses: Courses, size: tuple[int, int], margin: float = 6.0) -> tuple[Courses, np.ndarray]:
    """Cut each chain to its first run of nodes within the image and `margin` px around it.

    Returns the chains that have at least 3 nodes left, and a bool array (N,) that says which those are.
    """
    y, x = courses.y, courses.x
    inside = (y > -margin) & (y < size[0] + margin) & (x > -margin) & (x < size[1] + margin)
    keep = courses.keep & inside
    keep = run_around(keep, np.where(keep.any(1), keep.argmax(1), 0))
    alive = keep.sum(1) >= 3
    columns = np.flatnonzero(keep[alive].any(0))
    last = int(columns[-1]) + 1 if len(columns) else 2
    return Courses(y[alive, :last], x[alive, :last], keep[alive, :last], courses.start[alive]), alive

"""How far each measurement is off on shapes and generated images whose truth is known.

`python -m pytest tests/measurements/test_accuracy.py -s` prints the largest error of each; the bounds asserted here are
those that docs/prediction.md states.
"""

import numpy as np
import pytest
from scipy.special import ellipe

from segexp import synthesis
from segexp.measurements import Settings, measure
from segexp.measurements.vesicles import split_touching
from tests.measurements.shapes import ellipse, line, ring

FILAMENTS = Settings(kind="filaments")
SHAPE = (161, 161)
CENTRES = np.random.default_rng(0).uniform(79, 81, (12, 2))


def report(what, largest, bound):
    print(f"\n{what:<58} largest error {largest:.3g} (stated: {bound})")
    assert largest <= bound
    assert largest > 0.2 * bound, "the bound is far wider than needed"


def relative(found, true):
    return float(np.max(np.abs(np.asarray(found) / np.asarray(true) - 1)))


def discs(radius):
    for y, x in CENTRES:
        mask = ellipse(SHAPE, y, x, radius)
        (row,) = measure(mask, np.where(mask, 7.0, 3.0)).objects
        yield row, (y, x)


@pytest.mark.parametrize(("radius", "bound"), [(3, 0.08), (5, 0.025), (10, 0.008), (40, 0.002)])
def test_disc_diameter(radius, bound):
    report(
        f"diameter, discs of radius {radius} px (share)",
        relative([r["diameter_px"] for r, _ in discs(radius)], 2 * radius),
        bound,
    )


@pytest.mark.parametrize(("radius", "bound"), [(3, 0.12), (5, 0.06), (10, 0.03), (40, 0.01)])
def test_disc_circularity(radius, bound):
    report(f"circularity, discs of radius {radius} px", max(abs(r["circularity"] - 1) for r, _ in discs(radius)), bound)


def test_disc_position():
    errors = [np.hypot(r["y_px"] - y, r["x_px"] - x) for n in (3, 5, 10) for r, (y, x) in discs(n)]
    report("position, discs of radius 3 to 10 px (px)", max(errors), 0.3)


def test_ellipse_area_and_circularity():
    areas, circularities = [], []
    for a, b in ((20, 10), (30, 10), (25, 20)):
        perimeter = 4 * a * ellipe(1 - (b / a) ** 2)
        for angle in np.linspace(0, np.pi, 7):
            (row,) = measure(ellipse(SHAPE, 80.3, 79.8, a, b, angle), np.zeros(SHAPE)).objects
            areas.append(row["area_px2"] / (np.pi * a * b))
            circularities.append(row["circularity"] - 4 * np.pi * np.pi * a * b / perimeter**2)
    report("area, ellipses of half axes 10 to 30 px (share)", relative(areas, 1), 0.02)
    report("circularity, the same ellipses (true 0.66 to 0.99)", np.abs(circularities).max(), 0.04)


def test_brightness_above_a_sloping_background():
    """A disc 40 brighter than a slope that changes by 10 across it; noise of 5 a pixel."""
    rng = np.random.default_rng(1)
    means, sums = [], []
    for y, x in CENTRES:
        mask = ellipse(SHAPE, y, x, 6)
        slope = np.linspace(100, 235, SHAPE[1])[None].repeat(SHAPE[0], 0)
        image = slope + 40 * mask + rng.normal(0, 5, SHAPE)
        (row,) = measure(mask, image).objects
        means.append(row["mean_above_background"])
        sums.append(row["integrated_above_background"])
    report("mean above background 40, radius 6, slope, noise 5 (share)", relative(means, 40), 0.06)
    report("integrated above background, the same (share)", relative(sums, 40 * np.pi * 36), 0.08)


@pytest.mark.parametrize("distance", [12, 13, 15])
def test_touching_discs_are_told_apart(distance):
    """Two discs of radius 8 whose centres are 1.5 to 1.9 radii apart, in 12 directions."""
    found, errors = [], []
    for angle in np.linspace(0, np.pi, 12, endpoint=False):
        dy, dx = distance / 2 * np.sin(angle), distance / 2 * np.cos(angle)
        mask = ellipse(SHAPE, 80 + dy, 80 + dx, 8) | ellipse(SHAPE, 80 - dy, 80 - dx, 8)
        rows = measure(mask, np.zeros(SHAPE)).objects
        found.append(len(rows))
        errors += [abs(r["nearest_px"] - distance) for r in rows]
    assert found == [2] * 12
    print(f"\nnearest neighbour, overlapping discs {distance} px apart: largest error {max(errors):.2g} px")
    assert max(errors) < 1.2


@pytest.fixture(scope="module")
def lines():
    rows = []
    for width in (3, 5, 8):
        for degrees in (0, 10, 22.5, 30, 45, 70, 90, 135, 160):
            mask = line(SHAPE, 80.2, 79.7, 100, width, np.radians(degrees))
            result = measure(mask, np.where(mask, 10.0, 3.0), FILAMENTS)
            (row,) = result.objects
            rows.append((row, mask.sum() / 100, degrees))
    return rows


def test_line_length(lines):
    report("length, lines of 100 px, 3 to 8 wide (share)", relative([r["length_px"] for r, *_ in lines], 100), 0.03)


def test_line_width(lines):
    report("width, the same lines (px)", max(abs(r["width_px"] - w) for r, w, _ in lines), 0.2)


def test_line_orientation(lines):
    errors = [abs((r["orientation_deg"] - degrees + 90) % 180 - 90) for r, _, degrees in lines]
    report("orientation, the same lines (degrees)", max(errors), 0.5)


def test_line_curvature(lines):
    report("curvature, the same lines, true 0 (1/px)", max(r["curvature_per_px"] for r, *_ in lines), 0.0015)


def test_line_brightness(lines):
    assert all(r["mean_above_background"] == pytest.approx(7) for r, *_ in lines)


def test_circle():
    """Closed filaments have no ends."""
    found = {radius: measure(ring(SHAPE, 80, 80, radius, 4), np.zeros(SHAPE), FILAMENTS) for radius in (20, 40, 70)}
    for result in found.values():
        assert (result.summary["segments"], result.summary["free_ends"], result.summary["branch_points"]) == (1, 0, 0)
    lengths = {n: result.summary["length_px"] / (2 * np.pi * n) for n, result in found.items()}
    curvatures = {n: result.objects[0]["curvature_per_px"] * n for n, result in found.items()}
    report("length, circles of radius 20 to 70 px (share)", relative(list(lengths.values()), 1), 0.02)
    report("curvature, the same circles (share)", relative(list(curvatures.values()), 1), 0.12)
    report("order, the same circles, true 0", max(r.summary["order"] for r in found.values()), 0.002)


def test_arcs():
    lengths, curvatures = [], []
    for radius in (30, 50, 80, 120):
        mask = ring((161, 161), 0, 0, radius, 4)
        mask[:10] = mask[:, :10] = False  # cut inside the image: the ends are free
        angle = np.pi / 2 - 2 * np.arcsin(10 / radius)
        (row,) = measure(mask, np.zeros(mask.shape), FILAMENTS).objects
        lengths.append(row["length_px"] / (angle * radius))
        curvatures.append(row["curvature_per_px"] * radius)
    report("length, open arcs of radius 30 to 120 px (share)", relative(lengths, 1), 0.03)
    report("curvature, the same arcs (share)", relative(curvatures, 1), 0.2)


def test_grid_of_crossings():
    """Five lines across five, 4 px wide: 25 crossings, 20 free ends, order 0."""
    shape = (241, 241)
    mask = np.zeros(shape, bool)
    for at in range(40, 240, 40):
        mask |= line(shape, at, 120, 220, 4, 0) | line(shape, 120, at, 220, 4, np.pi / 2)
    summary = measure(mask, np.zeros(shape), FILAMENTS).summary
    assert (summary["branch_points"], summary["free_ends"]) == (25, 20)
    report("total length, grid of 10 lines of 220 px (share)", relative(summary["length_px"], 2200), 0.005)
    assert summary["order"] < 0.01


def test_order_of_a_mixture():
    """Two thirds along, one third across: order 2/3 - 1/3."""
    shape = (200, 200)
    mask = np.zeros(shape, bool)
    for at in (40, 60, 80, 100):
        mask |= line(shape, at, 100, 120, 4, 0)
    for at in (60, 140):
        mask |= line(shape, 160, at, 60, 4, np.pi / 2)
    summary = measure(mask, np.zeros(shape), FILAMENTS).summary
    assert summary["order"] == pytest.approx((4 * 120 - 2 * 60) / 600, abs=0.02)
    assert summary["orientation_deg"] % 180 == pytest.approx(0, abs=1)


def test_generated_vesicles():
    """Well separated ones: number, and the sizes of those found."""
    scenes = synthesis.generate_scenes(
        "vesicle", 6, 256, 0, coverage=(0.02, 0.05), radius=(5.0, 9.0), radius_spread=0.2, clustered=0.0, elongation=1.0
    )
    counts, diameters, places = [], [], []
    for scene in scenes:
        result = measure(scene.mask, scene.image)
        visible = np.flatnonzero(scene.objects.visible)
        counts.append((len(result.objects), len(np.unique(scene.labels)) - 1))
        for row in result.objects:
            gaps = np.hypot(*(scene.objects.centres[visible] - (row["y_px"], row["x_px"])).T)
            alone = np.sort(gaps)[1] > 3 * scene.objects.extent[visible].max() if len(gaps) > 1 else True
            if not row["touches_border"] and alone:
                nearest = visible[gaps.argmin()]
                diameters.append(row["diameter_px"] / (2 * scene.objects.extent[nearest]))
                places.append(gaps.min())
    found, true = np.sum(counts, axis=0)
    assert len(diameters) > 20
    print(f"\ngenerated vesicles, thinly spread: {true} true, {found} found")
    assert abs(found - true) <= 1
    report("diameter of generated vesicles standing alone (share)", relative(diameters, 1), 0.05)
    report("position of the same (px)", max(places), 0.35)


def test_generated_crowds():
    """Vesicles over one another: the number found against that of the visible ones in the truth."""
    crowd = {"style": "any", "radius": (4.0, 8.0), "coverage": (0.1, 0.2), "clustered": 0.0}
    scenes = list(synthesis.generate_scenes("vesicle", 8, 256, 3, **crowd))
    true = sum(len(np.unique(scene.labels)) - 1 for scene in scenes)
    apart = sum(split_touching(scene.mask, Settings().split).max() for scene in scenes)
    merged = sum(split_touching(scene.mask, 0).max() for scene in scenes)
    print(f"\ncrowded vesicles: {true} true, {apart} found, {merged} without splitting")
    assert abs(apart / true - 1) < 0.6 * abs(merged / true - 1)


def test_generated_filaments():
    """Single filaments that hardly cross: their length and order against the generator's chains."""
    options = {"style": "free", "filaments": (8.0, 16.0), "bundle": 1.0, "dotted": 0.0, "broken": 0.0, "blurred": 0.0}
    lengths, orders = [], []
    options["length"] = (120.0, 300.0)  # of short ones the skeleton lacks a notable share at the ends
    for scene in synthesis.generate_scenes("cytoskeleton", 6, 256, 1, photons=(500.0, 1000.0), **options):
        f = scene.objects
        steps = f.steps[f.visible[f.steps]]
        inside = (f.y[steps] >= 0) & (f.y[steps] < 256) & (f.x[steps] >= 0) & (f.x[steps] < 256)
        axis = (np.diff(f.x)[steps] - 1j * np.diff(f.y)[steps])[inside]
        summary = measure(scene.mask, scene.image, FILAMENTS).summary
        lengths.append(summary["length_px"] / np.abs(axis).sum())
        orders.append(summary["order"] - abs((axis**2 / np.abs(axis)).sum()) / np.abs(axis).sum())
    report("total length of generated filaments (share)", relative(lengths, 1), 0.1)
    report("order of generated filaments", np.abs(orders).max(), 0.05)

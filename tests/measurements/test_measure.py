"""The call that ties mask, image and settings together; empty and odd masks."""

import csv
import io

import numpy as np
import pytest

from segexp.errors import InputError
from segexp.measurements import Settings, measure, write_rows
from segexp.measurements.background import local_background
from segexp.measurements.filaments import smooth, trace
from segexp.measurements.table import with_micrometres
from segexp.measurements.vesicles import split_touching
from tests.measurements.shapes import ellipse, line

SPECKS = np.zeros((20, 30))
SPECKS[[2, 10, 17], [3, 20, 9]] = 1


@pytest.mark.parametrize("kind", ["objects", "filaments"])
@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((20, 30)),
        np.ones((20, 30)),
        np.eye(20, 30) * 255,
        np.pad(np.ones((1, 1)), 9),
        np.ones((1, 1)),
        SPECKS,
        SPECKS + np.eye(20, 30),
    ],
)
def test_any_mask_can_be_measured(kind, mask):
    result = measure(mask, np.random.default_rng(0).integers(0, 255, mask.shape), Settings(kind), 0.1)
    assert result.labels.shape == mask.shape
    assert result.labels.max() == len(result.objects)
    assert not (result.labels > 0)[mask == 0].any()
    if kind == "objects":
        assert ((result.labels > 0) == (mask > 0)).all()
    write_rows([result.summary])


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="same height and width"):
        measure(np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="more than 0"):
        measure(np.zeros((3, 4)), np.zeros((3, 4)), pixel_size=0)
    with pytest.raises(InputError, match="objects, filaments"):
        Settings("cells")


def test_labels_are_the_rows():
    mask = ellipse((60, 60), 15, 15, 6) | ellipse((60, 60), 40, 45, 9)
    result = measure(mask, np.zeros((60, 60)))
    for row in result.objects:
        rows, columns = np.nonzero(result.labels == row["object"])
        assert (rows.mean(), columns.mean(), len(rows)) == (row["y_px"], row["x_px"], row["area_px2"])


def test_micrometres_stand_beside_pixels():
    mask = ellipse((60, 60), 30, 30, 10)
    (row,) = measure(mask, np.zeros((60, 60)), pixel_size=0.5).objects
    assert row["diameter_um"] == row["diameter_px"] / 2
    assert row["area_um2"] == row["area_px2"] / 4
    summary = measure(line((60, 60), 30, 30, 40, 4, 0), np.zeros((60, 60)), Settings("filaments"), 0.5).summary
    assert summary["length_um"] == summary["length_px"] / 2
    assert summary["density_per_um"] == summary["density_per_px"] * 2
    assert with_micrometres({"density_per_px2": 3.0, "order": 1.0}, 0.5) == {
        "density_per_px2": 3.0,
        "density_per_um2": 12.0,
        "order": 1.0,
    }
    assert not [name for name in measure(mask, np.zeros((60, 60))).summary if "um" in name.split("_")]


def test_a_summary_by_hand():
    """Discs of area 5 (radius 1.2) at distances 10, 10 and 20 in a row, and one cut by the border."""
    mask = np.zeros((50, 100), bool)
    for x in (20, 30, 50):
        mask |= ellipse(mask.shape, 25, x, 1.2)
    mask[0, 80] = True
    summary = measure(mask, np.zeros(mask.shape)).summary
    assert (summary["objects"], summary["objects_measured"]) == (4, 3)
    assert summary["density_per_px2"] == 4 / 5000
    assert summary["covered_share"] == 16 / 5000
    assert summary["diameter_mean_px"] == pytest.approx(np.sqrt(20 / np.pi))
    assert summary["diameter_sd_px"] == pytest.approx(0)
    last = np.hypot(25, 30)
    assert summary["nearest_mean_px"] == pytest.approx((10 + 10 + 20 + last) / 4)
    assert summary["nearest_median_px"] == pytest.approx(15)


def test_splitting_keeps_the_mask_and_follows_its_depth():
    mask = ellipse((80, 80), 40, 30, 12) | ellipse((80, 80), 40, 50, 12)
    for depth, count in ((0, 1), (0.5, 2), (9, 1)):
        labels = split_touching(mask, depth)
        assert labels.max() == count
        np.testing.assert_array_equal(labels > 0, mask)
    assert (split_touching(mask, 0.5)[40, 30], split_touching(mask, 0.5)[40, 50]) in [(1, 2), (2, 1)]


@pytest.mark.parametrize(("neck", "count"), [(46.0, 2), (49.0, 1)])
def test_a_shallow_neck_does_not_split_large_objects(neck, count):
    """Two discs of radius 50 joined by a band; the distance falls from 50 to half the width of the band."""
    y, x = np.mgrid[:140, :260]
    mask = ((y - 70) ** 2 + (x - 70) ** 2 < 50**2) | ((y - 70) ** 2 + (x - 190) ** 2 < 50**2)
    mask |= (np.abs(y - 70) < neck) & (np.abs(x - 130) < 60)
    assert split_touching(mask, 0.5).max() == count
    assert split_touching(mask[::4, ::4], 0.5).max() == 1 + (neck < 48)


def test_every_object_keeps_a_label_where_the_depth_exceeds_its_size():
    mask = np.zeros((30, 30), bool)
    mask[5, 5] = mask[20:22, 20:22] = True
    assert split_touching(mask, 5.0).max() == 2


def test_local_background_by_hand():
    """Two squares, 10 and 20 around them, and a bright neighbour that counts for neither."""
    labels, image = np.zeros((40, 80), np.int32), np.full((40, 80), 10.0)
    image[:, 40:] = 20
    labels[18:22, 18:22], labels[18:22, 58:62] = 1, 2
    image[labels > 0] = 99
    assert local_background(labels, image, 2, 4).tolist() == [10, 20]
    image[16:24, 16:24] = np.where(labels[16:24, 16:24], 99, 50)  # a halo of 2 px lies in the gap
    assert local_background(labels, image, 2, 4).tolist() == [10, 20]
    assert local_background(labels, image, 0, 2).tolist() == [50, 20]


def test_an_object_crowded_on_all_sides_takes_the_image_s_background():
    labels = np.full((9, 9), 1, np.int32)
    labels[3:6, 3:6] = 2
    labels[:, 0] = 0
    assert local_background(labels, np.where(labels == 0, 7, 50), 0, 3).tolist() == [7, 7]
    assert np.isnan(local_background(np.ones((3, 3), np.int32), np.ones((3, 3)), 0, 3)).all()


def test_a_spur_is_dropped_and_a_branch_is_not():
    mask = line((80, 120), 40, 60, 100, 5, 0)
    spur, branch = mask.copy(), mask.copy()
    spur[35:38, 60] = True
    branch[15:38, 60:63] = True
    assert measure(spur, np.zeros(mask.shape), Settings("filaments")).summary["segments"] == 1
    summary = measure(branch, np.zeros(mask.shape), Settings("filaments")).summary
    assert (summary["segments"], summary["branch_points"], summary["free_ends"]) == (3, 1, 3)
    assert summary["length_px"] == pytest.approx(100 + 25, rel=0.03)


def test_an_end_on_the_border_is_not_lengthened():
    mask = np.zeros((50, 100), bool)
    mask[20:29] = True
    (row,) = measure(mask, np.zeros(mask.shape), Settings("filaments")).objects
    assert row["length_px"] == pytest.approx(100, abs=1)


@pytest.mark.parametrize("count", [3, 4, 5, 8, 40])
def test_smoothing_leaves_straight_chains_and_all_ends_where_they_are(count):
    straight = np.stack([np.arange(count), 2.0 * np.arange(count)], axis=1)
    np.testing.assert_allclose(smooth(straight, 2.5), straight, atol=1e-9)
    steps = np.cumsum(np.random.default_rng(count).integers(-1, 2, (count, 2)), axis=0).astype(float)
    np.testing.assert_allclose(smooth(steps, 2.5)[[0, -1]], steps[[0, -1]], atol=1e-9)


def test_settings_come_from_the_model_file():
    assert Settings.of({"task": "cytoskeleton"}).kind == "filaments"
    assert Settings.of({"task": "spots"}) == Settings()
    assert Settings.of({"task": "x", "measure": {"kind": "objects", "split": 0.0}}).split == 0


def test_csv():
    text = write_rows([{"image": 'a,"b', "n": 1}, {"image": "c", "x_px": 1 / 3}])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows == [{"image": 'a,"b', "n": "1", "x_px": ""}, {"image": "c", "n": "", "x_px": "0.333333"}]


@pytest.mark.parametrize("radius", [4, 6, 10, 25])
def test_a_closed_ring_keeps_its_length_however_small(radius):
    y, x = np.mgrid[:80, :80] - 40
    ring = np.abs(np.hypot(y, x) - radius) < 1
    (segment,) = trace(ring).segments
    assert segment.length == pytest.approx(2 * np.pi * radius, rel=0.12)
    assert segment.curvature == pytest.approx(1 / radius, rel=0.2)


@pytest.mark.parametrize("kind", ["objects", "filaments"])
def test_intensities_of_half_precision_are_averaged_in_full(kind):
    mask = np.pad(np.ones((20, 20), bool), 12)
    image = np.random.default_rng(0).uniform(2000, 4000, mask.shape).astype(np.float16)
    for pixels in (image, np.stack([image] * 3, axis=2)):
        (row,) = measure(mask, pixels, Settings(kind)).objects
        (full,) = measure(mask, pixels.astype(np.float64), Settings(kind)).objects
        assert row["mean_above_background"] == pytest.approx(full["mean_above_background"], rel=1e-9)

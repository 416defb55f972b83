"""Crops: where they lie, how many an epoch holds, and that they follow from the seed alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segexp.data.dataset import make_sample
from segexp.data.loader import CropBatches, DeviceBatches, extend, mirrored, pixel_memory
from segexp.data.sampler import CropPlan, crop_size


def coordinates(height, width, foreground=()):
    """An image whose pixels name their own place, so that a crop tells where it was cut."""
    pixels = (np.arange(height)[:, None] * 1000 + np.arange(width)).astype(np.float32)[None]
    labels = np.zeros((height, width), np.uint8)
    for point in foreground:
        labels[point] = 1
    return make_sample("a", pixels, labels, 1)


def batches(*arguments):
    return CropBatches(CropPlan(*arguments))


def test_image_and_mask_are_cut_at_the_same_place():
    sample = coordinates(64, 80)
    sample.labels[:] = (np.arange(64)[:, None] + np.arange(80)) % 2
    batch = batches([sample], 32, 8, 0.5, 0)[0, 0]
    rows, columns = batch.pixels // 1000, batch.pixels % 1000
    torch.testing.assert_close(((rows + columns) % 2).to(torch.uint8), batch.labels)
    assert batch.pixels.shape == (8, 1, 32, 32)


@given(point=st.tuples(st.integers(0, 99), st.integers(0, 119)))
def test_foreground_crops_contain_foreground(point):
    cut = batches([coordinates(100, 120, [point])], 32, 8, 1.0, 0)
    assert (cut[0, 0].labels.sum((1, 2, 3)) == 1).all()


def test_without_foreground_sampling_crops_are_uniform():
    cut = batches([coordinates(64, 64)], 32, 400, 0.0, 0)
    tops = (cut[0, 0].pixels[:, 0, 0, 0] // 1000).numpy()
    counts = np.bincount(tops.astype(int), minlength=33)
    assert counts.shape == (33,)
    assert counts.min() > 0
    assert abs(tops.mean() - 16) < 2


def test_an_epoch_holds_as_many_pixels_as_the_data():
    samples = [coordinates(512, 512), coordinates(256, 256), coordinates(32, 32)]
    plan = CropPlan(samples, 128, 3, 0.5, 0)
    assert plan.crops_per_image.tolist() == [16, 4, 1]
    assert plan.steps == 7
    for epoch in (0, 1):
        assert np.bincount(plan.order(epoch)).tolist() == [16, 4, 1]
    assert plan.order(0).tolist() != plan.order(1).tolist()


def test_small_images_are_extended_by_reflection():
    cut = extend(np.array([[1, 2], [3, 4]]), 4)
    assert cut.tolist() == [[1, 2, 2, 1], [3, 4, 4, 3], [3, 4, 4, 3], [1, 2, 2, 1]]


@given(length=st.integers(1, 9), size=st.integers(1, 40))
def test_mirrored_places_are_numpys_symmetric_padding(length, size):
    expected = np.pad(np.arange(length), (0, max(0, size - length)), mode="symmetric")[:size]
    assert mirrored(torch.arange(size), torch.tensor(length)).tolist() == expected.tolist()


def test_crop_size_shrinks_to_the_largest_image():
    assert crop_size([coordinates(100, 60), coordinates(40, 40)], 256) == 112
    assert crop_size([coordinates(300, 60)], 256) == 256


def test_mixed_dtypes_travel_in_the_smallest_common_one():
    one, two = coordinates(64, 64), coordinates(64, 64)
    one.dtype, two.dtype = np.dtype(np.uint8), np.dtype(np.uint16)
    assert CropPlan([one, two], 32, 2, 0, 0).dtype == np.uint16
    one.dtype = np.dtype(np.int32)
    assert CropPlan([one, two], 32, 2, 0, 0).dtype == np.float32


def mixed(dtype, channels):
    rng = np.random.default_rng(0)
    top = {np.uint8: 255, np.int8: 127, np.int16: 32767, np.float16: 2048}.get(dtype, 65535)
    samples = []
    for index, shape in enumerate([(20, 50), (64, 40), (33, 33), (7, 90)]):
        pixels = rng.integers(0, top, (channels, *shape)).astype(dtype)
        samples.append(make_sample(str(index), pixels, rng.integers(0, 2, shape).astype(np.uint8), 1))
    return samples


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_one_gather_on_the_device_cuts_what_windows_cut(dtype, channels):
    plan = CropPlan(mixed(dtype, channels), 32, 16, 0.5, 3)
    memory, device = CropBatches(plan), DeviceBatches(plan, torch.device("cpu"))
    for position in [(0, 0), (1, 0), (5, 0)]:
        for cut, gathered in zip(memory[position], device[position], strict=True):
            assert cut.dtype == gathered.dtype
            assert np.array_equal(cut.numpy(), gathered.numpy())


def test_memory_on_the_device_is_counted():
    pixels = 20 * 50 + 64 * 40 + 33 * 33 + 7 * 90
    assert pixel_memory(mixed(np.uint16, 3)) == pixels * 7
    for dtype in (np.int8, np.int16, np.float16, np.float64):  # travel as float32
        assert pixel_memory(mixed(dtype, 3)) == pixels * 13
        plan = CropPlan(mixed(dtype, 3), 32, 16, 0.5, 3)
        assert pixel_memory(plan.samples) == sum(np.prod(s.shape) * plan.dtype.itemsize for s in plan.samples) + pixels


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_every_batch_and_lose_and_double_nothing(world):
    samples = mixed(np.uint8, 1)
    whole = CropPlan(samples, 16, 6, 0.5, 1)
    parts = [CropPlan(samples, 16, 6, 0.5, 1, rank, world) for rank in range(world)]
    for position in [(0, 0), (0, 1), (3, 0)]:
        crops = whole.draw(position)
        for rank, part in enumerate(parts):
            assert part.draw(position).images.tolist() == crops.images[rank::world].tolist()
            assert part.draw(position).corners.tolist() == crops.corners[rank::world].tolist()


def test_names_of_a_batch():
    plan = CropPlan(mixed(np.uint8, 1), 16, 6, 0.5, 1)
    assert plan.names((0, 0)) == list(dict.fromkeys(str(image) for image in plan.draw((0, 0)).images))


def test_smaller_crops_of_a_plan_lie_where_its_foreground_does_and_keep_its_steps():
    sample = coordinates(100, 120, [(50, 60)])
    plan = CropPlan([sample], 64, 8, 1.0, 0)
    small = CropBatches(plan).of_size(32)
    assert (small.plan.steps, small.plan.size, plan.size) == (plan.steps, 32, 64)
    assert small[0, 0].pixels.shape == (8, 1, 32, 32)
    assert (small[0, 0].labels.sum((1, 2, 3)) == 1).all()
    assert CropBatches(plan).of_size(None)[0, 0].pixels.shape == (8, 1, 64, 64)
    device = DeviceBatches(plan, torch.device("cpu"))
    torch.testing.assert_close(device.of_size(32)[0, 0], small[0, 0])
    assert device[0, 0].pixels.shape == (8, 1, 64, 64)

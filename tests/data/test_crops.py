"""Crops: where they lie, how many an epoch holds, and that they follow from the seed alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segexp.data.crops import CropBatches, batch_loader, crop_size, window
from segexp.data.pairs import make_sample, read_folder
from tests.data.test_pairs import dataset


def coordinates(height, width, foreground=()):
    """An image whose pixels name their own place, so that a crop tells where it was cut."""
    pixels = (np.arange(height)[:, None] * 1000 + np.arange(width)).astype(np.float32)[None]
    labels = np.zeros((height, width), np.uint8)
    for point in foreground:
        labels[point] = 1
    return make_sample("a", pixels, labels, 1)


def test_image_and_mask_are_cut_at_the_same_place():
    sample = coordinates(64, 80)
    sample.labels[:] = (np.arange(64)[:, None] + np.arange(80)) % 2
    batch = CropBatches([sample], 32, 8, 0.5, 0)[0, 0]
    rows, columns = batch.pixels // 1000, batch.pixels % 1000
    torch.testing.assert_close(((rows + columns) % 2).to(torch.uint8), batch.labels)
    assert batch.pixels.shape == (8, 1, 32, 32)


@given(point=st.tuples(st.integers(0, 99), st.integers(0, 119)))
def test_foreground_crops_contain_foreground(point):
    batches = CropBatches([coordinates(100, 120, [point])], 32, 8, 1.0, 0)
    assert (batches[0, 0].labels.sum((1, 2, 3)) == 1).all()


def test_without_foreground_sampling_crops_are_uniform():
    batches = CropBatches([coordinates(64, 64)], 32, 400, 0.0, 0)
    tops = (batches[0, 0].pixels[:, 0, 0, 0] // 1000).numpy()
    counts = np.bincount(tops.astype(int), minlength=33)
    assert counts.shape == (33,)
    assert counts.min() > 0
    assert abs(tops.mean() - 16) < 2


def test_an_epoch_holds_as_many_pixels_as_the_data():
    samples = [coordinates(512, 512), coordinates(256, 256), coordinates(32, 32)]
    batches = CropBatches(samples, 128, 3, 0.5, 0)
    assert batches.crops_per_image.tolist() == [16, 4, 1]
    assert batches.steps == 7
    for epoch in (0, 1):
        assert np.bincount(batches.order(epoch)).tolist() == [16, 4, 1]
    assert batches.order(0).tolist() != batches.order(1).tolist()


def test_small_images_are_extended_by_reflection():
    cut = window(np.array([[1, 2], [3, 4]]), 0, 0, 4)
    assert cut.tolist() == [[1, 2, 2, 1], [3, 4, 4, 3], [3, 4, 4, 3], [1, 2, 2, 1]]


def test_crop_size_shrinks_to_the_largest_image():
    assert crop_size([coordinates(100, 60), coordinates(40, 40)], 256) == 112
    assert crop_size([coordinates(300, 60)], 256) == 256


def test_mixed_dtypes_travel_in_the_smallest_common_one():
    one, two = coordinates(64, 64), coordinates(64, 64)
    one.dtype, two.dtype = np.dtype(np.uint8), np.dtype(np.uint16)
    assert CropBatches([one, two], 32, 2, 0, 0).dtype == np.uint16
    one.dtype = np.dtype(np.int32)
    assert CropBatches([one, two], 32, 2, 0, 0).dtype == np.float32


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_follow_from_the_seed_whatever_the_workers(tmp_path, workers):
    img, mask = dataset(tmp_path, 4, (40, 50))
    memory = CropBatches(read_folder(img, mask), 16, 4, 0.5, 7)
    disk = CropBatches(read_folder(img, mask, keep=False), 16, 4, 0.5, 7)
    loader = iter(batch_loader(disk, workers, first_epoch=1))
    for position in [(1, step) for step in range(memory.steps)] + [(2, 0)]:
        batch = next(loader)
        assert batch.pixels.dtype == torch.uint16
        for read, drawn in zip(batch, memory[position], strict=True):
            assert torch.equal(read.to(torch.float32), drawn.to(torch.float32))
    assert not torch.equal(memory[1, 0].pixels.to(torch.int32), memory[2, 0].pixels.to(torch.int32))

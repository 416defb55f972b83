"""Generated images among the crops: which image when, and the same ones whatever draws them."""

import pickle
from collections import Counter
from concurrent.futures import Future
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segexp import synthesis
from segexp.data.dataset import make_sample, read_folder
from segexp.data.loader import CropBatches, DeviceBatches, open_feed, plan_samples
from segexp.data.sampler import AHEAD, CropPlan
from segexp.data.synthetic import ROWS, Mix, Pool, Recipe, Stream
from tests.data.test_dataset import dataset

CPU = torch.device("cpu")
RECIPE = Recipe("vesicle", 48, 3, ranges={"style": "field"})


def real(count=3, dtype=np.uint8, size=64):
    """Images whose every pixel is 200 + their number, so that a crop tells where it was cut."""
    labels = np.zeros((size, size), np.uint8)
    labels[10:20, 10:20] = 1
    return [make_sample(f"r{i}", np.full((1, size, size), 200 + i, dtype), labels, 1) for i in range(count)]


@given(crops=st.integers(1, 9))
@settings(max_examples=20)
def test_each_fresh_image_gives_its_crops_and_is_never_seen_again(crops):
    stream = Stream(RECIPE, crops=crops)
    numbers = [stream.number(crop) for crop in range(40 * ROWS * ROWS * crops)]
    start = ROWS * ROWS * crops  # by then every row has begun
    seen = Counter(numbers)
    whole = set(numbers[start:-start]) - set(numbers[:start]) - set(numbers[-start:])
    assert {seen[number] for number in whole} == {crops}
    assert max(seen.values()) == crops
    last = {number: place for place, number in enumerate(numbers)}
    first = {number: numbers.index(number) for number in islice(whole, 20)}
    assert all(last[number] - place == (crops - 1) * ROWS * ROWS for number, place in first.items())


@pytest.mark.parametrize("crops", [1, 4])
def test_new_images_are_needed_at_an_even_rate(crops):
    stream, seen, new = Stream(RECIPE, crops=crops), set(), []
    for crop in range(64 * ROWS * crops):
        number = stream.number(crop)
        new.append(number not in seen)
        seen.add(number)
    rate = np.reshape(new[ROWS * ROWS * crops :], (-1, ROWS * crops)).sum(1)
    assert set(rate.tolist()) == {ROWS}


def test_images_are_those_of_the_generator_whatever_the_order_the_threads_and_the_process():
    images, masks = synthesis.generate("vesicle", 3, 48, 3, first=7, style="field")
    stream, copy = Stream(RECIPE, first=7), pickle.loads(pickle.dumps(Stream(RECIPE, first=7)))
    stream.ask([2, 0])
    for one in (stream, copy):
        for number in (1, 2, 0):
            sample = one[number]
            np.testing.assert_array_equal(sample.pixels[0], images[number])
            np.testing.assert_array_equal(sample.labels, masks[number])
            assert sample.scale[0] == pytest.approx(images[number].std(), rel=1e-5)
            assert sample.name == f"generated_{number + 7:05}"


def test_a_stream_forgets_what_it_needs_no_more():
    stream = Stream(RECIPE)
    before = stream[0]
    for number in range(1, 2 * (ROWS**2 + 1) + 1):
        stream._drawn[number] = stream._drawn[0]
    stream.ask([500])
    assert 0 not in stream._drawn
    np.testing.assert_array_equal(stream[0].pixels, before.pixels)
    assert stream[0] is not before


def test_a_pool_takes_every_image_once_a_pass_in_changing_order():
    pool = Pool(real(5), 0)
    passes = [[pool.number(crop) for crop in range(first, first + 5)] for first in (0, 5, 10)]
    assert all(sorted(one) == list(range(5)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert passes[0] == [pool.number(crop) for crop in range(5)]


def pooled(share, count=4):
    return Mix(share, Pool(RECIPE.samples(range(count)), 0))


@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.5, 0.75])
def test_the_share_is_generated_and_an_epoch_still_goes_over_the_annotated_images(share):
    samples = real(10, size=128)
    plan = CropPlan(samples, 32, 4, 0.5, 0, mix=pooled(share))
    assert plan.steps == round(160 / (1 - share) / 4)
    epoch = np.concatenate([plan.images((1, step)) for step in range(plan.steps)])
    assert abs((epoch >= 10).mean() - share) <= 1 / len(epoch)
    counts = np.bincount(epoch[epoch < 10], minlength=10)
    assert counts.min() >= 15
    assert counts.max() <= 17
    longest = max(len(run) for run in "".join("g" if image >= 10 else " " for image in epoch).split())
    assert longest <= max(1, np.ceil(share / (1 - share)))


def test_without_a_mix_nothing_changes():
    samples = real(3)
    plain, mixed = CropPlan(samples, 32, 4, 0.5, 0), CropPlan(samples, 32, 4, 0.5, 0, mix=pooled(0.5))
    images = np.repeat(np.arange(3), plain.crops_per_image)
    expected = np.random.default_rng((0, 0)).permutation(images)[:8].tolist()  # the seed and the epoch
    np.testing.assert_array_equal(np.concatenate([plain.images((0, step)) for step in range(2)]), expected)
    first = mixed.images((0, 0)).tolist() + mixed.images((0, 1)).tolist()
    assert [image for image in first if image < 3] == expected[:4]


def test_every_crop_keeps_its_own_grey_values_and_statistics():
    mix = pooled(0.5)
    batch = CropBatches(CropPlan(real(), 32, 8, 0.0, 0, mix=mix))[0, 0]
    assert batch.pixels.dtype == torch.uint16
    ours = batch.pixels.to(torch.int32).flatten(1)
    own = ours.amin(1) == ours.amax(1)
    assert own.sum() == 4
    torch.testing.assert_close(batch.offset[own, 0], ours[own, 0].float())
    assert (batch.scale[own] == 1).all()
    scales = {float(sample.scale[0]) for sample in mix.images.samples}
    assert {float(scale) for scale in batch.scale[~own, 0]} <= scales


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_a_stream_of_batches_can_be_entered_anywhere(share):
    def feed(position):
        mix = Mix(share, Stream(RECIPE, crops=2), epoch_crops=10)
        return open_feed(CropBatches(CropPlan(real(), 32, 4, 0.5, 0, mix=mix)), position, CPU)

    plan = CropPlan(real(), 32, 4, 0.5, 0, mix=Mix(share, Stream(RECIPE), 10))
    whole = [batch.pixels.to(torch.int32) for batch in islice(feed((0, 0)), 9)]
    for start in (1, 4, 7):
        later = next(feed(divmod(start, plan.steps))).pixels.to(torch.int32)
        assert torch.equal(later, whole[start])
    flat = [tuple(crop.flatten().tolist()) for batch in whole for crop in batch if crop.amin() != crop.amax()]
    assert len(flat) == pytest.approx(36 * share, abs=1)
    assert len(set(flat)) == len(flat)


@pytest.mark.parametrize(("workers", "method"), [(1, "spawn"), (2, "fork")])
def test_reading_processes_draw_the_same_images(tmp_path, workers, method):
    img, mask = dataset(tmp_path, 4, (40, 50))
    plans = [
        CropPlan(read_folder(img, mask, keep=keep), 16, 4, 0.5, 7, mix=Mix(0.5, Stream(RECIPE, crops=2)))
        for keep in (True, False)
    ]
    feed = open_feed(CropBatches(plans[1]), (0, 0), CPU, workers, method)
    for step in range(3):
        for read, drawn in zip(next(feed), CropBatches(plans[0])[0, step], strict=True):
            assert torch.equal(read.to(torch.float32), drawn.to(torch.float32))


def test_the_device_holds_a_mixed_pool_too():
    plan = CropPlan(real(), 32, 4, 0.5, 0, mix=pooled(0.5))
    assert len(plan_samples(plan)) == 7
    for step in range(plan.steps):
        for one, other in zip(DeviceBatches(plan, CPU)[0, step], CropBatches(plan)[0, step], strict=True):
            assert torch.equal(one.to(torch.float32), other.to(torch.float32))


def test_processes_share_a_batch():
    def images(rank, world):
        return CropPlan(real(), 32, 4, 0.5, 0, rank, world, mix=pooled(0.5)).images((0, 1)).tolist()

    whole = images(0, 1)
    assert [images(0, 2), images(1, 2)] == [whole[0::2], whole[1::2]]


def test_the_next_batches_are_drawn_ahead(monkeypatch):
    plan = CropPlan(real(), 32, 4, 0.5, 0, mix=Mix(1.0, Stream(RECIPE), 1000))
    CropBatches(plan)[0, 0]
    wanted = {int(image) - 3 for step in range(AHEAD + 1) for image in plan.images((0, step))}
    assert set(plan.mix.images._drawn) == wanted
    plan.mix.images.wait()
    monkeypatch.setattr(synthesis, "render", None)
    for step in range(AHEAD + 1):
        plan.draw((0, step))


def test_a_process_that_was_forked_does_not_wait_for_images_that_were_being_drawn():
    stream = Stream(RECIPE)
    stream._drawn[3] = Future(), 0  # being drawn, in the process before the fork
    stream._process = -1
    assert stream[3].name == Stream(RECIPE)[3].name

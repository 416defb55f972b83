"""The loop on a tiny problem: it learns, ends where it should and resumes exactly."""

import itertools
import time

import numpy as np
import pytest
import torch

from segexp.augment import Augmentation, RandomFlip
from segexp.data.crops import Batch, CropBatches, batch_loader
from segexp.data.pairs import make_sample
from segexp.losses import SegmentationLoss
from segexp.models import UNet
from segexp.training.loop import TrainState, fit, prepare, to_targets
from segexp.training.schedule import Budget


def blobs(count=4, size=32):
    rng = np.random.default_rng(0)
    samples = []
    for i in range(count):
        labels = np.zeros((size, size), np.uint8)
        top, left = rng.integers(4, size - 12, 2)
        labels[top : top + 8, left : left + 8] = 1
        pixels = (rng.normal(100, 5, labels.shape) + 80 * labels).astype(np.uint16)[None]
        samples.append(make_sample(str(i), pixels, labels, 1))
    return samples


class Recorder:
    def __init__(self):
        self.steps, self.epochs = [], []

    def step(self, state, progress, loss, rate):
        self.steps.append((state.step, progress, loss, rate))

    def epoch(self, state, progress, loss, rate, scores):
        self.epochs.append((state.epoch, loss, scores))


def train(budget, state=None, model=None, optimizer=None, saved=None, scores=None, **changes):
    torch.manual_seed(0)
    model = model or UNet(1, 1, widths=(4, 8))
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), 0.01)
    state = state or TrainState()
    batches = CropBatches(blobs(), 16, 4, 0.5, 0)
    recorder = Recorder()
    settings = {
        "epoch_steps": batches.steps,
        "monitor": "dice",
        "lr": 0.01,
        "warmup": 0.1,
        "grad_clip": 1.0,
        "validate_every": 1,
        "patience": None,
        "precision": "fp32",
        "seed": 0,
        "log_every": 3,
        "validation_seconds": 0.0,
        "started": time.monotonic(),
    } | changes
    scores = scores or itertools.repeat({"dice": 0.5})
    fit(
        model,
        SegmentationLoss(),
        optimizer,
        iter(batch_loader(batches, 0, state.epoch)),
        lambda batch: prepare(batch, torch.device("cpu"), Augmentation([RandomFlip()]), "standard", 1),
        lambda: next(scores),
        lambda now, improved: saved.append((now.plain(), improved)) if saved is not None else None,
        recorder,
        state,
        budget=budget,
        **settings,
    )
    return model, optimizer, state, recorder


def test_it_learns():
    _, _, state, recorder = train(Budget(steps=60))
    assert state.step == 60
    assert recorder.epochs[-1][1] < 0.7 * recorder.epochs[0][1]


def test_the_rate_rises_and_ends_at_zero_after_the_last_step():
    _, _, _, recorder = train(Budget(steps=20))
    rates = [rate for *_, rate in recorder.steps]
    assert len(rates) == 20
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) == 2
    assert 0 < rates[-1] < 0.001


def test_losses_are_read_on_logging_steps_only():
    _, _, _, recorder = train(Budget(steps=7))
    assert [loss is not None for _, _, loss, _ in recorder.steps] == [False, False, True, False, False, True, False]


def test_time_ends_it_with_a_last_validation():
    tick = time.monotonic()
    _, _, state, recorder = train(Budget(seconds=5.0), validate_every=10**6)
    assert 2 < time.monotonic() - tick < 5  # two of the seconds are kept back for writing the results
    assert state.step > 3
    assert recorder.epochs[-1][2] is not None
    assert all(scores is None for *_, scores in recorder.epochs[:-1])


def test_the_best_model_is_the_latest_of_the_best():
    saved = []
    scores = iter([{"dice": d} for d in (0.1, 0.5, 0.5, 0.2)])
    _, _, state, _ = train(Budget(steps=16), saved=saved, scores=scores)
    assert [improved for _, improved in saved] == [True, True, True, False]
    assert state.best == {"dice": 0.5, "epoch": 3}
    assert state.stale == 1


def test_patience():
    scores = iter([{"dice": d} for d in (0.5, 0.4, 0.4, 0.9)])
    _, _, state, _ = train(Budget(steps=1000), scores=scores, patience=2)
    assert state.epoch == 3


def test_a_resumed_run_is_the_uninterrupted_one():
    whole, *_ = train(Budget(steps=16))

    class StopAfterTwo(list):
        def append(self, saved):
            super().append(saved)
            if len(self) == 2:
                raise KeyboardInterrupt

    torch.manual_seed(0)
    model = UNet(1, 1, widths=(4, 8))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    saved = StopAfterTwo()
    with pytest.raises(KeyboardInterrupt):
        train(Budget(steps=16), model=model, optimizer=optimizer, saved=saved)
    again = UNet(1, 1, widths=(4, 8))
    again.load_state_dict(model.state_dict())
    fresh = torch.optim.AdamW(again.parameters(), 0.01)
    fresh.load_state_dict(optimizer.state_dict())
    resumed, *_ = train(Budget(steps=16), state=TrainState(**saved[-1][0]), model=again, optimizer=fresh)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_run_takes_no_further_step():
    _, _, state, recorder = train(Budget(steps=5), state=TrainState(epoch=2, step=5, best={"dice": 0.3, "epoch": 1}))
    assert state.step == 5
    assert recorder.steps == []


def test_targets():
    labels = torch.tensor([[0, 1, 2, 255]], dtype=torch.uint8).reshape(1, 1, 1, 4)
    assert to_targets(labels, 2)[0, :, 0].tolist() == [[0, 1, 0, -1], [0, 0, 1, -1]]


def test_prepare_normalises_with_the_whole_images_statistics():
    batch = Batch(
        torch.full((2, 1, 4, 4), 300, dtype=torch.uint16),
        torch.ones(2, 1, 4, 4, dtype=torch.uint8),
        torch.tensor([[100.0], [300.0]]),
        torch.tensor([[50.0], [50.0]]),
    )
    images, targets = prepare(batch, torch.device("cpu"), Augmentation([]), "standard", 1)
    assert images[:, 0, 0, 0].tolist() == [4.0, 0.0]
    assert targets.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)

"""The running average: its window, its warm-up, and what it does with a batch norm."""

import pytest
import torch
from torch import nn

from segexp.training.ema import averaged_copy, update_average


def test_it_follows_the_weights_with_a_window_that_warms_up():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = averaged_copy(model)
    nn.init.ones_(model.weight)
    expected = 0.0
    for step in range(1, 30):
        update_average(average, model, 0.5, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
        assert average.weight.item() == pytest.approx(expected)
    assert 0.99 < expected < 1


def test_the_statistics_of_a_batch_norm_are_averaged_and_its_counter_is_copied():
    model = nn.BatchNorm2d(2)
    average = averaged_copy(model)
    model.train()
    model(torch.full((2, 2, 4, 4), 10.0))
    update_average(average, model, 0.5, 100)
    torch.testing.assert_close(average.running_mean, torch.full((2,), 0.5))
    assert average.num_batches_tracked == 1
    assert not average.training
    assert not average.weight.requires_grad


def test_the_model_is_left_alone():
    model = nn.Conv2d(1, 2, 3)
    before = model.weight.clone()
    average = averaged_copy(model)
    nn.init.zeros_(average.weight)
    update_average(average, model, 0.9, 1000)
    assert torch.equal(model.weight, before)
    torch.testing.assert_close(average.weight, 0.1 * before)

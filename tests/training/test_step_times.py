"""The table of a step's time: every part is there, shares add up, validation is not counted."""

import itertools

import torch

from segexp.training.state import TrainState
from segexp.training.step_times import WARMUP, StepTimes


def test_the_parts_of_a_step_are_told_once_all_are_measured():
    said = []
    augment, model, loss = torch.nn.Identity(), torch.nn.Linear(2, 2), torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    times = StepTimes(2, torch.device("cpu"), said.append)
    times.watch(augment, model, loss, optimizer)
    for _, data in zip(range(WARMUP + 3), times.batches(itertools.repeat(torch.ones(3, 2))), strict=False):
        loss(model(augment(data)), data).backward()
        optimizer.step()
        times.on_step(TrainState(), 0.5, None, 0.1)
        model(data)  # validation
    assert said[0].startswith("a step takes ")
    assert said[0].endswith("the mean of 2:")
    parts = ["waiting for the batch", "moving and normalising", "augmentation", "forward", "loss"]
    assert {line[:24].strip() for line in said[1:]} == {*parts, "backward and clipping", "optimiser", "all else"}
    assert sum(float(line.split()[-2]) for line in said[1:]) > 95

"""The batch grows while that pays, and no further."""

import pytest
import torch

from segexp.models import UNet
from segexp.training.batch_size import find_batch_size


class Clock:
    """Seconds that a batch takes, by a rule; looked at before and after each."""

    def __init__(self, rule):
        self.rule, self.now, self.before, self.sizes = rule, 0.0, True, []

    def __call__(self):
        if not self.before:
            self.now += self.rule(self.sizes[-1])
        self.before = not self.before
        return self.now


@pytest.mark.parametrize(
    ("rule", "most", "expected"),
    [
        (lambda size: size, 1000, 8),  # a crop costs the same in any batch: steps are worth more
        (lambda size: 1.0, 1000, 64),  # a device that is idle: as large as allowed
        (lambda size: max(32, size), 1000, 32),
        (lambda size: 1.0, 20, 16),
        (lambda size: 1.0, 3, 3),
    ],
)
def test_it_doubles_while_a_crop_becomes_cheaper(rule, most, expected):
    model = UNet(1, 1, widths=(2, 4))
    clock = Clock(rule)
    model.register_forward_pre_hook(lambda _, inputs: clock.sizes.append(len(inputs[0])))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert find_batch_size(model, (1, 8, 8), "fp32", most, clock) == expected
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_stops_where_memory_ends():
    model = UNet(1, 1, widths=(2, 4))
    clock = Clock(lambda size: 1.0)

    def memory(_, inputs):
        clock.sizes.append(len(inputs[0]))
        if len(inputs[0]) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(memory)
    assert find_batch_size(model, (1, 8, 8), "fp32", 1000, clock) == 16

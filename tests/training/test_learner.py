"""One step: what it changes, what it leaves alone, how it lives with little memory."""

import copy

import pytest
import torch
from torch import nn

from segexp.device import out_of_memory
from segexp.errors import InputError
from segexp.losses import SegmentationLoss
from segexp.models import UNet
from segexp.training.ema import update_average
from segexp.training.learner import Learner
from segexp.training.muon import Muon


def learner(norm="batch", optimizer=None, widths=(4, 8), **changes):
    torch.manual_seed(0)
    settings = {"precision": "fp32", "grad_clip": 1.0} | changes
    model = UNet(1, 1, widths=widths, norm=norm)
    return Learner(model, SegmentationLoss(), (optimizer or adamw)(model), **settings)


def adamw(model):
    return torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.01, fused=True)


def batch(count=4):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 16, 16, generator=generator)
    return images, (images > 0.5).float()


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_step_is_that_of_plain_pytorch():
    one = learner()
    model = copy.deepcopy(one.model)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.01)
    loss, skipped = one.step(*batch(), 0.02)
    optimizer.param_groups[0]["lr"] = 0.02
    expected = SegmentationLoss()(model(batch()[0]), batch()[1])
    expected.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    assert loss == expected.detach()
    assert skipped == 0
    for mine, theirs in zip(one.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_compiled_network_takes_the_same_step():
    """By the compiler's front end alone: its back end needs a C++ compiler on a CPU."""
    one, model = learner(), learner().model
    compiled = torch.compile(model, backend="eager")
    other = Learner(model, SegmentationLoss(), adamw(model), "fp32", 1.0, forward=compiled)
    assert other.forward is compiled
    for _ in range(2):
        assert torch.allclose(one.step(*batch(), 0.01)[0], other.step(*batch(), 0.01)[0])
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_batch_that_is_not_finite_changes_nothing(precision, poison):
    one = learner(precision=precision, ema=0.9)
    one.step(*batch(), 0.01)
    before, average = weights(one.model), copy.deepcopy(one.average)
    update_average(average, one.model, 0.9, 2)  # the step counts, and moves it towards the weights as they are
    moments = copy.deepcopy(one.optimizer.state_dict()["state"])
    images, targets = batch()
    images[0, 0, 3, 3] = poison
    _, skipped = one.step(images, targets, 0.01)
    assert skipped == 1
    for name, value in one.model.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, before[name]), name
    for index, kept in moments.items():
        for name, value in kept.items():
            assert torch.equal(one.optimizer.state_dict()["state"][index][name], value)
    for name, value in average.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(one.average.state_dict()[name], value), name
    loss, skipped = one.step(*batch(), 0.01)
    assert skipped == 0
    assert torch.isfinite(loss)


def test_the_gradient_scaler_of_fp16_gives_way():
    one = learner(precision="fp16")
    scale = one.scaler.get_scale()
    images, targets = batch()
    one.step(images / 0, targets, 0.01)
    assert one.scaler.get_scale() == scale / 2


def test_the_average_follows_and_is_what_a_checkpoint_holds():
    one = learner(ema=0.5)
    for _ in range(3):
        one.step(*batch(), 0.01)
    assert not torch.equal(one.average.head.weight, one.model.head.weight)
    other = learner(ema=0.5)
    other.restore(copy.deepcopy(one.state()))
    for step in (one, other):
        step.step(*batch(), 0.01)
    for pair in zip(one.average.state_dict().values(), other.average.state_dict().values(), strict=True):
        assert torch.equal(*pair)
    assert other.updates == 4


def test_parts_of_a_batch_add_up_where_the_loss_is_a_mean():
    class Bce(nn.Module):
        def forward(self, logits, targets):
            return nn.functional.binary_cross_entropy_with_logits(logits, targets)

    whole, parts = learner("group"), learner("group", micro_batch=3)
    whole.loss = parts.loss = Bce()
    losses = [each.step(*batch(8), 0.01)[0] for each in (whole, parts)]
    torch.testing.assert_close(*losses)
    for mine, theirs in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


class Narrow(nn.Module):
    """A model in memory for two crops, three at the very first."""

    def __init__(self, model, error):
        super().__init__()
        self.model, self.error, self.seen = model, error, []

    def forward(self, images):
        self.seen.append(len(images))
        logits = self.model(images)
        if len(images) > 2:
            raise self.error
        return logits


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_batch_too_large_is_halved_until_it_fits_and_stays_so(error):
    one = learner()
    one.forward = Narrow(one.model, error)
    images, targets = batch(8)
    one.step(images, targets, 0.01)
    assert one.forward.seen == [8, 4, 2, 2, 2, 2]
    assert one.micro_batch == 2
    assert int(one.model.stem[1].num_batches_tracked) == 6
    one.step(images, targets, 0.01)
    assert one.forward.seen[6:] == [2, 2, 2, 2]
    reference = learner(micro_batch=2)
    reference.step(images, targets, 0.01)
    reference.step(images, targets, 0.01)
    for name, value in reference.model.state_dict().items():
        if "num_batches" not in name:  # an attempt that failed leaves no trace in the statistics
            assert torch.equal(value, one.model.state_dict()[name]), name


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    one = learner()
    one.forward = Narrow(one.model, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        one.step(*batch(8), 0.01)
    assert not out_of_memory(RuntimeError("shapes differ"))


def test_an_optimiser_without_found_inf_stays_finite_and_the_ratio_of_its_groups_stays():
    def rmsprop(model):
        first, *rest = model.parameters()
        return torch.optim.RMSprop([{"params": [first]}, {"params": rest, "lr": 0.02}], 0.01)

    one = learner(optimizer=rmsprop)
    one.step(*batch(), 0.005)
    assert [group["lr"] for group in one.optimizer.param_groups] == [0.005, 0.01]
    before = weights(one.model)
    images, targets = batch()
    assert one.step(images / 0, targets, 0.01)[1] == 1
    for name, value in one.model.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, before[name]), name
    assert one.step(*batch(), 0.01)[1] == 0


def test_the_state_of_another_optimiser_is_refused():
    saved = learner(optimizer=lambda model: torch.optim.SGD(model.parameters(), 0.01)).state()
    with pytest.raises(InputError, match="that of SGD, this run has AdamW"):
        learner().restore(saved)
    del saved["optimizer_name"]  # of an earlier version: AdamW always
    with pytest.raises(InputError, match="that of AdamW, this run has SGD"):
        learner(optimizer=lambda model: torch.optim.SGD(model.parameters(), 0.01)).restore(saved)


def test_settings_of_the_optimiser_are_those_of_the_run_that_goes_on():
    def other(model):
        return torch.optim.AdamW(model.parameters(), 0.5, betas=(0.8, 0.9), weight_decay=0.3, fused=True)

    before = learner()
    before.step(*batch(), 0.02)
    one = learner(optimizer=other)
    one.restore(copy.deepcopy(before.state()))
    (group,) = one.optimizer.param_groups
    assert (group["weight_decay"], group["betas"], group["lr"]) == (0.3, (0.8, 0.9), 0.02)
    assert one.lr == 0.5
    one.step(*batch(), 0.01)
    same = learner()
    same.restore(copy.deepcopy(before.state()))
    same.step(*batch(), 0.01)
    assert not torch.equal(one.model.head.weight, same.model.head.weight)
    assert int(next(iter(one.optimizer.state.values()))["step"]) == 2


def test_momentum_may_begin_in_a_run_that_goes_on():
    before = learner(optimizer=lambda model: torch.optim.SGD(model.parameters(), 0.01))
    before.step(*batch(), 0.01)
    one = learner(optimizer=lambda model: torch.optim.SGD(model.parameters(), 0.01, momentum=0.9))
    one.restore(copy.deepcopy(before.state()))
    for _ in range(2):
        assert one.step(*batch(), 0.01)[1] == 0
    buffers = [state["momentum_buffer"] for state in one.optimizer.state.values()]
    assert any(buffer.abs().sum() > 0 for buffer in buffers)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (torch.optim.AdamW, {"amsgrad": True}),
        (torch.optim.RMSprop, {"centered": True}),
        (torch.optim.RMSprop, {"momentum": 0.9}),
    ],
)
def test_a_setting_whose_values_were_not_collected_is_refused(kind, setting):
    before = learner(optimizer=lambda model: kind(model.parameters(), 0.01))
    before.step(*batch(), 0.01)
    with pytest.raises(InputError, match=rf"optimizer\.{next(iter(setting))}: needs values"):
        learner(optimizer=lambda model: kind(model.parameters(), 0.01, **setting)).restore(before.state())


def test_a_run_with_muon_is_resumed_to_the_bit():
    def muon(model):
        return Muon(model.parameters(), 0.01)

    one, other = learner(optimizer=muon, widths=(8, 16)), learner(optimizer=muon, widths=(8, 16))
    one.step(*batch(), 0.01)
    other.restore(copy.deepcopy(one.state()))
    for each in (one, other):
        each.step(*batch(), 0.02)
    for name, value in weights(one.model).items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_another_number_of_groups_is_refused_by_pytorch():
    def two(model):
        first, *rest = model.parameters()
        return torch.optim.AdamW([{"params": [first]}, {"params": rest}], 0.01, fused=True)

    for saved, now in ((adamw, two), (two, adamw)):
        with pytest.raises(ValueError, match="different number of parameter groups"):
            learner(optimizer=now).restore(learner(optimizer=saved).state())

"""A recorded step. Recording itself needs a GPU (`python -m benchmarks.gpu`); here a replay runs the step once more."""

import contextlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kornia.augmentation import RandomGaussianBlur
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import segexp.augment as augment
from segexp.augment import Augmentation
from segexp.data.loader import Batch
from segexp.losses import SegmentationLoss, SoftClDice
from segexp.models import UNet
from segexp.training import cuda_graph
from segexp.training.cuda_graph import NotRecorded, RecordedStep, drawn_values, obstacle, pack, unpack, with_values
from segexp.training.learner import Learner
from segexp.training.muon import Muon
from segexp.training.prepare import prepare, transform

CPU = torch.device("cpu")


def adamw(model):
    return torch.optim.AdamW(model.parameters(), 0.01, fused=True)


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, fused=True)


def muon(model):
    return Muon(model.parameters(), 0.01)


def learner(optimizer=adamw, device="cpu", **changes):
    torch.manual_seed(0)
    model = UNet(1, 1, widths=(8, 16)).to(device)
    settings = {"precision": "fp32", "grad_clip": 1.0} | changes
    return Learner(model, SegmentationLoss(), optimizer(model), **settings)


def every_operation():
    return Augmentation(
        [
            augment.RandomWarp(p_affine=0.5, p_elastic=0.5),
            augment.RandomFlip(),
            augment.RandomCLAHE(),
            augment.RandomGamma(),
            augment.RandomBlur(),
            augment.RandomIllumination(),
            augment.RandomPhotonNoise(),
            augment.RandomSquare(p=0.5),
            augment.RandomExtremeScale(),
            augment.RandomBrightnessContrast(),
            augment.Standardize(),
        ]
    )


def batch(number, size=32, device="cpu"):
    generator = torch.Generator().manual_seed(number)
    pixels = torch.rand(4, 1, size, size, generator=generator)
    values = Batch(
        (1000 * pixels).to(torch.uint16),
        (pixels > 0.7).to(torch.uint8),
        torch.full((4, 1), 500.0),
        torch.full((4, 1), 300.0),
    )
    return Batch(*(value.to(device) for value in values))


@pytest.fixture
def replayed(monkeypatch):
    """In place of a recording: a replay runs the function again, on the same buffers. Counts the recordings."""
    recorded = []

    def capture(function, stream):
        recorded.append(function)
        return function

    monkeypatch.setattr(cuda_graph, "capture", capture)
    return recorded


def usual_step(one, pipeline, raw, rate):
    images, targets = prepare(raw, CPU, pipeline, "log", 1)
    return *one.step(images, targets, rate), targets


@pytest.mark.parametrize("optimizer", [adamw, sgd, muon])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_recorded_steps_are_the_usual_ones_to_the_bit(replayed, optimizer, precision):
    one, other = (learner(optimizer, ema=0.9, precision=precision) for _ in range(2))
    pipeline, repeated = every_operation(), every_operation()
    step = RecordedStep(other, repeated, "log", 1)
    for number in range(7):
        rate = 0.5 ** (5 + number)  # float32 holds it: the rate of a recorded step is one
        torch.manual_seed(number)
        expected = usual_step(one, pipeline, batch(number), rate)
        torch.manual_seed(number)
        for mine, theirs in zip(step(batch(number), rate), expected, strict=True):
            assert torch.equal(mine, theirs)
        assert other.optimizer.param_groups[0]["lr"] == rate
    assert len(replayed) == 1
    assert one.updates == other.updates == 7
    for model in ("model", "average"):
        for name, value in getattr(one, model).state_dict().items():
            assert torch.equal(value, getattr(other, model).state_dict()[name]), name
    assert one.scaler.state_dict() == other.scaler.state_dict()
    assert str(one.optimizer.state_dict()["param_groups"]) == str(other.optimizer.state_dict()["param_groups"])


def test_a_batch_of_another_size_is_refused(replayed):
    step = RecordedStep(learner(), every_operation(), "log", 1)
    step(batch(0), 0.01)
    with pytest.raises(ValueError, match=r"expected \(4, 1, 32, 32\)"):
        step.recorded([value[:1] for value in batch(1)], [torch.tensor(0.01), *drawn_values(step.layout)])


class Places(TorchDispatchMode):
    """Fails where an operator touches a tensor on the CPU: a recording would freeze its values."""

    def __init__(self, device):
        super().__init__()
        self.device, self.operators = device, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operators += 1
        for leaf in tree_leaves((args, kwargs or {}, result)):
            assert not isinstance(leaf, torch.Tensor) or leaf.device.type == self.device, func
        return result


@pytest.mark.parametrize("on_device", [True, False])
def test_nothing_of_the_augmentation_comes_from_the_cpu_while_it_is_recorded(fake_cuda, on_device):
    pipeline = every_operation()
    with fake_cuda() as device:
        images, masks = torch.empty(4, 1, 32, 32, device=device), torch.empty(4, 1, 32, 32, device=device).byte()
        drawn = pipeline.sample(images.shape)
        if on_device:
            there = [torch.empty(value.shape, dtype=value.dtype, device=device) for value in drawn_values(drawn)]
            drawn = with_values(drawn, there)
        with Places("cuda") as places, contextlib.nullcontext() if on_device else pytest.raises(AssertionError):
            pipeline(images, masks, params=drawn)
    assert places.operators > 100 or not on_device


@pytest.mark.parametrize("normalization", ["standard", "log"])
def test_nothing_of_the_preparation_comes_from_the_cpu_while_it_is_recorded(normalization):
    raw = batch(0, device="meta")
    with Places("meta") as places:
        transform(raw, Augmentation(), [], normalization, 2)
    assert places.operators > 8


def test_nothing_of_the_update_comes_from_the_cpu_while_it_is_recorded(no_fused_kernel):
    one = learner(device="meta")
    images, targets = torch.empty(2, 1, 32, 32, device="meta"), torch.empty(2, 1, 32, 32, device="meta")
    for _ in range(2):
        one.step(images, targets, 0.01)
    with Places("meta") as places:
        one.set_rate(torch.empty((), device="meta"))
        one.update(images, targets)
    assert places.operators > 100


@given(
    st.lists(
        st.tuples(
            st.sampled_from([torch.bool, torch.float32, torch.float64, torch.int64, torch.uint8]),
            st.lists(st.integers(0, 4), max_size=3),
        ),
        max_size=6,
    )
)
def test_packed_values_come_out_as_they_went_in(layout):
    values = [(100 * torch.rand(shape)).to(dtype) for dtype, shape in layout]
    out = unpack(pack(values), values)
    assert len(out) == len(values)
    for mine, theirs in zip(out, values, strict=True):
        assert torch.equal(mine, theirs)
        assert mine.dtype == theirs.dtype


def test_drawn_parameters_keep_their_layout():
    drawn = every_operation().sample((4, 1, 32, 32))
    values = drawn_values(drawn)
    assert len(values) > 20
    again = with_values(drawn, [value + 1 for value in values])
    assert torch.equal(again[3]["gamma"], drawn[3]["gamma"] + 1)
    assert drawn_values(Augmentation([nn.Identity()]).sample((1, 1, 8, 8))) == []


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_that_cannot_be_recorded_leaves_all_as_it_was(monkeypatch, precision):
    one = learner(precision=precision, micro_batch=4)

    def capture(function, stream):
        one.micro_batch = 2
        with contextlib.suppress(ZeroDivisionError):
            one.scaler.unscale_(one.optimizer)
            1 / 0  # noqa: B018
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graph, "capture", capture)
    step = RecordedStep(one, every_operation(), "standard", 1)
    for number in range(cuda_graph.WARM_UP):
        step(batch(number), 0.01)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    with pytest.raises(NotRecorded, match="not permitted"):
        step(batch(9), 0.01)
    assert one.micro_batch == 4
    assert one.updates == cuda_graph.WARM_UP
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())
    usual_step(one, every_operation(), batch(9), 0.01)


class Theirs(nn.Module):
    __module__ = "lab.losses"


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("the device is cpu", {"device": CPU}),
        ("2 processes", {"processes": 2}),
        ("trainer.compile", {"compiled": True}),
        ("RMSprop", {"optimizer": torch.optim.RMSprop([nn.Parameter(torch.ones(1))])}),
        ("lab.losses.Theirs", {"modules": [Theirs()]}),
        ("kornia", {"modules": [Augmentation([RandomGaussianBlur((3, 3), (1.0, 1.0))])], "foreign": True}),
        ("", {"modules": [Theirs()], "foreign": True}),
        ("", {}),
    ],
)
def test_what_is_recorded(words, changes):
    one = learner()
    usual = {
        "device": torch.device("cuda"),
        "processes": 1,
        "compiled": False,
        "optimizer": one.optimizer,
        "modules": [one.model, SegmentationLoss({"cldice": (1.0, SoftClDice())}), every_operation()],
        "foreign": False,
    }
    why = obstacle(**usual | changes)
    assert (words in why) if words else why == ""

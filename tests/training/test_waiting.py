"""No step of the loop waits for the device, logging steps apart.

On the meta device tensors have shapes and no values: what asks for one, or mixes it with the CPU's, raises. A pretended
CUDA device (``fake_cuda``) will not do: a CPU build of torch aborts at its first convolution. Operations that meta has
no kernels for, such as warps, are tried on that one in tests/augment.
"""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.nn import BCEWithLogitsLoss
from torch.utils._python_dispatch import TorchDispatchMode

from segexp.augment import Augmentation, RandomBrightnessContrast, RandomCLAHE, RandomFlip
from segexp.data.loader import Batch
from segexp.distributed import ALONE
from segexp.losses import CrossEntropy, Focal, SegmentationLoss, SkeletonRecall, SoftClDice, SoftDice, Tversky
from segexp.models import UNet
from segexp.training.learner import Learner
from segexp.training.loop import fit
from segexp.training.muon import Muon
from segexp.training.schedule import Budget, Cosine, Schedule
from segexp.training.state import TrainState
from segexp.training.stop import StopRequest

SCHEDULE = Schedule(Budget(steps=100), epoch_steps=50, lr=0.01, scheduler=Cosine(0.1), log_every=100)
VALUELESS = torch.device("meta")
WAITS = ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "masked_select", "unique", "to the CPU")


pytestmark = pytest.mark.usefixtures("no_fused_kernel")


class Enough(Exception):
    pass


class Counts(TorchDispatchMode):
    """Which operators ran, and how many copies from a device to the CPU."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names[func.overloadpacket.__name__] += 1
        if isinstance(args[0] if args else None, torch.Tensor) and isinstance(result, torch.Tensor):
            self.names["to the CPU"] += args[0].device.type != "cpu" and result.device.type == "cpu"
        return result

    def waits(self):
        return {name: self.names[name] for name in WAITS if self.names[name]}


def adamw(model):
    return torch.optim.AdamW(model.parameters(), 0.01, fused=True)


def muon(model):
    return Muon(model.parameters(), 0.01)


def unfused(model):
    """An optimiser that knows no ``found_inf``."""
    return torch.optim.RMSprop(model.parameters(), 0.01)


class Endless:
    """A run on `device` that draws the same raw batch for ever; also its own listener, which stops after `steps`."""

    cuda_graph, ranks, foreground = False, ALONE, 0.5

    def __init__(self, device, steps, ema=0.0, optimizer=adamw, **unet):
        self.device, self.steps, self.losses = device, steps, []
        self.state, self.stop = TrainState(), StopRequest()
        terms = {"ce": (1.0, CrossEntropy()), "dice": (1.0, SoftDice()), "cldice": (0.2, SoftClDice())}
        terms |= {"tversky": (1.0, Tversky()), "focal": (1.0, Focal(alpha=0.7)), "torch": (1.0, BCEWithLogitsLoss())}
        terms["skeleton"] = (0.5, SkeletonRecall())
        model = UNet(1, 1, widths=(4, 8), **unet).to(device).to(memory_format=torch.channels_last)
        loss = SegmentationLoss(terms)
        self.learner = Learner(model, loss, optimizer(model), "fp32", 1.0, ema, micro_batch=2)
        self.normalization, self.classes = "log", ["vesicle"]
        self.augment = Augmentation([RandomFlip(), RandomCLAHE(), RandomBrightnessContrast()])

    def batches(self, first, size=None):
        pixels = torch.ones(4, 1, 32, 32, device=self.device, dtype=torch.uint16)
        labels = torch.ones(4, 1, 32, 32, device=self.device, dtype=torch.uint8)
        offset, scale = torch.zeros(4, 1, device=self.device), torch.ones(4, 1, device=self.device)
        while True:
            yield Batch(pixels, labels, offset, scale)

    def save(self, improved):
        pass

    def step(self, state, progress, loss, rate):
        self.losses.append(loss)
        if len(self.losses) == self.steps:
            raise Enough


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_steps_on_a_device_without_values_ask_it_for_nothing(norm):
    run = Endless(VALUELESS, 4, norm=norm)
    with Counts() as counts, pytest.raises(Enough):
        fit(run, run, SCHEDULE)
    assert run.losses == [None] * 4
    assert counts.names.total() > 1000
    assert counts.waits() == {}


def test_a_logging_step_is_the_one_that_asks():
    run = Endless(VALUELESS, 4)
    with pytest.raises(NotImplementedError, match="meta"):
        fit(run, run, replace(SCHEDULE, log_every=3))
    assert run.losses == [None] * 2


@pytest.mark.parametrize("optimizer", [adamw, unfused, muon])
def test_waits_on_the_cpu(optimizer):
    """Real values, so that nothing hides behind a decomposition of the pretended device."""
    run = Endless(torch.device("cpu"), 6, ema=0.99, optimizer=optimizer)
    with Counts() as counts, pytest.raises(Enough):
        fit(run, run, SCHEDULE)
    assert counts.waits() == {}

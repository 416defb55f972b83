"""A training step recorded once as a CUDA graph and replayed: one launch instead of hundreds.

A GPU computes the step of a small network faster than Python can launch its kernels. A replay is a single launch. What
changes from step to step is copied into fixed buffers: the raw crops, the drawn parameters of the augmentation and the
learning rate, in one transfer. Everything that the CPU does in a step is therefore done before the replay; other
computations on the CPU, such as drawing random numbers, would be frozen at their values during recording.
PyTorch's notes on CUDA graphs name the rules (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segexp.augment import Augmentation
from segexp.augment.base import KORNIA_PARAMETERS
from segexp.augment.pipeline import Params
from segexp.data.loader import Batch
from segexp.training.learner import Learner
from segexp.training.muon import Muon
from segexp.training.prepare import transform

WARM_UP = 3
"""Ordinary calls before the recorded one, in which libraries choose their kernels."""
ALIGNMENT = 16  # bytes
OWN = ("segexp", "torch")
RECORDABLE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, Muon)  # those that read the rate from the device

Function = Callable[[list[Tensor], list[Tensor]], tuple[Tensor, ...]]


def capture(
    function: Callable[[], tuple[Tensor, ...]], stream: torch.cuda.Stream | None
) -> Callable[[], tuple[Tensor, ...]]:
    """Record the GPU work of `function`; calling the result replays it and returns the same tensors."""
    graph = torch.cuda.CUDAGraph()
    # the thread that copies the next batch goes on meanwhile
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        outputs = function()

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return outputs

    return replay


class NotRecorded(RuntimeError):
    """The step could not be recorded and had no effect."""


class Recorded:
    """A function of tensors on a CUDA device, run as usual `WARM_UP` times, then recorded and replayed.

    Args:
        function: takes a list of tensors and a list of small tensors that were drawn on the CPU, all on the device,
            and returns tensors. It must not wait for the device.
        device: where it runs.
    """

    def __init__(self, function: Function, device: torch.device) -> None:
        self.function, self.device = function, device
        self.calls = 0
        self.tensors: list[Tensor] = []
        self.values: list[Tensor] = []
        self.packed: Tensor | None = None
        self.replay: Callable[[], tuple[Tensor, ...]] | None = None
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, tensors: Sequence[Tensor], values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run or replay; the results of a replay stay valid until the next call.

        Args:
            tensors: on the device, of the same shapes and dtypes at each call.
            values: on the CPU, likewise.

        Raises:
            ValueError: if a shape differs from the first call's.
        """
        if self.replay is None and self.calls < WARM_UP:
            self.calls += 1
            self._receive(tensors, values)
            return self._beside(lambda: self.function(self.tensors, self.values))
        self._receive(tensors, values)
        if self.replay is None:
            self.replay = capture(lambda: self.function(self.tensors, self.values), self.stream)
        return self.replay()

    def _receive(self, tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        flat = pack(values)
        if self.packed is None:
            self.packed = torch.empty_like(flat, device=self.device)
            self.values = unpack(self.packed, values)
            self.tensors = [torch.empty_like(tensor) for tensor in tensors]
        if self.device.type == "cuda":
            flat = flat.pin_memory()  # its memory is used again only after the copy
        self.packed.copy_(flat, non_blocking=True)
        for mine, theirs in zip(self.tensors, tensors, strict=True):
            if mine.shape != theirs.shape:  # a copy would repeat what is smaller
                raise ValueError(f"a tensor of {tuple(theirs.shape)}: expected {tuple(mine.shape)}, as at first")
            mine.copy_(theirs, non_blocking=True)

    def _beside(self, run: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Run on the stream that will be recorded: autograd remembers the stream of each parameter's gradient."""
        if self.stream is None:
            return run()
        present = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(present)
        with torch.cuda.stream(self.stream):
            results = run()
        present.wait_stream(self.stream)
        for result in results:
            result.record_stream(present)
        return results


def pack(values: Sequence[Tensor]) -> Tensor:
    """Tensors on the CPU as bytes one after another, each at a multiple of `ALIGNMENT`."""
    places, size = _places(values)
    flat = torch.empty(size, dtype=torch.uint8)
    for value, place in zip(values, places, strict=True):
        part = flat[place : place + value.nbytes]
        part.view(value.dtype).view(value.shape).copy_(value)
    return flat


def unpack(flat: Tensor, values: Sequence[Tensor]) -> list[Tensor]:
    """Views of packed bytes, with the shapes and dtypes of `values`."""
    places, _ = _places(values)
    return [
        flat[place : place + value.nbytes].view(value.dtype).view(value.shape)
        for value, place in zip(values, places, strict=True)
    ]


def _places(values: Sequence[Tensor]) -> tuple[list[int], int]:
    places, size = [], 0
    for value in values:
        places.append(size)
        size += -(-value.nbytes // ALIGNMENT) * ALIGNMENT
    return places, size


def drawn_values(params: Params) -> list[Tensor]:
    """The tensors of an augmentation's drawn parameters, in a fixed order."""
    return [entry[name] for entry in params if entry for name in _names(entry)]


def with_values(params: Params, values: Sequence[Tensor]) -> Params:
    """Parameters of the same layout that hold `values`, as `drawn_values` orders them."""
    following = iter(values)
    return [entry and {name: next(following) for name in _names(entry)} for entry in params]


def _names(entry: dict[str, Any]) -> list[str]:
    return [name for name in entry if name == "batch_prob" or name not in KORNIA_PARAMETERS]


class RecordedStep:
    """Augmentation, forward and backward pass and optimiser as one replay.

    Args:
        learner: the model and its optimiser.
        augment: drawn on the CPU, applied on the device.
        normalization: one of `segexp.data.normalization.NORMALIZATIONS`.
        classes: their number.
    """

    def __init__(self, learner: Learner, augment: Augmentation, normalization: str, classes: int) -> None:
        self.learner, self.augment, self.normalization, self.classes = learner, augment, normalization, classes
        self.layout: Params = []
        self.recorded = Recorded(self._run, learner.device)

    def __call__(self, batch: Batch, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        """One step: loss, whether it was skipped (1.0), and targets (B, K, H, W), valid until the next call.

        Raises:
            NotRecorded: if the step cannot be recorded, in the call that records it.
        """
        drawn = self.augment.sample(batch.pixels.shape)
        self.layout = self.layout or drawn
        values = [torch.tensor(rate, dtype=torch.float32), *drawn_values(drawn)]
        recording = self.recorded.replay is None and self.recorded.calls == WARM_UP
        micro_batch = self.learner.micro_batch
        scaler = self.learner.scaler.state_dict() if recording else {}  # waits for the device, once
        try:
            loss, skipped, targets = self.recorded(batch.to(self.learner.device), values)
        except RuntimeError as error:
            if not recording:
                raise
            self.learner.micro_batch = micro_batch  # nothing ran on the device; undo what Python did
            self.learner.renew_scaler(scaler)
            raise NotRecorded(str(error)) from error
        finally:
            self.learner.set_rate(rate)  # a number: what a checkpoint holds
        self.augment.params = drawn
        self.learner.follow()
        return loss, skipped, targets

    def _run(self, tensors: list[Tensor], values: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        rate, *drawn = values
        params = with_values(self.layout, drawn)
        images, targets = transform(Batch(*tensors), self.augment, params, self.normalization, self.classes)
        self.learner.set_rate(rate)
        groups = [group for group in self.learner.optimizer.param_groups if "capturable" in group]
        before = [group["capturable"] for group in groups]
        for group in groups:
            group["capturable"] = True  # the optimiser refuses otherwise; its fused kernel does the same either way
        try:
            loss, skipped = self.learner.update(images, targets)
        finally:
            for group, was in zip(groups, before, strict=True):
                group["capturable"] = was
        return loss, skipped, targets


def obstacle(
    device: torch.device,
    processes: int,
    compiled: bool,
    optimizer: torch.optim.Optimizer,
    modules: Sequence[nn.Module],
    foreign: bool,
) -> str:
    """The reason why the steps of a run cannot be recorded; empty if they can.

    Args:
        device: of the model.
        processes: that share the batches.
        compiled: whether the network is compiled.
        optimizer: of the model.
        modules: model, loss and augmentation.
        foreign: whether other packages than this one and PyTorch are allowed: what they compute on the CPU would be
            frozen, which cannot be checked here. Kornia's own augmentations draw random numbers there.
    """
    if device.type != "cuda":
        return f"the device is {device.type}"
    if processes > 1:
        return f"{processes} processes share the batches"
    if compiled:
        return "trainer.compile is set"
    if not (isinstance(optimizer, RECORDABLE) and getattr(optimizer, "_step_supports_amp_scaling", False)):
        return f"the optimiser is {type(optimizer).__name__}; expected Muon, or a fused Adam, AdamW or SGD"
    for part in (part for module in modules for part in module.modules()):
        home = type(part).__module__
        if home.split(".")[0] == "kornia" or not (foreign or home.split(".")[0] in OWN):
            return f"{home}.{type(part).__name__} is another package's"
    return ""

"""Several processes that train one model: their ranks, sums over them, and values that they agree on.

One process is the ordinary case, in which every function here returns its argument. More are started by
``torchrun`` (or by ``trainer.devices``, which runs it), one a GPU, and find one another through its environment
variables. Two groups of connections are kept: NCCL (Gloo without GPUs) for tensors on the device, and Gloo for the few
numbers that control the loop, so that agreeing on them never waits for the GPU.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")

STEP_WAIT = timedelta(minutes=30)
"""How long a process waits for tensors of the others before it gives up."""
CONTROL_WAIT = timedelta(days=7)
"""How long it waits for their numbers: process 0 scores and writes alone, which depends on the number of images."""


class Ranks(NamedTuple):
    """The processes of a run.

    Attributes:
        rank: number of this one; 0 owns the run folder and the terminal.
        world: how many there are.
        local: number of this one on its machine, which is the number of its GPU.
        control: the Gloo group for numbers that control the loop; None for one process.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    control: Any = None

    @property
    def first(self) -> bool:
        """Whether this process owns the run folder."""
        return self.rank == 0


ALONE = Ranks()
"""One process."""

_ranks: Ranks | None = None


def launched() -> bool:
    """Whether ``torchrun`` started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def join() -> Ranks:
    """Connect to the other processes of ``torchrun``, if any. Calling it again returns the same ranks."""
    global _ranks
    if _ranks is None:
        if not launched():
            return ALONE
        local = int(os.environ.get("LOCAL_RANK", 0))
        if torch.cuda.is_available():
            torch.cuda.set_device(local)
            dist.init_process_group("nccl", timeout=STEP_WAIT, device_id=torch.device("cuda", local))
        else:
            dist.init_process_group("gloo", timeout=STEP_WAIT)
        control = dist.new_group(backend="gloo", timeout=CONTROL_WAIT)
        _ranks = Ranks(dist.get_rank(), dist.get_world_size(), local, control)
    return _ranks


def leave() -> None:
    """Disconnect from the other processes; to be called once at the end."""
    global _ranks
    if _ranks is not None:
        dist.destroy_process_group()
        _ranks = None


def share(ranks: Ranks, value: T) -> T:
    """The value that process 0 has, in every process; any object that pickles."""
    if ranks.world == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0, group=ranks.control)
    return holder[0]


def agree(ranks: Ranks, *numbers: float) -> list[float]:
    """The largest of each number over all processes (clocks, requests to stop), so that all take the same branch."""
    if ranks.world == 1:
        return list(numbers)
    summed = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(summed, dist.ReduceOp.MAX, group=ranks.control)
    return summed.tolist()


def total(ranks: Ranks, sums: Tensor) -> Tensor:
    """Sum of a tensor over all processes, on its device; gradients flow back to each process's share."""
    if ranks.world == 1:
        return sums
    return all_reduce(sums)


def gather(ranks: Ranks, mine: Sequence[T]) -> list[T]:
    """The complete list in every process, in order, from lists of which process r holds items r, r + world, ..."""
    if ranks.world == 1:
        return list(mine)
    parts: list[Any] = [None] * ranks.world
    dist.all_gather_object(parts, list(mine), group=ranks.control)
    longest = max(len(part) for part in parts)
    return [part[index] for index in range(longest) for part in parts if index < len(part)]


def wrap(ranks: Ranks, model: nn.Module) -> nn.Module:
    """Wrap a model so that gradients are averaged over all processes; on CUDA, batch norm uses the whole batch.

    PyTorch's synchronised batch norm has no CPU version: there each process normalises with its own share of the
    batch, and the running statistics of process 0 are kept.
    """
    if ranks.world == 1:
        return model
    device = next(model.parameters()).device
    if device.type == "cuda":
        synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return DistributedDataParallel(synchronised, device_ids=[device.index], gradient_as_bucket_view=True)
    return DistributedDataParallel(model)

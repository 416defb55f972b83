"""Kernel launches and bytes moved of every operation, counted from the code: what a GPU can be expected to take.

    python -m benchmarks.gpu.counting

Each operation runs on a pretended CUDA device, where tensors have shapes and no values. One operator of PyTorch that
makes or overwrites a tensor counts as one launch; views cost nothing. Bytes are each operator's inputs, read once, and
outputs, written once; caches can make it less, gathers that miss them more. The time is the bytes at the card's
bandwidth, and is a floor. A launch costs the processor some 5 microseconds: where launches take longer than bytes, the
GPU waits for the processor, and a larger batch costs nothing.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from benchmarks.gpu.parts import compose, operations, recipe
from torch import Tensor
from torch._decomp import decomposition_table
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from segexp.augment import Augmentation, clahe
from segexp.config import build
from segexp.losses import SegmentationLoss

BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12}  # bytes a second, by the datasheet
MATRIX_RATE = 990e12  # bf16 operations a second without sparsity, by the datasheet, of either
STEP = (32, 256)  # crops and their side
LAUNCH = 5e-6  # seconds of the processor for one operator in eager mode
WAITS = ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "masked_select", "unique", "to the CPU")
NO_LAUNCH = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "lift_fresh", "device")


class Count(TorchDispatchMode):
    """Launches, bytes, waits and the peak of memory of what runs under it on one type of device.

    Attributes:
        launches: operators that made or overwrote a tensor there.
        moved: bytes that they read and wrote.
        names: how often each operator ran; "to the CPU": copies back, each of which waits.
        bytes_by: bytes by operator.
        peak: most bytes held at once by tensors that were made meanwhile.
    """

    def __init__(self, device: str = "cuda") -> None:
        super().__init__()
        self.device, self.launches, self.moved, self.peak = device, 0, 0, 0
        self.names: Counter[str] = Counter()
        self.bytes_by: Counter[str] = Counter()
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.names[name] += 1
        given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        here = [tensor for tensor in (*given, *made) if tensor.device.type == self.device]
        if given and made:
            self.names["to the CPU"] += given[0].device.type == "cuda" and made[0].device.type == "cpu"
        if here and name not in NO_LAUNCH and not _is_view(func):
            written = made or [given[0]]  # in-place operators on lists return nothing
            moved = sum(_bytes(tensor) for tensor in (*given, *written) if tensor.device.type == self.device)
            if func._schema.name.endswith(("fill_", "zero_", "zeros", "ones", "full", "copy_")):
                moved -= _bytes(given[0]) if given else 0  # the target is not read
            self.launches += 1
            self.moved += moved
            self.bytes_by[name] += moved
        if not _is_view(func):  # of an input, say
            self._hold(made)
        return result

    def _hold(self, made: list[Tensor]) -> None:
        for tensor in made:
            if tensor.device.type == self.device:
                storage = tensor.untyped_storage()
                self._held[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._held = {key: entry for key, entry in self._held.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._held.values()))

    def waits(self) -> dict[str, int]:
        """How often the device was asked for a value, by operator."""
        return {name: self.names[name] for name in WAITS if self.names[name]}


def _is_view(func: Any) -> bool:
    aliases = [value.alias_info for value in func._schema.returns]
    return func.overloadpacket.__name__ == "_unsafe_view" or any(a is not None and not a.is_write for a in aliases)


def _bytes(tensor: Tensor) -> int:
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())  # less where it is expanded


@contextmanager
def pretended_cuda() -> Iterator[torch.device]:
    """Tensors on "cuda" that have shapes and no values, on any machine: any wait for a value raises.

    Fake ``grid_sample`` runs a decomposition that indexes with Python slices, which a CPU build of torch refuses for
    CUDA tensors; only its shape is expected here.
    """

    def sampled_shape(images: Tensor, grid: Tensor, *_: Any) -> Tensor:
        return images.new_empty(images.shape[0], images.shape[1], grid.shape[1], grid.shape[2])

    table = {torch.ops.aten.grid_sampler_2d.default: sampled_shape}
    with mock.patch.dict(decomposition_table, table), FakeTensorMode():
        yield torch.device("cuda")


def counted(run: Callable[[Tensor, Tensor], object], batch: int, size: int, dtype: torch.dtype | None = None) -> Count:
    """`run` of pretended images (B, 1, S, S) and uint8 masks."""
    with pretended_cuda() as device:
        images = torch.empty(batch, 1, size, size, device=device, dtype=dtype)
        masks = torch.empty(batch, 1, size, size, device=device, dtype=torch.uint8)
        run(images, masks)  # the first call makes what is kept between calls
        with Count() as count:
            run(images, masks)
    return count


def step_count(model: str, batch: int, size: int) -> tuple[Count, float]:
    """A step of a bare network in eager bf16, on the device without values, and its floating-point operations."""
    network = build(compose(f"model={model}").model).to("meta").to(memory_format=torch.channels_last)
    loss_of = SegmentationLoss()
    images, targets = torch.empty(2, batch, 1, size, size, device="meta")
    images = images.contiguous(memory_format=torch.channels_last)
    with Count("meta") as count, FlopCounterMode(display=False) as flops:
        with torch.autocast("cpu", torch.bfloat16):  # autocast knows no meta; it casts meta tensors as the CPU's
            logits = network(images)
        loss_of(logits.float(), targets).backward()
    return count, flops.get_total_flops()


def table(batch: int, size: int) -> list[dict[str, Any]]:
    """One row an operation: launches, copies of the batch moved, peak copies, and expected milliseconds."""
    rows = []
    runs: dict[str, Callable[[Tensor, Tensor], object]] = {
        name: Augmentation([operation]) for name, operation in operations().items()
    }
    runs |= {f"CLAHE alone, {bins} levels": _clahe(bins) for bins in (256, 65536)}
    runs |= {f"recipe {name}": recipe(name) for name in ("vesicle", "cytoskeleton")}
    runs["bare pair of grid_sample"] = bare_pair
    for name, run in runs.items():
        count = counted(run, batch, size)
        copy = 4 * batch * size**2
        row = {"name": name, "launches": count.launches, "copies moved": count.moved / copy, "peak": count.peak / copy}
        row |= {card: 1e3 * count.moved / rate for card, rate in BANDWIDTH.items()}
        rows.append(row | {"waits": count.waits(), "by": count.bytes_by.most_common(6)})
    return rows


def _clahe(bins: int) -> Callable[[Tensor, Tensor], object]:
    return lambda images, masks: clahe(images, 2.0, (8, 8), bins)


def bare_pair(images: Tensor, masks: Tensor, grid: Tensor | None = None) -> None:
    """What a warp cannot do without: `grid_sample` of image and mask, at a map that is there already."""
    grid = images.new_empty(len(images), *images.shape[2:], 2) if grid is None else grid
    torch.nn.functional.grid_sample(images, grid, "bilinear", "reflection", False)
    torch.nn.functional.grid_sample(masks.float(), grid, "nearest", "reflection", False).to(masks.dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--operators", action="store_true", help="also the bytes by operator, in copies of the batch")
    options = parser.parse_args()
    rows = table(options.batch, options.size)
    print(f"{options.batch} x 1 x {options.size} x {options.size}, float32, masks uint8\n")
    print(
        "| operation | launches | copies of the batch moved | peak, copies | bytes on an H100 | on an H200 | launches |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        cards = " | ".join(f"{row[card]:.2f} ms" for card in BANDWIDTH)
        cells = f"{row['launches']} | {row['copies moved']:.1f} | {row['peak']:.1f} | {cards}"
        print(f"| {row['name']} | {cells} | {1e3 * LAUNCH * row['launches']:.2f} ms |")
        if options.operators:
            copy = 4 * options.batch * options.size**2
            print("   ", ", ".join(f"{name} {moved / copy:.1f}" for name, moved in row["by"]))
    print(f"\nA step of a bare network, {STEP[0]} crops of {STEP[1]}x{STEP[1]}, bf16\n")
    print("| model | operators | operations | GB | matrix units | bytes, H100 |")
    print("|---|---|---|---|---|---|")
    for model in ("unet", "unet_fast"):
        count, flops = step_count(model, *STEP)
        cells = (
            f"{count.launches} | {flops / 1e12:.2f} T | {count.moved / 1e9:.1f} | {1e3 * flops / MATRIX_RATE:.1f} ms"
        )
        print(f"| {model} | {cells} | {1e3 * count.moved / BANDWIDTH['H100']:.1f} ms |")


if __name__ == "__main__":
    main()

"""Time of a training step of every network in conf/model, as a ratio to `unet_small`.

    python benchmarks/models.py [--batch 8] [--size 256] [--rounds 5] [--threads 1] [model.widths=[8,16,32] ...]

A step is forward, loss, backward and optimiser step on a batch in memory. Each step of a candidate is timed between two
steps of the reference, and the ratio is computed within these three, so that other programs affect both equally. The
default is one thread, because threads that wait for each other spin, which would dominate the time on a busy machine.
Each Hydra override at the end of the command line is one more candidate: `unet_fast` with this change.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from segexp.config import build, conf_dir
from segexp.config.compose import compose_config
from segexp.device import autocast, choose_precision
from segexp.losses import SegmentationLoss
from segexp.training.prepare import to_targets

REFERENCE = "unet_small"


def network(*overrides: str) -> nn.Module:
    """Return the model of a configuration."""
    return build(compose_config(["task=vesicle", *overrides]).model)


def stepper(model: nn.Module, batch: int, size: int, precision: str) -> Callable[[], tuple[float, float]]:
    """Return a function that takes one training step and returns its wall-clock and processor time in seconds."""
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    loss_function = SegmentationLoss()
    images = torch.randn(batch, 1, size, size).contiguous(memory_format=torch.channels_last)
    targets = to_targets((torch.rand(batch, 1, size, size) > 0.8).to(torch.uint8), 1)

    def step() -> tuple[float, float]:
        start, used = time.perf_counter(), time.process_time()
        with autocast(images.device, precision):
            logits = model(images)
        loss = loss_function(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return time.perf_counter() - start, time.process_time() - used

    step()  # the first step allocates memory and compiles kernels
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("changes", nargs="*", help="overrides of unet_fast, each of them a further candidate")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    precision, reason = choose_precision("auto", torch.device("cpu"))
    print(
        f"{options.threads} threads, {precision} ({reason}), batches of {options.batch}x1x{options.size}x{options.size}"
    )
    names = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
    candidates = {name: (f"model={name}",) for name in names}
    candidates |= {change: ("model=unet_fast", change) for change in options.changes}
    reference = stepper(network(*candidates[REFERENCE]), options.batch, options.size, precision)
    print(f"{'model':28s} weights  step of {REFERENCE}   own   wall ratio   processor ratio (each a median)")
    for name, overrides in candidates.items():
        model = network(*overrides)
        weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        candidate = stepper(model, options.batch, options.size, precision)
        rounds = [(reference(), candidate(), reference()) for _ in range(options.rounds)]
        wall, processor = (
            statistics.median(2 * own[kind] / (before[kind] + after[kind]) for before, own, after in rounds)
            for kind in (0, 1)
        )
        standard = statistics.median(before[0] for before, _, _ in rounds)
        own = statistics.median(own[0] for _, own, _ in rounds)
        print(
            f"{name:28s} {weights:5.2f} M  {standard:8.3f} s    {own:8.3f} s  {wall:7.2f}   {processor:10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Measures what `segexp.device.keep_freed_memory` saves: freed memory is kept between training steps on the CPU.

    python benchmarks/allocator.py [--rounds 3] [--threads 2]

The setting applies to a whole process, so each measurement runs in its own process, in turn with and without the
setting. Each trains the default network on batches of 8 crops of 256x256. The script prints the median processor time
of a step, page faults and peak memory.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time


def measure(keep: bool, threads: int, steps: int) -> None:
    """Train some steps and print time, page faults and memory as JSON."""
    import torch

    from segexp.device import keep_freed_memory
    from segexp.models import UNet

    torch.set_num_threads(threads)
    if keep:
        assert keep_freed_memory(), "this C library has no such setting"
    torch.manual_seed(0)
    model = UNet(widths=[16, 32, 64, 128], shrink=2).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images = torch.randn(8, 1, 256, 256).contiguous(memory_format=torch.channels_last)
    targets = (torch.rand(8, 1, 256, 256) > 0.9).float()
    busy, wall = [], []
    for _ in range(steps + 3):
        tick = time.process_time(), time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(images), targets).backward()
        optimizer.step()
        busy.append(time.process_time() - tick[0])
        wall.append(time.perf_counter() - tick[1])
    used = resource.getrusage(resource.RUSAGE_SELF)
    facts = {"busy": statistics.median(busy[3:]), "wall": statistics.median(wall[3:])}
    print(json.dumps(facts | {"faults": used.ru_minflt, "peak MiB": used.ru_maxrss // 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument(
        "--keep",
        type=int,
        choices=(0, 1),
        help="run one measurement in this process, with (1) or without (0) the setting",
    )
    options = parser.parse_args()
    if options.keep is not None:
        measure(bool(options.keep), options.threads, options.steps)
        return
    found: dict[int, list[dict[str, float]]] = {0: [], 1: []}
    for _ in range(options.rounds):
        for keep in found:
            words = ["--keep", str(keep), "--threads", str(options.threads), "--steps", str(options.steps)]
            text = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True).stdout
            found[keep].append(json.loads(text))
            print("keep" if keep else "as it comes", text.strip(), flush=True)
    for name in ("busy", "wall", "peak MiB"):
        kept, usual = (statistics.median(each[name] for each in found[keep]) for keep in (1, 0))
        print(f"{name}: {kept:.4g} kept, {usual:.4g} as it comes, ratio {kept / usual:.3f}")


if __name__ == "__main__":
    main()

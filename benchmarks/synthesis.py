"""Milliseconds an image of `segexp.synthesis.generate`, both tasks, on one thread and on two.

    python benchmarks/synthesis.py [--size 512] [--count 40] [--repeats 3]

Each line gives the fastest and the median of the repeats over the same images, and the processor time of the fastest:
that hardly depends on what else the machine is doing. The goals: 25 ms on one thread, 20 ms on two.
"""

import argparse
import statistics
import time

import torch

from segexp import synthesis


def milliseconds(task: str, count: int, size: int) -> tuple[float, float]:
    """Give wall-clock and processor time an image."""
    start, used = time.perf_counter(), time.process_time()
    synthesis.generate(task, count, size, seed=0)
    return 1000.0 * (time.perf_counter() - start) / count, 1000.0 * (time.process_time() - used) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for task in synthesis.TASKS:
        fastest = {}
        for threads in (1, 2):
            torch.set_num_threads(threads)
            synthesis.generate(task, 3, options.size, seed=1)
            times = [milliseconds(task, options.count, options.size) for _ in range(options.repeats)]
            fastest[threads], processor = min(times)
            median = statistics.median(wall for wall, _ in times)
            print(
                f"{task:13s} {threads} thread(s): {fastest[threads]:6.1f} ms an image (median {median:.1f}, "
                f"processor {processor:.1f})",
                flush=True,
            )
        print(f"{task:13s} two threads against one: {fastest[1] / fastest[2]:.2f} times as fast")


if __name__ == "__main__":
    main()

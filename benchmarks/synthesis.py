"""Measures the time for 1,000 generated images of 512x512, both tasks, on one and two threads, and that of a reference.

    python benchmarks/synthesis.py [--size 512] [--count 40] [--rounds 5]

Rounds of all candidates are interleaved, so that other programs on the machine affect all equally. The script prints
the median wall-clock and processor seconds for 1,000 images (computed from `--count`), and the median over rounds of
the ratio to the reference: a Gaussian blur of sigma 1.4 px of the same number of images of that size by OpenCV on one
thread. The goal is 20 s.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from segexp import synthesis

Times = list[tuple[float, float]]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall-clock and processor seconds."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def blurred(count: int, size: int) -> None:
    image = np.ones((size, size), np.float32)
    for _ in range(count):
        cv2.GaussianBlur(image, (0, 0), 1.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    candidates: dict[tuple[str, int], Times] = {(t, n): [] for t in synthesis.TASKS for n in (1, 2)}
    reference: Times = []
    for task, threads in candidates:
        synthesis.render(task, range(3), options.size, seed=1, threads=threads)
    for turn in range(options.rounds):
        reference.append(timed(lambda: blurred(options.count, options.size)))
        numbers = range(turn * options.count, (turn + 1) * options.count)
        for (task, threads), times in candidates.items():

            def work(task: str = task, threads: int = threads, numbers: range = numbers) -> None:
                synthesis.render(task, numbers, options.size, seed=0, threads=threads)

            times.append(timed(work))
    scale = 1000.0 / options.count
    for (task, threads), times in candidates.items():
        wall, used = (scale * statistics.median(t[k] for t in times) for k in (0, 1))
        ratio = statistics.median(t[1] / r[1] for t, r in zip(times, reference, strict=True))
        print(
            f"{task:13s} {threads} thread(s): {wall:6.1f} s for 1,000 images, processor {used:6.1f}, {ratio:5.1f} blurs"
        )
    print(f"reference: {scale * statistics.median(r[1] for r in reference):.2f} processor seconds for 1,000 blurs")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s) outside the pool")


if __name__ == "__main__":
    main()

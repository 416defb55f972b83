"""The number of processors available to this process."""

import math
import os

import torch

from segexp.io.memory import groups


def cores() -> int:
    """Number of processors that this process may use, or fewer if a control group limits their time.

    A container that was started with ``--cpus=2`` sees every processor of its host; more than two threads would be
    throttled repeatedly, each while the others wait for it.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder, second in groups("cpu"):
        names = ("cpu.max",) if second else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        try:
            quota, period = (int(part) for name in names for part in (folder / name).read_text().split())
        except (OSError, ValueError):  # no such group here, or one without a limit
            continue
        if quota > 0 and period > 0:
            count = min(count, math.ceil(quota / period))
    return max(1, count)


def limit_threads() -> None:
    """Limit PyTorch to `cores` threads, unless OMP_NUM_THREADS sets their number."""
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(min(torch.get_num_threads(), cores()))

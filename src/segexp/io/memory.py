"""How much memory there is."""

import os
from pathlib import Path


def free_memory() -> int:
    """Bytes of memory that are free now, as far as the system tells; 4 GiB where it does not."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            facts = dict(line.split(":", 1) for line in file)
        free = int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return _free_pages()
    try:  # a container may be allowed less than the machine has
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def peak_memory() -> int:
    """Bytes that this process has held resident at most; 0 where the system does not tell.

    Not `ru_maxrss`, which on Linux starts at the peak of the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, ValueError, StopIteration):
        return 0


def _free_pages() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30

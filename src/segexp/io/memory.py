"""How much memory there is."""

from pathlib import Path

import psutil

_CONTAINER = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes of memory that can be taken now: what the system has left, or less where a container's limit is nearer."""
    free = psutil.virtual_memory().available
    try:
        limit, used = (int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no container, or one without a limit
        return free
    return min(free, limit - used)

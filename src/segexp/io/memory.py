"""The memory available to this process."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

_CONTAINER = Path("/sys/fs/cgroup")
_GROUPS = Path("/proc/self/cgroup")
_FILES = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")
"""Files with limit and usage of a control group: version 1, version 2."""


def free_memory() -> int:
    """Bytes of free memory: those of the system, or fewer if a control group has a lower limit.

    Limits are those of the control group (container, batch job) that this process is in, and of all groups around it.
    """
    free = psutil.virtual_memory().available
    for folder, second in groups("memory"):
        try:
            limit, used = (int((folder / name).read_text()) for name in _FILES[second])
        except (OSError, ValueError):  # no such group here, or one without a limit
            continue
        free = min(free, limit - used + _cached(folder))
    return max(free, 0)


def _cached(folder: Path) -> int:
    """Bytes that a group uses to cache files, which the kernel reclaims when needed."""
    try:
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(facts.get("total_inactive_file", facts.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0


def groups(controller: str) -> Iterator[tuple[Path, bool]]:
    """Folders of the groups that this process is in, innermost first, and whether they are of version 2.

    `controller` is what the groups limit: ``memory``, ``cpu``. A container may see its own group as the root, whatever
    the path in ``/proc``.
    """
    paths = {"": "/"}
    try:
        lines = _GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:  # 0::/path in version 2, number:controllers:/path in version 1
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths[""] = path
        elif controller in controllers.split(","):
            paths[controller] = path
    for hierarchy, path in paths.items():
        inner = PurePosixPath(path.lstrip("/"))
        for group in (inner, *inner.parents):
            yield _CONTAINER / hierarchy / group, not hierarchy

"""The peak memory of a process."""


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes, or 0 if the system does not report it.

    `ru_maxrss` is not used: on Linux it starts at the peak of the parent process.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, ValueError, StopIteration):
        return 0

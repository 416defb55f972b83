"""The most memory that a process has held."""


def peak_memory() -> int:
    """Bytes that this process has held resident at most; 0 where the system does not tell.

    Not `ru_maxrss`, which on Linux starts at the peak of the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, ValueError, StopIteration):
        return 0

"""Choose the device and the precision of a run by name; each choice comes with a reason that can be printed."""

import contextlib
import ctypes
import os
import sys
from contextlib import AbstractContextManager

import torch

from segexp.errors import InputError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 256 * 2**20
"""Largest block of freed memory that is kept, in bytes."""
KEPT_BY_OLDER = 32 * 2**20  # the most that glibc before 2.35 takes
PRECISIONS = ("auto", "bf16", "fp16", "tf32", "fp32")


def choose_device(name: str) -> tuple[torch.device, str]:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device and the reason for it.

    ``auto`` is CUDA if available, else the CPU. A device given by name that does not exist raises `InputError`.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), torch.cuda.get_device_name()
        return torch.device("cpu"), f"no CUDA device here; {torch.get_num_threads()} threads"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise InputError(f"trainer.device={name}: expected auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or (device.index or 0) >= count:
            available = f"{count} CUDA device(s)" if count else "no CUDA device"
            raise InputError(
                f"trainer.device={name}: PyTorch {torch.__version__} finds {available} here; use cpu or auto"
            )
        return device, torch.cuda.get_device_name(device)
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise InputError("trainer.device=mps: PyTorch finds no Metal device here; use cpu or auto")
        return device, "Apple Metal"
    if device.type != "cpu":
        raise InputError(f"trainer.device={name}: expected auto, cpu, cuda or cuda:0")
    return device, f"{torch.get_num_threads()} threads"


def choose_precision(name: str, device: torch.device) -> tuple[str, str]:
    """Turn ``auto`` or another of the `PRECISIONS` into a precision and the reason for it.

    ``auto`` takes bf16 where the hardware multiplies in it: NVIDIA from Ampere on, CPUs with AVX512-bf16 or AMX.
    Elsewhere bf16 is emulated and slower than float32; a GPU without it takes fp16. ``tf32`` is float32 whose products
    keep 10 bits, on NVIDIA from Ampere on.

    Raises:
        InputError: if it is none of them.
    """
    if name not in PRECISIONS:
        raise InputError(f"trainer.precision={name}: expected one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return name, "as asked"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the hardware has it"
        return "fp16", "no bf16 in this hardware"
    fast = device.type == "cpu" and _cpu_multiplies_bf16()
    return ("bf16", "the hardware has it") if fast else ("fp32", "no bf16 in this hardware")


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context of a forward pass in `precision`; TF32 is not part of it, see `set_arithmetic`."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype) if dtype is not None else contextlib.nullcontext()


def set_arithmetic(precision: str, deterministic: bool) -> None:
    """Set PyTorch's global options: TF32 for all but ``fp32``, and whether only deterministic kernels may run.

    Nondeterministic kernels then raise an error (``torch.use_deterministic_algorithms``). cuBLAS reads its setting
    when it starts, so call this before the first work on a GPU.
    """
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cudnn.benchmark = not deterministic  # crops have one size: the fastest kernels are worth finding
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next allocation; returns whether it can.

    A training step on the CPU allocates hundreds of MB, frees them and allocates them again at the next step. By
    default, glibc returns large blocks to the system each time, which then clears every page of them again: up to a
    quarter of a step's CPU time (``benchmarks/allocator.py``). Blocks above `KEPT` bytes are returned as before. No
    other C library has these settings; PyTorch's tuning guide recommends another allocator for the same reason.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    kept = mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, KEPT_BY_OLDER)
    return bool(kept) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception of PyTorch, on a GPU or on the CPU, or of NumPy says that memory ran out.

    PyTorch has `torch.OutOfMemoryError` for GPUs only; the CPU allocator and some libraries of CUDA raise a plain
    `RuntimeError` that only its text identifies.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error)
    told = any(part in words for part in ("DefaultCPUAllocator", "can't allocate memory", "out of memory"))
    return isinstance(error, RuntimeError) and told


def _cpu_multiplies_bf16() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # before PyTorch 2.10
        return torch.cpu._is_avx512_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))

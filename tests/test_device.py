"""What counts as memory that ran out, wherever the error comes from; what the C library does with freed memory."""

import ctypes
import platform

import numpy as np
import pytest
import torch

from segexp import device
from segexp.device import KEPT, KEPT_BY_OLDER, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, keep_freed_memory, out_of_memory
from tests.processes import command


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_errors_of_memory_are_recognised(error):
    assert out_of_memory(error)


def test_what_pytorch_and_numpy_raise_is_recognised():
    with pytest.raises(RuntimeError) as torch_error:
        torch.empty(2**60)
    with pytest.raises(MemoryError) as numpy_error:
        np.empty(2**58)
    assert out_of_memory(torch_error.value)
    assert out_of_memory(numpy_error.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError("out of memory"), ValueError("7")])
def test_other_errors_are_not(error):
    assert not out_of_memory(error)


PAGE_FAULTS = """
import resource
import torch
from segexp.device import keep_freed_memory

def page_faults():  # of eight tensors of 48 MB, one after another; pieces of up to 32 MiB glibc keeps by itself
    for count in (16, 8):  # the first ones may each come from another place of the heap
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(count):
            torch.zeros(12_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
print(page_faults(), keep_freed_memory(), page_faults())
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or tuple(map(int, platform.libc_ver()[1].split("."))) < (2, 35),
    reason="other C libraries do not have these settings, and older ones take 32 MiB at most",
)
def test_freed_memory_is_kept_for_the_next_request():
    """In a process of its own: the setting cannot be taken back, and runs in this one may have made it."""
    usual, answer, fewer = command("--version", before=PAGE_FAULTS).stdout.splitlines()[0].split()
    assert answer == "True"
    assert int(fewer) < int(usual) / 20


@pytest.mark.parametrize("older", [False, True])
def test_an_older_c_library_keeps_what_it_takes(monkeypatch, older):
    calls = []

    class Library:
        @staticmethod
        def mallopt(setting, value):
            calls.append((setting, value))
            return int(not older or setting == M_TRIM_THRESHOLD or value <= 32 * 2**20)

    monkeypatch.setattr(device.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library)
    assert keep_freed_memory() is True
    tried = [KEPT, KEPT_BY_OLDER] if older else [KEPT]
    assert calls == [*((M_MMAP_THRESHOLD, size) for size in tried), (M_TRIM_THRESHOLD, 2**31 - 1)]

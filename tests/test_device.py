"""What counts as memory that ran out, wherever the error comes from."""

import numpy as np
import pytest
import torch

from segexp.device import out_of_memory


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

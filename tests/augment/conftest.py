"""A pretended CUDA device, for machines without one."""

from contextlib import contextmanager

import pytest
import torch
from torch._decomp import decomposition_table
from torch._subclasses.fake_tensor import FakeTensorMode


@pytest.fixture
def fake_cuda(monkeypatch):
    """A context in which ``device="cuda"`` tensors have shapes and no values: any wait for a value raises.

    Fake ``grid_sample`` runs a decomposition that indexes with Python slices, which a CPU build of torch refuses for
    CUDA tensors; only its shape is expected here.
    """

    def sampled_shape(images, grid, *_):
        return images.new_empty(images.shape[0], images.shape[1], grid.shape[1], grid.shape[2])

    monkeypatch.setitem(decomposition_table, torch.ops.aten.grid_sampler_2d.default, sampled_shape)

    @contextmanager
    def context():
        with FakeTensorMode():
            yield torch.device("cuda")

    return context

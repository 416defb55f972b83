"""Settings of the whole test suite."""

import os
import tempfile
from contextlib import contextmanager

import pytest
import torch
from hypothesis import settings
from torch._decomp import decomposition_table
from torch._subclasses.fake_tensor import FakeTensorMode

# what the tests remember of their data is theirs: never the user's cache, and gone with them
_cache = tempfile.TemporaryDirectory(prefix="segexp-cache-")
os.environ["SEGEXP_CACHE"] = _cache.name

# a thread each: tests run beside each other and their tensors are small; set before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

# time limits on single examples fail on shared machines and say nothing about the code
settings.register_profile("segexp", deadline=None)
settings.load_profile("segexp")


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


@pytest.fixture(autouse=True)
def registry_as_it_was():
    """Scores of a lab's own, which a test or a command that it runs in this process adds, are taken out again."""
    from segexp.metrics.registry import _KNOWN, ALONE, SCORES

    places = (SCORES, ALONE, _KNOWN)
    before = [dict(place) for place in places]
    yield
    for place, content in zip(places, before, strict=True):
        if place != content:
            place.clear()
            place.update(content)

"""Training on devices without values."""

import sys

import pytest
import torch


@pytest.fixture
def no_fused_kernel(monkeypatch):
    """The fused optimiser has no kernel for meta, and refuses it: there it does nothing."""
    adam = sys.modules["torch.optim.adam"]  # the attribute of torch.optim is hidden by its class
    check, kernel = adam._device_dtype_check_for_fused, torch._fused_adamw_

    def run(weights, *arguments, **named):
        return None if weights[0].is_meta else kernel(weights, *arguments, **named)

    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda weight, *_: weight.is_meta or check(weight))
    monkeypatch.setattr(torch, "_fused_adamw_", run)

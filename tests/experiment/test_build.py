"""Parts of a run that are computed from its settings."""

import pytest
import torch

from segexp.experiment.build import size_for_batch_norm, total_steps
from segexp.models import UNet


def test_the_smaller_limit_counts():
    assert total_steps(None, None, 10) is None
    assert total_steps(5, None, 10) == 5
    assert total_steps(None, 3, 10) == 30
    assert total_steps(50, 3, 10) == 30


@pytest.mark.parametrize(
    ("batch", "micro", "size", "wanted"),
    [(1, None, 4, 8), (2, 1, 4, 8), (3, 2, 4, 8), (2, None, 4, 4), (4, 2, 4, 4), (1, None, 8, 8), (1, 5, 4, 8)],
)
def test_crops_grow_only_where_a_batch_norm_would_see_one_value(batch, micro, size, wanted):
    model = UNet(1, 1, widths=(2, 4, 8))
    assert model.multiple == 4
    assert size_for_batch_norm(model, size, batch, micro) == wanted
    assert size_for_batch_norm(UNet(1, 1, widths=(2, 4, 8), norm="group"), size, batch, micro) == size
    model(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        model(torch.zeros(1, 1, 4, 4))

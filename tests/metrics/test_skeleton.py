"""clDice on lines whose skeletons are known."""

import numpy as np
import pytest

from segexp.metrics import cldice


def line(row, start=2, stop=38, width=1):
    mask = np.zeros((30, 40), bool)
    mask[row - width // 2 : row + width // 2 + 1, start:stop] = True
    return mask


def test_known_cases():
    assert cldice(line(10), line(10)) == 1
    assert cldice(line(10), line(20)) == 0
    assert cldice(line(10, width=5), line(10)) == pytest.approx(1, abs=0.1)
    # half of the line found: precision 1, recall 18/36
    assert cldice(line(10, 2, 20), line(10)) == pytest.approx(2 / 3, abs=0.01)


def test_empty_masks():
    empty = np.zeros((5, 5), bool)
    assert cldice(empty, empty) == 1
    assert cldice(empty, np.ones((5, 5), bool)) == 0
    assert cldice(np.ones((5, 5), bool), empty) == 0

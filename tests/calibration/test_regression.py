"""Reading parameters off looks, and knowing which cannot be."""

import numpy as np

from segexp.calibration import regression
from segexp.calibration.regression import regress


def test_a_smooth_function_is_read_off_and_chance_is_known_for_what_it_is():
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-1, 1, (300, 3))
    outputs = np.stack([np.sin(2 * inputs[:, 0]) + inputs[:, 1], rng.uniform(size=300)], 1)
    asked = rng.uniform(-0.8, 0.8, (50, 3))
    read, error, explained = regress(inputs, outputs, asked)
    wanted = np.sin(2 * asked[:, 0]) + asked[:, 1]
    assert np.sqrt(((read[:, 0] - wanted) ** 2).mean()) < 0.05
    assert explained[0] > 0.99
    assert explained[1] < 0.1
    assert 0.2 < error[1] < 0.4


def test_the_error_is_that_of_leaving_each_one_out(monkeypatch):
    monkeypatch.setattr(regression, "RIDGES", (0.1,))
    monkeypatch.setattr(regression, "WIDTHS", (1.0,))
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(25, 2))
    outputs = inputs[:, :1] ** 2
    outputs -= outputs.mean(0)  # no centre to fit anew without the one left out
    _, error, _ = regress(inputs, outputs, inputs[:1])
    squares = ((inputs[:, None] - inputs[None]) ** 2).sum(2)
    kernel = np.exp(-squares / (2 * np.median(squares[np.triu_indices(25, 1)])))
    rest = []
    for k in range(25):
        others = np.arange(25) != k
        weights = np.linalg.solve(kernel[np.ix_(others, others)] + 0.1 * np.eye(24), outputs[others, 0])
        rest.append(outputs[k, 0] - kernel[k, others] @ weights)
    np.testing.assert_allclose(error[0], np.sqrt(np.mean(np.square(rest))), rtol=1e-6)

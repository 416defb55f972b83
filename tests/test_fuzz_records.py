"""A few hundred damaged records end in a message or a sound result; `tests.fuzz_records` runs for longer."""

import numpy as np
import pytest

from segexp.errors import InputError
from tests import fuzz_records


def test_damaged_records_never_surprise(tmp_path):
    outcomes = fuzz_records.run(tmp_path, seed=3, count=420, seconds=20)
    assert sum(outcomes.values()) > 100
    refused = {name.rpartition(":")[0] for name in outcomes if name.endswith("refused")}
    assert {"run run.json", "run val/evaluation.json", "model", "ranges.yaml", "sweep summary.csv"} <= refused


def test_the_fuzzer_notices_what_it_should(tmp_path):
    """Another exception, and a message without the file."""

    def raising(error):
        def read(path):
            raise error

        return read

    for error in (KeyError("x"), InputError("x"), InputError(f"{tmp_path}/a.json " + "x" * 3000)):
        with pytest.raises((KeyError, AssertionError)):
            fuzz_records.attempt(tmp_path / "a.json", raising(error))
    assert not fuzz_records.attempt(tmp_path / "a.json", raising(InputError(f"{tmp_path}/a.json: x")))


def test_mutants_differ_and_follow_from_the_seed(tmp_path):
    path, data = tmp_path / "a.json", b'{"a": [1, {"b": 2}], "c": "text"}'

    def mutants():
        rng = np.random.default_rng(1)
        for _ in range(40):
            fuzz_records.mutate(path, data, rng)
            yield path.read_bytes()

    first, again = list(mutants()), list(mutants())
    assert first == again
    assert len(set(first)) > 20

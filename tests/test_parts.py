"""Parts of a run that are computed from its settings."""

from segexp.parts import total_steps


def test_the_smaller_limit_counts():
    assert total_steps(None, None, 10) is None
    assert total_steps(5, None, 10) == 5
    assert total_steps(None, 3, 10) == 30
    assert total_steps(50, 3, 10) == 30

"""Settings of a sweep against the best of them."""

import io

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from segexp.evaluation.comparison import Candidate, read_run
from segexp.evaluation.ranking import holm, rank
from segexp.evaluation.tables import print_ranking
from tests.evaluation.test_comparison import BASE, write_run


def settings(tmp_path, *scores):
    return [Candidate([read_run(write_run(tmp_path / str(k), dice))], f"lr={k}") for k, dice in enumerate(scores)]


def test_the_best_comes_first_and_the_others_are_worse_or_level(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 0.02, 12) for _ in range(2)]
    result = rank(settings(tmp_path, BASE - 0.1 + noise[0], BASE, BASE - 0.002 + noise[1]))
    assert result["best"] == 1
    assert [row["name"] for row in result["rows"]] == ["lr=1", "lr=2", "lr=0"]
    assert [row.get("verdict") for row in result["rows"]] == [None, "within noise", "worse"]
    assert result["rows"][2]["difference"] == pytest.approx(-0.1 + noise[0].mean())
    out = io.StringIO()
    print_ranking(result, Console(file=out, width=140, highlight=False))
    text = out.getvalue()
    assert "significantly worse than the best: lr=0" in text
    assert "cannot be told from the best: lr=2" in text
    assert text.splitlines()[1].split() == [f"{BASE.mean():.4f}", "best", "lr=1"]
    assert text.splitlines()[3].split()[-2:] == ["worse", "lr=0"]
    assert "1 runs and 12 images each" in text


def test_control_characters_of_settings_are_spelt_out_on_a_terminal(tmp_path):
    both = settings(tmp_path, BASE, BASE - 0.1)
    result = rank([Candidate(each.runs, f"{each.name}\x1b[2J") for each in both])
    out = io.StringIO()
    print_ranking(result, Console(file=out, width=140, force_terminal=True, color_system=None))
    assert "\x1b[2J" not in out.getvalue()
    assert "lr=0\\x1b[2J" in out.getvalue()


def test_many_comparisons_are_reckoned_with(tmp_path):
    """A difference whose p is 0.02 alone is noise among eight such."""
    gaps = np.array([1, 1, 1, 1, 1, 1, 1, -0.35, -0.3, -0.4]) * 0.01
    scores = [BASE[:10] - gaps for _ in range(8)]
    alone = rank(settings(tmp_path / "few", BASE[:10], scores[0]))
    assert 0.005 < alone["rows"][1]["p"] < 0.05
    assert alone["rows"][1]["verdict"] == "worse"
    together = rank(settings(tmp_path / "many", BASE[:10], *scores))
    assert together["best"] == 0
    assert [row["verdict"] for row in together["rows"][1:]] == ["within noise"] * 8


def test_a_setting_with_fewer_images_is_not_the_best(tmp_path):
    assert rank(settings(tmp_path, BASE, BASE[6:]))["best"] == 0


def test_holm():
    values = [0.01, 0.04, 0.03, 0.005]
    assert holm(values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    # the first step is Bonferroni's, and no correction makes anything smaller
    draws = stats.uniform.rvs(size=20, random_state=0)
    assert min(holm(draws)) == pytest.approx(min(1, 20 * min(draws)))
    assert all(np.array(holm(draws)) >= draws)

"""The lines that sum up repeats with several seeds."""

from segexp.sweep.summary import seed_lines


def row(score, **settings):
    return {"job": 0, "status": "done", "score": score, "seconds": 1.0, "folder": "0", **settings}


def test_repeats_are_summed_up_by_setting():
    rows = [row(0.7 + 0.1 * s + lr, seed=str(s), lr=str(lr), task="vesicle") for lr in (0.0, 0.05) for s in (0, 1)]
    assert seed_lines(rows) == [
        "lr=0.0: 0.7500 ± 0.0707 (mean and standard deviation over seeds 0, 1)",
        "lr=0.05: 0.8000 ± 0.0707 (mean and standard deviation over seeds 0, 1)",
    ]


def test_failed_jobs_and_single_runs_are_left_out():
    assert seed_lines([row(0.7, seed="0"), row("", seed="1"), row(float("nan"), seed="2")]) == []
    assert seed_lines([row(0.7, lr="1"), row(0.8, lr="2")]) == []

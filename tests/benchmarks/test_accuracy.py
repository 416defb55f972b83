"""The bench of recipes: its table, and that it goes on where it was."""

import json

import pytest
from benchmarks import accuracy

IMAGES = [f"{number:02d}" for number in range(12)]


def result(out, recipe, order, dice, seed=0, name="nuclei", f1=0.5):
    folder = out / name / accuracy.title(recipe) / f"seed{seed}"
    folder.mkdir(parents=True)
    rows = [{"image": image, "dice": str(dice(n)), "object_f1": str(f1)} for n, image in enumerate(IMAGES)]
    facts = {
        "recipe": recipe,
        "order": order,
        "task": "vesicle",
        "seed": seed,
        "limit": 300,
        "steps": 100,
        "rows": rows,
    }
    (folder / "result.json").write_text(json.dumps(facts))
    return folder


def test_the_table_says_on_how_many_sets_a_recipe_is_better(tmp_path):
    for seed in (0, 1):
        result(tmp_path, "usual=", 0, lambda n: 0.80 + 0.01 * n, seed)
        result(tmp_path, "new=trainer.lr=0.01", 1, lambda n: 0.83 + 0.01 * n + 0.001 * (n % 3), seed)
        result(tmp_path, "monai", 2, lambda n: 0.75 + 0.01 * n, seed)
    result(tmp_path, "usual=", 0, lambda n: 0.80, name="generated/vesicle")
    result(tmp_path, "new=trainer.lr=0.01", 1, lambda n: 0.80 + 0.02 * (-1) ** n, name="generated/vesicle")
    lines = accuracy.table(tmp_path).splitlines()
    (line,) = [line for line in lines if line.startswith("nuclei") and " dice " in line and " new " in line]
    assert "0.886  2 seeds, 100 steps" in line
    assert "better: +0.031" in line
    assert "new against usual, dice, 2 sets: better on 1, within noise on 1, worse on 0" in lines
    assert "monai against usual, dice, 1 sets: better on 0, within noise on 0, worse on 1" in lines
    assert "new against usual, object_f1, 2 sets: better on 0, within noise on 2, worse on 0" in lines


def test_an_undefined_score_counts_nowhere(tmp_path):
    result(tmp_path, "usual=", 0, lambda n: 0.5, f1="nan")
    result(tmp_path, "new=", 1, lambda n: 0.5 if n else "nan")
    assert accuracy.values([json.loads(next(tmp_path.rglob("new/*/result.json")).read_text())], "dice").keys() == {
        *IMAGES[1:]
    }
    assert "nan" in accuracy.table(tmp_path)


def test_a_job_that_is_done_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "run", lambda *_: pytest.fail("it was run"))
    folder = result(tmp_path, "usual=", 0, lambda n: 0.5)
    accuracy.job("usual=", 0, "vesicle", tmp_path, 0, 300, folder)


def test_a_job_gives_its_overrides_and_its_limit_to_the_training(tmp_path, monkeypatch):
    seen = []

    def run(command, log):
        seen.append(command)
        folder = tmp_path / "job"
        (folder / "run").mkdir(exist_ok=True, parents=True)
        (folder / "run" / "metrics.csv").write_text("step\n7\n")
        (folder / "scored").mkdir(exist_ok=True)
        (folder / "scored" / "scores.csv").write_text("image,dice,object_f1\na,0.5,0.25\n")
        return {"seconds": 1.0}

    monkeypatch.setattr(accuracy, "run", run)
    overrides = "trainer.lr=0.01,model.widths=[8,16],loss=dice"
    accuracy.job(f"new={overrides}", 0, "vesicle", tmp_path, 3, 95, tmp_path / "job")
    training, scoring = seen
    assert {"trainer.max_time=00:01:35", "seed=3", "trainer.lr=0.01", "model.widths=[8,16]", "loss=dice"} <= {*training}
    assert scoring[scoring.index("--threshold") + 1] == "0.5"
    written = json.loads((tmp_path / "job" / "result.json").read_text())
    assert written["steps"] == 7
    assert written["rows"] == [{"image": "a", "dice": "0.5", "object_f1": "0.25"}]


def test_a_limit_in_steps_is_given_to_ours_and_to_a_peer(tmp_path, monkeypatch):
    seen = []

    def run(command, log):
        seen.append(command)
        folder = log.parent
        (folder / "peer.json").write_text('{"steps": 30}')
        (folder / "scores.csv").write_text("image,dice,object_f1\na,0.5,0.25\n")
        if "train" in command:
            raise SystemExit("far enough")
        return {"seconds": 1.0}

    monkeypatch.setattr(accuracy, "run", run)
    with pytest.raises(SystemExit):
        accuracy.job("default=", 0, "vesicle", tmp_path, 0, 300, tmp_path / "ours", 600)
    accuracy.job("monai@30", 1, "vesicle", tmp_path, 0, 300, tmp_path / "theirs", 600)
    assert {"trainer.max_time=null", "trainer.steps=600"} <= {*seen[0]}
    assert seen[1][seen[1].index("--steps") + 1] == "30"
    assert "--seconds" not in seen[1]


def test_jobs_side_by_side_are_refused_where_the_clock_is_the_limit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["accuracy", "--out", str(tmp_path), "--jobs", "2"])
    with pytest.raises(SystemExit):
        accuracy.main()
    assert "--steps" in capsys.readouterr().err

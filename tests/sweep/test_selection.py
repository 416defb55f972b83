"""What ``predict`` and ``compare`` find in a sweep's folder."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from segexp.cli import app
from segexp.cli.reading import model_files
from segexp.errors import InputError
from segexp.pretrained import located
from segexp.sweep.folder import add_job
from segexp.sweep.job_store import DONE, FAILED, GIVEN_UP, Identity, Record
from segexp.sweep.selection import best_models, find_model, is_sweep, left_out, settings
from tests.evaluation.test_comparison import BASE, write_run
from tests.inference.test_predictor import write_model
from tests.sweep.test_table import job


def sweep_of(folder):
    """Two settings on two folds; the better one has a third fold that failed."""
    for number, (rate, fold, score) in enumerate([(1, 1, 0.5), (1, 2, 0.6), (2, 1, 0.8), (2, 2, 0.7)]):
        record = job(folder, number, f"lr={rate}", f"data.fold={fold}/2", score=score)
        (record.folder / "best_vesicle_model.pth").touch()
    job(folder, 4, "lr=2", "data.fold=1/2", "seed=1", status=FAILED)
    return folder


def test_the_models_of_the_best_setting(tmp_path):
    sweep, said = sweep_of(tmp_path / "s"), []
    assert [path.parent.name for path in best_models(sweep, said.append)] == ["2", "3"]
    assert said == [
        f"{sweep}: 1 of 5 jobs is left out: 1 failed",
        f"{sweep}: best of 2 settings is lr=2, 0.7500 over 2 folds: jobs 2, 3",
    ]
    assert find_model(sweep, said.append).parent.name == "2"
    assert said[2] == said[0]
    job(sweep, 5, "lr=3", status=GIVEN_UP, score=0.1)
    job(sweep, 6, "lr=3", status=DONE)
    assert left_out(sweep) == f"{sweep}: 3 of 7 jobs are left out: 1 failed, 1 pruned, 1 without a score"


def test_jobs_called_after_their_settings_may_have_a_slash_in_their_names(tmp_path):
    sweep = tmp_path / "s"
    for number, name in enumerate(["data.root=data/mine,seed=0", "data.root=data/mine,seed=1"]):
        folder = sweep / name
        add_job(sweep, folder)
        folder.mkdir(parents=True)
        words = ["data.root=data/mine", f"seed={number}"]
        Record(folder, number, words, Identity(name, "", "")).save(status=DONE, score=0.5 + number / 10)
        (folder / "best_vesicle_model.pth").touch()
    assert is_sweep(sweep)
    assert not is_sweep(sweep / "data.root=data" / "mine,seed=0")
    assert [path.parent.name for path in model_files([sweep])] == ["mine,seed=0", "mine,seed=1"]
    assert find_model(sweep).parent.name == "mine,seed=1"
    assert len(settings(sweep)) == 1


def test_runs_and_files(tmp_path):
    sweep = sweep_of(tmp_path / "s")
    file = sweep / "0" / "best_vesicle_model.pth"
    assert not is_sweep(sweep / "0")
    assert model_files([sweep / "0", file, tmp_path / "absent.pth"]) == [file, file, tmp_path / "absent.pth"]
    assert [path.parent.name for path in model_files([sweep])] == ["2", "3"]
    with pytest.raises(InputError, match=r"holds no best_<task>_model\.pth"):
        model_files([sweep / "4"])
    (sweep / "0" / "best_other_model.pth").touch()
    with pytest.raises(InputError, match=r"best_other_model\.pth, best_vesicle_model\.pth; expected a run with one"):
        model_files([sweep / "0"])


def test_a_name_is_of_a_shipped_model_where_no_run_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vesicle").mkdir()
    assert model_files([Path("vesicle")]) == [located("vesicle")]
    (tmp_path / "vesicle" / "best_x_model.pth").touch()
    assert model_files([Path("vesicle")]) == [Path("vesicle/best_x_model.pth")]


def test_files_and_runs_need_no_job_store(tmp_path):
    write_model(tmp_path / "run" / "best_vesicle_model.pth")
    tifffile.imwrite(tmp_path / "cell.tif", np.eye(40, dtype=np.uint16))
    code = (
        "import sys; from segexp.cli import main; sys.argv[1:] = "
        f"['predict', '--model', {str(tmp_path / 'run')!r}, '--input', {str(tmp_path / 'cell.tif')!r}, "
        f"'--output', {str(tmp_path / 'out')!r}]; main(); assert not [n for n in sys.modules if 'segexp.sweep' in n]"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_sweep_without_a_finished_job(tmp_path):
    job(tmp_path, 0, status=FAILED)
    with pytest.raises(InputError, match="no job of this sweep is finished"):
        settings(tmp_path)


def test_compare_takes_a_sweep(tmp_path):
    rng = np.random.default_rng(0)
    for number, (rate, shift) in enumerate([(1, 0.0), (1, 0.001), (2, 0.1), (2, 0.1)]):
        record = job(tmp_path / "s", number, f"lr={rate}", f"seed={number % 2}", score=0.5 + shift)
        kept = (record.folder / "job.json").read_text()
        (record.folder / "job.json").unlink()
        (record.folder / ".segexp.jsonl").unlink()
        record.folder.rmdir()
        write_run(record.folder, BASE + shift + rng.normal(0, 0.002, 12), seed=number % 2, settings={"lr": rate})
        (record.folder / "job.json").write_text(kept)
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "s"), "--output", str(tmp_path / "c.json")])
    assert result.exit_code == 0, result.output
    assert "significantly worse than the best: lr=1" in result.output
    assert "left out" not in result.output
    content = json.loads((tmp_path / "c.json").read_text())
    assert [(row["name"], row["runs"]) for row in content["rows"]] == [("lr=2", 2), ("lr=1", 2)]
    job(tmp_path / "s", 4, "lr=3", status=FAILED)
    assert "5 jobs is left out: 1 failed" in CliRunner().invoke(app, ["compare", str(tmp_path / "s")]).output
    twice = CliRunner().invoke(app, ["compare", str(tmp_path / "s"), str(tmp_path / "s")])
    assert "expected a single sweep" in str(twice.exception)


def test_predict_averages_the_best_setting_and_needs_no_hydra(tmp_path):
    sweep = sweep_of(tmp_path / "s")
    for name in "23":
        write_model(sweep / name / "best_vesicle_model.pth")
    tifffile.imwrite(tmp_path / "cell.tif", np.eye(40, dtype=np.uint16))
    code = (
        "import sys; from segexp.cli import main; sys.argv[1:] = "
        f"['predict', '--model', {str(sweep)!r}, '--input', {str(tmp_path / 'cell.tif')!r}, "
        f"'--output', {str(tmp_path / 'out')!r}]; main(); assert not {{'hydra', 'kornia'}} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "best of 2 settings is lr=2" in result.stdout
    assert (tmp_path / "out" / "cell_mask.png").is_file()

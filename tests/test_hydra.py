"""What Hydra's users type works on every command line that trains: flags that show settings, logging, folders."""

import csv
import logging
import re
import sys
from contextlib import contextmanager

import pytest
from omegaconf import OmegaConf

from segexp.config.typed import as_typed
from segexp.legacy_cli import train_with_flags
from segexp.sweep.summary import check_logging
from segexp.train import main
from tests.test_scripts import TINY, script

FOLDERS = [f"--{part}-{kind}-dir=absent" for part in ("train", "val") for kind in ("img", "mask")]


@contextmanager
def suppress_success():
    """Hydra ends some of its answers with exit code 0."""
    try:
        yield
    except SystemExit as ended:
        if ended.code:
            raise


@pytest.fixture
def shown(monkeypatch, capsys, caplog):
    """A function that runs a command line in this process and returns what it prints."""

    def show(command, *words):
        monkeypatch.setattr(sys, "argv", [command, *words])
        caplog.clear()
        root = logging.getLogger()
        before, level = list(root.handlers), root.level
        with suppress_success():
            train_with_flags("vesicle") if command == "train_vesicle_seg.py" else main(list(words))
        root.handlers[:], root.level = before, level  # Hydra's own write to a stream that pytest closes
        logging.getLogger("hydra").handlers.clear()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return printed.out + caplog.text  # Hydra logs some of its answers

    return show


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cfg", "job"], "epochs: 50"),
        (["--cfg", "hydra"], "launcher:"),
        (["--cfg", "all"], "launcher:"),
        (["--cfg", "job", "-p", "optimizer", "--resolve"], "lr: 0.001"),
        (["--cfg", "job", "--package", "task"], "name: vesicle"),
        (["--info", "defaults-tree"], "trainer: default"),
        (["--info", "defaults"], "trainer/default"),
        (["--info", "config"], "epochs: 50"),
        (["--info", "plugins"], "PoolLauncher"),
        (["--info", "searchpath"], "conf"),
        (["--info"], "PoolLauncher"),
        (["--hydra-help"], "hydra/launcher"),
    ],
)
def test_flags_that_show_settings(shown, flags, words):
    assert words in shown("segexp train", "task=vesicle", *flags)
    assert words in shown("segexp train", *flags, "-m", "trainer.lr=1e-3,3e-4", "task=vesicle")


@pytest.mark.parametrize(("flags", "words"), [("--cfg job -p task", "name: vesicle"), ("--info searchpath", "conf")])
def test_flags_of_the_older_scripts_need_no_folders(shown, flags, words):
    assert words in shown("train_vesicle_seg.py", *flags.split())
    assert words in shown("train_vesicle_seg.py", "-m", *FOLDERS, "trainer.lr=1e-3,3e-4", *flags.split())


def test_flags_beside_an_experiment(shown):
    for words in (["+experiment=vesicle_quick"], ["-m", "+experiment=vesicle_quick,vesicle_pretrained"]):
        assert "batch_size: 8" in shown("segexp train", *words, "--cfg", "job")
    assert "output_dir: here" in shown("train_vesicle_seg.py", *FOLDERS, "output_dir=here", "--cfg", "job")


def test_experiments_are_stacked_and_the_last_one_wins(shown):
    both = shown("segexp train", "experiment=[vesicle_pretrained,cytoskeleton_quick]", "--cfg", "job")
    assert "name: cytoskeleton" in both
    assert "steps: 3200" in both


@pytest.mark.parametrize("words", [["task=vesicle"], ["-m", "task=vesicle", "trainer.lr=1,2"]])
def test_resolve_alone_is_one_message(words):
    with pytest.raises(SystemExit, match=r"--resolve: only works together with --cfg job"):
        main([*words, "--resolve"])


def test_a_resume_in_a_file_is_refused(tmp_path):
    folder = tmp_path / "lab" / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "again.yaml").write_text("# @package _global_\ndefaults: [override /task: vesicle]\nresume: runs/x\n")
    words = ["experiment=again", "output_dir=run"]
    result = script("train.py", "--config-dir", folder.parent, *words, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "resume=runs/x: is set in a file" in result.stderr
    assert "python train.py resume=runs/x" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_sweep_resume_in_a_file_is_refused(tmp_path):
    folder = tmp_path / "lab" / "experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\ndefaults: [override /task: vesicle]\nsweep: {resume: runs/x}\n"
    (folder / "again.yaml").write_text(text)
    for words in (["experiment=again"], ["-m", "experiment=again", "trainer.lr=1e-3,3e-4"]):
        result = script("train.py", "--config-dir", folder.parent, *words, "output_dir=run", cwd=tmp_path)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert "sweep.resume=runs/x: is set in a file" in result.stderr
        assert "on the command line: sweep.resume=runs/x" in result.stderr
        assert not (tmp_path / "run").exists()


def test_logging_that_would_write_into_the_runs_record_is_refused():
    handlers = {"file": {"filename": "${hydra.job.name}.log"}, "console": {"class": "logging.StreamHandler"}}
    config = OmegaConf.create({"hydra": {"job": {"name": "train"}, "job_logging": {"handlers": handlers}}})
    with pytest.raises(SystemExit, match="expected hydra/job_logging=stdout"):
        check_logging(config)
    config.hydra.job_logging.handlers.file.filename = "other.log"
    check_logging(config)
    check_logging(OmegaConf.create({"hydra": {"job_logging": {"root": None}}}))


def test_verbose_shows_the_messages_of_libraries(tmp_path):
    words = ["task=vesicle", *TINY, "output_dir=run"]
    result = script("train.py", *words, "hydra.verbose=true", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^Lock \d+ acquired on ", result.stdout, re.MULTILINE)  # filelock's


def test_folders_of_jobs_by_their_overrides(tmp_path):
    words = ["-m", "task=vesicle", *TINY, "trainer.lr=1e-3,3e-4", "output_dir=sweep"]
    words += ["hydra.sweep.subdir=${hydra.job.override_dirname}", "hydra.launcher.jobs=2"]
    first = script("train.py", *words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr + first.stdout
    with (tmp_path / "sweep" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["trainer.lr"], row["status"]) for row in rows] == [("0.001", "done"), ("0.0003", "done")]
    for row in rows:
        assert f"trainer.lr={row['trainer.lr']}" in row["folder"]
        assert "output_dir" not in row["folder"]
        assert (tmp_path / "sweep" / row["folder"] / "summary.json").is_file()
    page = (tmp_path / "sweep" / "report.html").read_text(encoding="utf-8")
    assert "0.0003" in page
    again = script("train.py", *words, "sweep.resume=sweep", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("already done") == 2


def test_the_pattern_of_a_folder_stays_a_reference():
    word = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    assert as_typed([word])[0].replace("'", "") == word

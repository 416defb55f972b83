"""Settings of the whole command count wherever they are set, and jobs that disagree are refused."""

import re

import pytest

from segexp.config.ahead import glimpses, with_counts
from segexp.config.overrides import command_line
from segexp.errors import InputError


@pytest.fixture
def lab(tmp_path):
    folder = tmp_path / "conf"
    (folder / "experiment").mkdir(parents=True)
    hydra = {
        "two": ("", "hydra: {launcher: {jobs: 2}}"),
        "basic": (", override /hydra/launcher: basic", ""),
        "search": (", override /hydra/sweeper: optuna", ""),
        "rates": ("", "hydra: {mode: MULTIRUN, sweeper: {params: {trainer.lr: '1e-3,3e-4'}}}"),
    }
    for name, (override, section) in hydra.items():
        text = f"# @package _global_\ndefaults: [override /task: vesicle{override}]\n{section}\n"
        (folder / "experiment" / f"{name}.yaml").write_text(text)
    for name, trainer in {"plain": "{}", "repeats": "{seeds: 3}", "wide": "{devices: 4}"}.items():
        text = f"# @package _global_\ndefaults: [override /task: vesicle]\ntrainer: {trainer}\n"
        (folder / "experiment" / f"{name}.yaml").write_text(text)
    return f"--config-dir={folder}"


def counted(*words):
    return with_counts(command_line(list(words)))


def test_seeds_of_a_file_are_a_sweep(lab):
    words, devices = counted(lab, "experiment=repeats", "seed=5")
    assert words[0] == "--multirun"
    assert words[-2:] == ["trainer.seeds=1", "seed=5,6,7"]
    assert devices == "1"
    assert counted(lab, "+experiment=repeats")[0][-1] == "seed=0,1,2"


def test_the_command_line_wins(lab):
    assert counted(lab, "experiment=repeats", "trainer.seeds=2")[0][-1] == "seed=0,1"
    assert "--multirun" not in counted(lab, "experiment=repeats", "trainer.seeds=1")[0]
    assert counted(lab, "experiment=wide", "trainer.devices=2")[1] == "2"
    assert counted("task=vesicle", "trainer.devices=auto")[1] == "auto"


def test_devices_of_a_file_count(lab):
    assert counted(lab, "experiment=wide")[1] == "4"
    assert counted(lab, "experiment=[plain,wide]")[1] == "4"
    assert counted(lab, "-m", "experiment=wide", "trainer.lr=1e-3,3e-4")[1] == "4"


def test_a_file_may_ask_for_a_sweep(lab):
    assert counted(lab, "experiment=rates")[0] == ["--multirun", lab, "experiment=rates"]
    assert counted(lab, "-m", "experiment=rates")[0] == ["--multirun", lab, "experiment=rates"]
    assert counted(lab, "experiment=plain")[0] == [lab, "experiment=plain"]


@pytest.mark.parametrize(
    ("options", "ignored"),
    [
        ("plain,two", "experiment=two: sets hydra.launcher.jobs=2, "),
        ("two,plain", "experiment=two: sets hydra.launcher.jobs=2, "),
        ("plain,basic", "experiment=basic: sets hydra/launcher=basic, "),
        ("plain,search", "experiment=search: sets hydra/sweeper=optuna, "),
        ("plain,rates", "experiment=rates: sets trainer.lr=1e-3,3e-4, "),
    ],
)
def test_a_launcher_in_a_file_that_is_swept_is_refused(lab, options, ignored):
    with pytest.raises(InputError, match=f"^{re.escape(ignored)}which Hydra ignores in a file that is swept itself"):
        counted(lab, "-m", f"+experiment={options}")


def test_a_launcher_counts_on_the_command_line_and_in_a_file_of_all_jobs(lab):
    for words in (
        ["experiment=plain,two", "hydra.launcher.jobs=2"],
        ["experiment=plain,basic", "hydra/launcher=basic"],
    ):
        assert counted(lab, "-m", *words)[0] == ["--multirun", lab, *words]
    counted(lab, "-m", "experiment=basic", "trainer=default,quick")
    launchers = {
        words[0]: glimpses([lab, *words])[""].hydra.runtime.choices["hydra/launcher"]
        for words in (["experiment=plain"], ["experiment=basic"], ["task=vesicle"])
    }
    assert launchers == {"experiment=plain": "pool", "experiment=basic": "basic", "task=vesicle": "pool"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["experiment=plain,repeats"], "trainer.seeds: 1 in the first job of this sweep and 3 with experiment=repeats"),
        (["experiment=wide,plain"], "trainer.devices: 4 in the first job of this sweep and 1 with experiment=plain"),
        (["experiment=plain", "trainer.devices=1,2"], "and 2 with trainer.devices=2"),
        (["experiment=plain", "trainer.seeds=1,2"], "and 2 with trainer.seeds=2"),
    ],
)
def test_jobs_that_disagree_are_refused(lab, words, named):
    with pytest.raises(InputError) as error:
        counted(lab, "-m", *words)
    assert named in str(error.value)
    assert "expected one number for all jobs" in str(error.value)


def test_what_does_not_compose_is_left_to_hydra(lab):
    words = ["task=vesicle", "trainer.seeds=${absent}"]
    assert counted(*words)[0] == words
    words = ["task=vesicle", "hydra/launcher=absent"]
    assert counted(*words)[0] == words


@pytest.mark.parametrize(
    "words", [["task=absent"], ["task=vesicle", "trainer.nothing=3"], ["-m", "task=vesicle,absent"]]
)
def test_a_word_that_does_not_exist_is_refused_before_anything_starts(words):
    with pytest.raises(InputError, match=r"(task=absent|trainer.nothing): no such (option|setting)"):
        counted(*words)


def test_a_group_swept_by_glob_stands_at_its_default(lab):
    words, devices = counted(lab, "-m", "experiment=wide", "loss=glob(*)")
    assert (words[-1], devices) == ("loss=glob(*)", "4")
    assert counted(lab, "-m", "task=glob(*)", "trainer.seeds=2")[0][-1] == "seed=0,1"
    assert counted(lab, "-m", "experiment=glob(p*)")[0][-1] == "experiment=glob(p*)"

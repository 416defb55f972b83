"""Settings of the whole command count wherever they are set, and jobs that disagree are refused."""

import pytest

from segexp.config.ahead import with_counts
from segexp.config.overrides import command_line
from segexp.errors import InputError


@pytest.fixture
def lab(tmp_path):
    folder = tmp_path / "conf"
    (folder / "experiment").mkdir(parents=True)
    for name, trainer in {"plain": "{}", "repeats": "{seeds: 3}", "wide": "{devices: 4}"}.items():
        text = f"# @package _global_\ndefaults: [override /task: vesicle]\ntrainer: {trainer}\n"
        (folder / "experiment" / f"{name}.yaml").write_text(text)
    return f"--config-dir={folder}"


def counted(*words):
    return with_counts(command_line(list(words)))


def test_seeds_of_a_file_are_a_sweep(lab):
    words, devices = counted(lab, "experiment=repeats", "seed=5")
    assert "-m" in words
    assert words[-2:] == ["trainer.seeds=1", "seed=5,6,7"]
    assert devices == "1"
    assert counted(lab, "+experiment=repeats")[0][-1] == "seed=0,1,2"


def test_the_command_line_wins(lab):
    assert counted(lab, "experiment=repeats", "trainer.seeds=2")[0][-1] == "seed=0,1"
    assert "-m" not in counted(lab, "experiment=repeats", "trainer.seeds=1")[0]
    assert counted(lab, "experiment=wide", "trainer.devices=2")[1] == "2"
    assert counted("task=vesicle", "trainer.devices=auto")[1] == "auto"


def test_devices_of_a_file_count(lab):
    assert counted(lab, "experiment=wide")[1] == "4"
    assert counted(lab, "experiment=[plain,wide]")[1] == "4"
    assert counted(lab, "-m", "experiment=wide", "trainer.lr=1e-3,3e-4")[1] == "4"


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
    for words in (["task=absent"], ["task=vesicle", "trainer.nothing=3"], ["task=vesicle", "trainer.seeds=${absent}"]):
        assert counted(*words)[0] == words


def test_a_group_swept_by_glob_stands_at_its_default(lab):
    words, devices = counted(lab, "-m", "experiment=wide", "loss=glob(*)")
    assert (words[-1], devices) == ("loss=glob(*)", "4")
    assert counted(lab, "-m", "task=glob(*)", "trainer.seeds=2")[0][-1] == "seed=0,1"

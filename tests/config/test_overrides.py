"""Any value survives Hydra's override grammar."""

import json
import re

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segexp.config import overrides
from segexp.config.overrides import command_line, one_job, quote, with_folds, with_resume, with_seeds, with_sweep
from segexp.errors import InputError
from tests.processes import ROOT

HARD = [
    "a b",
    " edge ",
    "a=b",
    "a,b",
    "it's",
    '"x"',
    "[a]",
    "{a}",
    "~",
    "~/é",
    "${x}",
    "\\${x}",
    "a\\",
    "\\\\",
    "null",
    "3",
]
HARD += ["#", ";", "&", "a\\'", "$", "$$", "\\'\\", "(a)", "a:b", "%", "", "\\\\${y}", "1e-3", "true"]


def through_hydra(value):
    (override,) = OverridesParser.create().parse_overrides([f"key={quote(value)}"])
    config = OmegaConf.create()
    OmegaConf.update(config, "key", override.value())
    return config.key


@pytest.mark.parametrize("value", HARD)
def test_hard_values(value):
    assert through_hydra(value) == value


@given(st.text(st.sampled_from("ab\\'\"${}[]()=,: ~é#"), max_size=12))
def test_any_text(value):
    assert through_hydra(value) == value


def stopped_run(folder, overrides):
    (folder / ".hydra").mkdir(parents=True)
    (folder / "last.pth").write_bytes(b"x")
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    return folder


def test_resume_repeats_the_settings_in_the_same_folder(tmp_path):
    folder = stopped_run(tmp_path / "a b", ["task=vesicle", "trainer.lr=0.01", "output_dir=elsewhere"])
    place = quote(str(folder))
    assert with_resume([f"resume={folder}", "trainer.epochs=3"]) == [
        "task=vesicle",
        "trainer.lr=0.01",
        f"resume={place}",
        f"output_dir={place}",
        "trainer.epochs=3",
    ]


def test_resume_takes_nothing_of_hydras_own_from_a_folder(tmp_path):
    hostile = [
        "+hydra.callbacks.x._target_=os.system",
        "hydra/launcher=x",
        "~hydra.run",
        "++allow_targets=[os]",
        "task=a",
    ]
    folder = stopped_run(tmp_path / "a", hostile)
    assert with_resume([f"resume={folder}"])[0] == "task=a"
    assert not any("hydra" in item or "os" in item.split("=")[1:] for item in with_resume([f"resume={folder}"]))


def test_resume_needs_a_run_folder(tmp_path):
    with pytest.raises(InputError, match=r"last\.pth"):
        with_resume([f"resume={tmp_path}"])
    (tmp_path / "b" / ".hydra").mkdir(parents=True)
    (tmp_path / "b" / "last.pth").write_bytes(b"x")
    (tmp_path / "b" / ".hydra" / "overrides.yaml").write_text("!!python/object/apply:os.system [true]")
    with pytest.raises(InputError, match="not YAML"):
        with_resume([f"resume={tmp_path / 'b'}"])


def test_nothing_to_resume():
    assert with_resume(["task=vesicle", "resume=null"]) == ["task=vesicle", "resume=null"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["task=vesicle"], ["task=vesicle"]),
        (["task=vesicle", "trainer.seeds=1"], ["task=vesicle", "trainer.seeds=1"]),
        (["task=vesicle", "trainer.seeds=3"], ["-m", "task=vesicle", "trainer.seeds=1", "seed=0,1,2"]),
        (["trainer.seeds=2", "seed=7", "task=vesicle"], ["-m", "task=vesicle", "trainer.seeds=1", "seed=7,8"]),
        (["-m", "trainer.lr=1,2", "trainer.seeds=2"], ["-m", "trainer.lr=1,2", "trainer.seeds=1", "seed=0,1"]),
        (["trainer.seeds=many"], ["trainer.seeds=many"]),
    ],
)
def test_seeds_become_a_sweep(given, expected):
    assert with_seeds(given) == expected


def test_seeds_start_from_one_number():
    with pytest.raises(InputError, match="one seed"):
        with_seeds(["trainer.seeds=2", "seed=1,2"])


def test_folds_are_a_sweep_over_all_of_them():
    assert with_folds(["task=vesicle", "data.fold=range(3)"]) == ["-m", "task=vesicle", "data.fold=1/3,2/3,3/3"]
    assert with_folds(["-m", "data.fold=range(2)", "seed=0,1"]) == ["-m", "data.fold=1/2,2/2", "seed=0,1"]
    assert with_folds(["data.fold=2/5"]) == ["data.fold=2/5"]
    for count in ("0", "1", "99999"):
        with pytest.raises(InputError, match="expected 2 or more folds"):
            with_folds([f"data.fold=range({count})"])


def test_a_sweep_goes_on_in_its_folder(tmp_path):
    place = tmp_path / "a b"
    (place / "0").mkdir(parents=True)
    (place / "0" / "job.json").touch()
    given = [f"sweep.resume={place}", "seed=0,1", "output_dir=elsewhere", "sweep.retry=true"]
    assert with_sweep(given) == [
        *["-m", "seed=0,1", "sweep.retry=true", f"sweep.resume='{place}'", f"hydra.sweep.dir='{place}'"]
    ]
    assert with_sweep(["seed=0,1"]) == ["seed=0,1"]
    assert with_sweep(["seed=0,1", "sweep.resume=null"]) == ["seed=0,1", "sweep.resume=null"]


def test_a_sweep_that_is_not_there_is_begun_only_where_that_is_its_place(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a sweep"):
        with_sweep(["-m", f"sweep.resume={tmp_path}"])
    with_sweep(["-m", f"sweep.resume={tmp_path}", f"output_dir={tmp_path}"])
    (tmp_path / "multirun.yaml").touch()  # killed before its first job
    with_sweep(["-m", f"sweep.resume={tmp_path}"])


def test_a_job_gone_on_with_by_hand_is_no_sweep(tmp_path):
    folder = stopped_run(tmp_path / "0", ["task=vesicle", "sweep.resume=x", "sweep.retry=true"])
    place = quote(str(folder))
    assert with_resume([f"resume={folder}"]) == ["task=vesicle", f"resume={place}", f"output_dir={place}"]


@pytest.mark.parametrize(
    "stored",
    [
        "data.root=${oc.env:TOKEN}",
        "task.name='${oc.env:TOKEN}'",
        "data.group=a${oc.decode:x}",
        "task.classes=['${oc.select:seed}']",
        "+x={a:{b:'${custom:1}'}}",
        "data.root='\\\\${oc.env:TOKEN}'",
        "seed=${trainer.epochs}",
        "logger.mlflow.uri=http://elsewhere",
        "+logger.mlflow.uri='sqlite:///x'",
        "+logger.x={_target_: segexp.training.loggers.mlflow_log.Mlflow, uri: http://elsewhere}",
    ],
)
def test_what_a_stored_run_would_look_up_or_report_to_has_to_be_given_anew(tmp_path, stored):
    folder = stopped_run(tmp_path, ["task=vesicle", stored])
    key = stored.lstrip("+").partition("=")[0]
    with pytest.raises(InputError, match=rf"overrides\.yaml.*{key}=.*beside resume="):
        with_resume([f"resume={folder}"])
    assert stored not in with_resume([f"resume={folder}", f"{key}=7"])
    assert f"{key}=7" in with_resume([f"resume={folder}", f"{key}=7"])


@pytest.mark.parametrize(
    "stored", [f"data.root={quote('${x}')}", "logger=[tensorboard,mlflow]", "logger.mlflow.uri=null"]
)
def test_what_only_looks_like_it_is_taken(tmp_path, stored):
    assert stored in with_resume([f"resume={stopped_run(tmp_path, [stored])}"])


def test_relative_folders_of_a_run_are_those_of_where_it_was_started(tmp_path, monkeypatch, capsys):
    start = tmp_path / "start é"
    (start / "set, 1").mkdir(parents=True)
    folder = stopped_run(tmp_path / "run", ["task=vesicle", "data.root='set, 1'", "data.split=gone", "trainer.lr=0.01"])
    (folder / "run.json").write_text(json.dumps({"cwd": str(start)}))
    monkeypatch.chdir(tmp_path)
    place = quote(str(folder))
    there = f"data.root={quote(str(start / 'set, 1'))}"
    rest = ["data.split=gone", "trainer.lr=0.01", f"resume={place}", f"output_dir={place}"]
    assert with_resume([f"resume={folder}"]) == ["task=vesicle", there, *rest]
    assert capsys.readouterr().out == f"data.root: {start / 'set, 1'}, as where the run was started\n"
    assert with_resume([f"resume={folder}", "data.root=new"])[-1] == "data.root=new"
    assert not capsys.readouterr().out
    monkeypatch.chdir(start)
    assert with_resume([f"resume={folder}"])[1] == "data.root='set, 1'"
    (folder / "run.json").write_text("[")
    assert with_resume([f"resume={folder}"])[1] == "data.root='set, 1'"


def test_a_run_with_options_of_ones_own_wants_their_folder_named_again(tmp_path):
    folder = stopped_run(tmp_path / "a run", ["task=nucleus"])
    sources = [{"provider": "command-line", "path": "/my lab"}, {"provider": "main", "path": "/conf"}]
    stored = {"hydra": {"runtime": {"config_sources": sources}, "job": {"config_name": "config"}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(stored))
    with pytest.raises(InputError, match=re.escape(f"segexp train --config-dir '/my lab' 'resume={folder}'")):
        with_resume([f"resume={folder}"])
    assert with_resume(["--config-dir=lab", f"resume={folder}"])[:2] == ["--config-dir=lab", "task=nucleus"]
    stored["hydra"]["job"]["config_name"] = "other"
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(stored))
    with pytest.raises(InputError, match="--config-name other"):
        with_resume(["--config-dir=lab", f"resume={folder}"])
    for broken in ("[", "hydra: 3", "", "hydra: {runtime: {config_sources: [1]}}"):
        (folder / ".hydra" / "hydra.yaml").write_text(broken)
        assert with_resume([f"resume={folder}"])[0] == "task=nucleus"


def test_a_whole_command_line_in_any_order(tmp_path):
    folder = stopped_run(tmp_path / "é, 1", ["task=vesicle"])
    place = quote(str(folder))
    assert command_line(["trainer.steps=4", f"resume={folder}", "--cfg", "job"]) == [
        *["--cfg=job", "task=vesicle", f"resume={place}", f"output_dir={place}", "trainer.steps=4"]
    ]
    assert command_line(["task=a", "trainer.seeds=2", "data.root=é,b", "output_dir=a,b"]) == [
        *["--multirun", "task=a", "data.root='é',b", "output_dir='a,b'", "trainer.seeds=1", "seed=0,1"]
    ]


def test_the_first_job_of_a_sweep():
    sweep = ["--multirun", "--cfg=job", "task=a,b", "seed=range(3,9)", "trainer.lr=interval(0.1,1)", "x=[1,2]"]
    assert one_job(sweep) == ["--cfg=job", "task=a", "seed=3", "trainer.lr=0.1", "x=[1,2]"]
    assert one_job(["--multirun", "task=a", "loss=glob(*)", "seed=0,1"]) == ["task=a", "seed=0"]


def test_settings_given_as_a_group_of_values_are_taken_from_a_stored_run(tmp_path):
    stored = ["task=vesicle", "loss={ce: {weight: 2}}", "trainer={epochs: 3, max_time: null}"]
    folder = stopped_run(tmp_path / "run", stored)
    assert with_resume([f"resume={folder}"])[:3] == stored
    for item in ("experiment={a", "task/x={a: 1}", "loss={a: ${oc.env:HOME}}"):
        with pytest.raises(InputError):
            with_resume([f"resume={stopped_run(tmp_path / item.partition('=')[0], [item])}"])
    with pytest.raises(InputError, match="to that address"):
        with_resume([f"resume={stopped_run(tmp_path / 'told', ['logger={mlflow: {uri: http://x}}'])}"])


def test_the_mode_of_a_sweep_is_its_flag():
    words = ["task=vesicle", "hydra.mode=MULTIRUN", "data.root=a,'b, c'"]
    assert command_line(words) == ["--multirun", "task=vesicle", "data.root=a,'b, c'"]


def test_the_table_of_stored_settings_is_that_of_the_code():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## A run that is resumed")[2]
    rows = [row.split("|")[1:3] for row in text.partition("\n## ")[0].splitlines() if row.startswith("| ")]
    names = {first.split()[0]: set(re.findall(r"`([\w.]+)`", first)) for first, _ in rows}
    assert names["settings"] | {"logger", "experiment"} == overrides.GROUPS | {"seed"}
    assert names["files"] == set(overrides.READ)
    assert names["`hydra`,"] == set(overrides.SET_ANEW)
    assert f"{overrides._LONGEST:,} characters" in text

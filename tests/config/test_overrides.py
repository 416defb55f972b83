"""Any value survives Hydra's override grammar."""

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segexp.config.overrides import quote, with_folds, with_resume, with_seeds, with_sweep
from segexp.errors import InputError

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
        (["task=vesicle", "trainer.seeds=3"], ["-m", "task=vesicle", "seed=0,1,2"]),
        (["trainer.seeds=2", "seed=7", "task=vesicle"], ["-m", "task=vesicle", "seed=7,8"]),
        (["-m", "trainer.lr=1,2", "trainer.seeds=2"], ["-m", "trainer.lr=1,2", "seed=0,1"]),
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
        with pytest.raises(InputError, match="wanted 2 or more folds"):
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
    with pytest.raises(InputError, match="wanted the folder of a sweep"):
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
        "trainer.mlflow=http://elsewhere",
        "+trainer.mlflow='sqlite:///x'",
    ],
)
def test_what_a_stored_run_would_look_up_or_report_to_has_to_be_given_anew(tmp_path, stored):
    folder = stopped_run(tmp_path, ["task=vesicle", stored])
    key = stored.lstrip("+").partition("=")[0]
    with pytest.raises(InputError, match=rf"overrides\.yaml.*{key}=.*beside resume="):
        with_resume([f"resume={folder}"])
    assert stored not in with_resume([f"resume={folder}", f"{key}=7"])
    assert f"{key}=7" in with_resume([f"resume={folder}", f"{key}=7"])


@pytest.mark.parametrize("stored", [f"data.root={quote('${x}')}", "trainer.mlflow=true", "trainer.mlflow=null"])
def test_what_only_looks_like_it_is_taken(tmp_path, stored):
    assert stored in with_resume([f"resume={stopped_run(tmp_path, [stored])}"])

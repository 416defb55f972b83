"""Any value survives Hydra's override grammar."""

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segexp.config.overrides import quote, with_resume, with_seeds
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

"""What is typed is what the run gets: paths character for character, flags wherever they stand."""

import os

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segexp.config.typed import as_typed, flags_first, literal
from segexp.errors import InputError

NAMES = ["données", "新加卷", "µm data", "n#3", "Anna's data", "a&b", "Data (1)", "[raw]", "lr=3", "a, b", "x^2"]
NAMES += [
    "007",
    "1e5",
    "2024-01-02",
    "1.10",
    "true",
    "on",
    "off",
    "nan",
    "0x1f",
    "1_000",
    " edge ",
    "a:b",
    "{a}",
    '"x',
    "'",
]
NAMES += ["${x}", "a\\", "C:\\a b\\c", "choice(a)", "range(3)", "@", "%41", "x!", "a;b", "-x", "\udcff", "a\tb", "a\nb"]


def read(word):
    """The text that Hydra and OmegaConf make of an override's value."""
    (override,) = OverridesParser.create().parse_overrides([word])
    config = OmegaConf.create()
    OmegaConf.update(config, "key", override.value())
    return config.key


@pytest.mark.parametrize("setting", ["data.root", "output_dir", "data.split", "hydra.run.dir", "resume", "++data.root"])
@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_the_one_that_was_typed(setting, name):
    (word,) = as_typed([f"{setting}={name}"])
    assert word.startswith(f"{setting}=")
    assert read(word) == literal(word) == name


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.text(min_size=1, max_size=8), st.text(st.sampled_from("a1e.,-+'\"\\${}[]()=: #é~/"), min_size=1)))
def test_any_path_goes_through_hydra_and_through_a_sweep(name):
    if name.strip() in ("", "null", "???", "''", '""') or name.startswith("~") or "\0" in name or name[0] in "'\"":
        return
    (word,) = as_typed([f"output_dir={name}"])
    assert read(word) == name
    override = OverridesParser.create().parse_override(word)
    assert not override.is_sweep_override()
    ((again,),) = BasicSweeper.split_arguments([override], None)[0]  # as the jobs of a sweep get it
    assert read(again) == name


def test_what_the_user_quoted_stays_so():
    assert read(as_typed(["data.root='a, b'"])[0]) == "a, b"
    assert read(as_typed(['data.root="it\'s"'])[0]) == "it's"
    assert as_typed(["trainer.lr=1e-3", "model.widths=[4,8]", "data.channel=[1,3]", "seed=3"]) == [
        *["trainer.lr=1e-3", "model.widths=[4,8]", "data.channel=[1,3]", "seed=3"]
    ]
    for quoted in ("data.root=''", "data.root=", 'output_dir=" "', "resume="):
        with pytest.raises(InputError, match=r"empty path|no value after"):
            as_typed([quoted])


def test_references_to_settings_stay_references():
    (word,) = as_typed(["output_dir=runs/${task.name}/é ${now:%Y}"])
    config = OmegaConf.create({"task": {"name": "cell"}})
    OmegaConf.register_new_resolver("now", lambda pattern: "1999", replace=True)
    OmegaConf.update(config, "key", OverridesParser.create().parse_override(word).value())
    assert config.key == "runs/cell/é 1999"


def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    home = os.path.expanduser("~")
    for typed in ("~/cells", '"~/cells"', "'~/cells'"):
        assert literal(as_typed([f"data.root={typed}"])[0]) == f"{home}/cells"
        assert literal(as_typed([f"output_dir={typed}"])[0]) == f"{home}/cells"
    assert literal(as_typed(["output_dir=~nobody-of-this-name/x"])[0]) == "~nobody-of-this-name/x"
    (tmp_path / "~").mkdir()
    assert literal(as_typed(["output_dir=~/cells"])[0]) == "~/cells"
    assert literal(as_typed(["data.root=~/cells"])[0]) == f"{home}/cells"  # there are none in ./~


def test_a_comma_is_a_sweep_only_with_the_flag_and_where_no_such_path_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert as_typed(["data.root=é, b,'c, d'"], sweep=True) == ["data.root='é',b,'c, d'"]
    assert as_typed(["data.root=choice(é,b)"], sweep=True) == ["data.root='é',b"]
    assert as_typed(["data.root=é,b"]) == ["data.root='é,b'"]
    assert as_typed(["output_dir=a,b"], sweep=True) == ["output_dir='a,b'"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="add the flag -m"):
        as_typed(["data.root=a,b"])
    (tmp_path / "a,b").mkdir()
    assert as_typed(["data.root=a,b"], sweep=True) == ["data.root='a,b'"]


def test_null_means_none_unless_a_folder_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert as_typed(["data.root=null", "resume=null"]) == ["data.root=null", "resume=null"]
    assert as_typed(["output_dir=null"]) == ["output_dir='null'"]
    (tmp_path / "null").mkdir()
    assert as_typed(["data.root=null"]) == ["data.root='null'"]


def test_names_and_patterns_that_hydra_cannot_read():
    assert as_typed(["task.name=1e5"]) == ["task.name='1e5'"]
    assert as_typed(["task.classes=[é, 1e5,on]"]) == ["task.classes=['é','1e5',on]"]
    assert read(as_typed([r"data.group=^(\d{1,3})_z"])[0]) == r"^(\d{1,3})_z"
    assert as_typed(["trainer.lr=é"]) == ["trainer.lr='é'"]  # the schema says what is wrong with it
    with pytest.raises(InputError, match="put quotes around a value with spaces"):
        as_typed(["data.root=My", "data"])


def test_a_plus_before_a_group_is_forgiven():
    assert as_typed(["+experiment=x", "++trainer=smoke,quick", "+hydra.x=1"], sweep=True) == [
        *["experiment=x", "trainer=smoke,quick", "+hydra.x=1"]
    ]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["task=a", "-m", "seed=0,1"], ["--multirun", "task=a", "seed=0,1"]),
        (["a=1", "--config-dir", "lab", "b=2"], ["--config-dir=lab", "a=1", "b=2"]),
        (["-cd=lab", "a=1"], ["--config-dir=lab", "a=1"]),
        (["model=unet", "--cfg", "job"], ["--cfg=job", "model=unet"]),
        (
            ["a=1", "-c", "job", "b=2", "-p", "task", "--resolve"],
            ["--cfg=job", "--resolve", "--package=task", "a=1", "b=2"],
        ),
        (["--info", "a=1"], ["--info=all", "a=1"]),
        (["a=1", "-i", "searchpath"], ["--info=searchpath", "a=1"]),
        (["a=1", "--help", "~b"], ["--help", "a=1", "~b"]),
        (["-cn", "c", "x=1", "-cp", "d"], ["--config-path=d", "--config-name=c", "x=1"]),
        (["a=-1"], ["a=-1"]),
        ([], []),
    ],
)
def test_flags_come_first(typed, expected):
    assert flags_first(typed) == expected
    assert flags_first(expected) == expected


def test_an_unknown_flag_ends_with_a_line(capsys):
    with pytest.raises(SystemExit) as ended:
        flags_first(["task=vesicle", "--epochs", "3"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --epochs" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["experiment", "+experiment"])
def test_an_earlier_name_of_an_experiment_is_answered_with_its_new_name(key):
    with pytest.raises(InputError, match=r"type experiment=vesicle_quick$"):
        as_typed([f"{key}=vesicle_generated"])
    with pytest.raises(InputError, match=r"type experiment=cytoskeleton_pretrained$"):
        as_typed([f"{key}=cytoskeleton_synthetic"], sweep=True)

"""Which `conf/` counts, and folders of options that a lab adds to it."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from segexp.config import CONF, conf_dir, package_conf_dir, use_conf_beside
from segexp.config.ahead import with_counts
from segexp.config.compose import add_lab, compose_config, lab_folders, searched_folders
from segexp.config.overrides import with_resume
from segexp.errors import InputError
from tests.processes import start

ROOT = Path(__file__).parents[2]
TASK = "defaults: [vesicle]\nname: nucleus\ncrop: 64\n"


@pytest.fixture
def lab(tmp_path):
    folder = tmp_path / "lab" / "conf"
    (folder / "task").mkdir(parents=True)
    (folder / "task" / "nucleus.yaml").write_text(TASK)
    return folder


@pytest.fixture
def checkout(tmp_path):
    """The scripts and `conf/` alone, as in a checkout whose package was installed from elsewhere, with a task more."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / "conf" / "task" / "mine.yaml").write_text(TASK.replace("nucleus", "mine"))
    for script in ROOT.glob("train*.py"):
        shutil.copy(script, folder)
    return folder


def output_of(*words):
    result = start(*words).ended()
    return result.returncode, result.stdout + result.stderr


def test_the_packages_own_settings_are_the_default(monkeypatch):
    monkeypatch.delenv(CONF, raising=False)
    use_conf_beside(ROOT / "train.py")
    assert conf_dir() == package_conf_dir()
    assert CONF not in os.environ


def test_settings_beside_the_script_count(monkeypatch, checkout, tmp_path):
    monkeypatch.setenv(CONF, "")
    use_conf_beside(tmp_path / "train.py")  # no conf/ there
    assert conf_dir() == package_conf_dir()
    use_conf_beside(checkout / "train.py")
    assert conf_dir() == checkout / "conf"
    assert compose_config(["task=mine"]).task.name == "mine"


def test_the_scripts_read_the_conf_beside_them_and_the_command_does_not(checkout, tmp_path):
    code, text = output_of(checkout / "train.py", "task=mine", "--cfg", "job")
    assert code == 0, text
    assert "crop: 64" in text
    code, text = output_of("segexp", "train", "task=mine", "--cfg", "job")
    assert code
    assert "task/mine" in text
    folders = [f"--{part}-{kind}-dir=x" for part in ("train", "val") for kind in ("img", "mask")]
    code, text = output_of(checkout / "train_vesicle_seg.py", *folders, "task=mine", "--cfg", "job")
    assert code == 0, text
    assert "crop: 64" in text


def test_the_first_line_says_which_settings_a_run_reads(checkout, lab, tmp_path):
    tiny = ["trainer=smoke", "model.widths=[4,8]", "trainer.epochs=1", "task.crop=32"]
    tiny += ["data.synthetic.train=2", "data.synthetic.val=2", "data.synthetic.size=48"]
    command = [checkout / "train.py", "--config-dir", lab, "task=mine", "data.root=nowhere", *tiny]
    code, text = output_of(*command, f"output_dir={tmp_path / 'run'}")
    assert code == 1
    assert text.splitlines()[0] == f"settings: {checkout / 'conf'}, then {lab}"


@pytest.mark.parametrize("form", ["file://{}", "{}"])
def test_a_search_path_adds_a_folder_wherever_settings_are_composed(lab, form):
    assert compose_config([f"hydra.searchpath=[{form.format(lab)}]", "task=nucleus"]).task.crop == 64
    assert str(lab.parent) in sys.path  # its modules can be imported
    assert compose_config(["task=nucleus"], str(lab)).task.crop == 64
    with pytest.raises(InputError, match="task=nucleus: no such option"):
        compose_config(["task=nucleus"])


def test_yaml_for_other_programs_in_a_search_path_is_left_alone(lab):
    (lab / "notes").mkdir()
    for name, content in (("list", "- 1\n"), ("damaged", "a: [1,\n"), ("documents", "a: 1\n---\na: 2\n")):
        (lab / "notes" / f"{name}.yaml").write_text(content)
    assert compose_config([f"hydra.searchpath=[{lab}]", "task=nucleus"]).task.crop == 64
    code, text = output_of("segexp", "train", f"hydra.searchpath=[{lab}]", "task=nucleus", "--cfg", "job")
    assert code == 0, text


def test_a_folder_that_is_not_there_or_is_a_run(tmp_path):
    stored = tmp_path / "run" / ".hydra"
    stored.mkdir(parents=True)
    for name in ("config", "hydra", "overrides"):
        (stored / f"{name}.yaml").write_text("[]\n")
    with pytest.raises(InputError, match=r"stored settings of a run.* type resume=.*run'?; to repeat it elsewhere"):
        add_lab(str(stored))
    with pytest.raises(InputError, match="no such folder"):
        compose_config(["task=vesicle"], "nowhere")
    code, text = output_of("segexp", "train", "--config-dir", "nowhere", "task=vesicle")
    assert code == 1
    assert text == "error: --config-dir nowhere: no such folder\n"
    assert lab_folders(["--config-dir=a", "task=b"]) == ["a"]
    code, text = output_of("segexp", "train", "hydra.searchpath=[nowhere]", "task=vesicle")
    assert code == 1
    assert text == "error: hydra.searchpath nowhere: no such folder\n"
    assert searched_folders(["hydra.searchpath=[a,file:///b,pkg://c.conf]", "task=b"]) == ["a", "/b"]


def test_a_run_with_a_search_path_wants_it_named_again(tmp_path):
    sources = [
        {"provider": "main", "schema": "file", "path": "/conf"},
        {"provider": "hydra.searchpath in command-line", "schema": "file", "path": "/lab"},
    ]
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "last.pth").touch()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("[task=nucleus]")
    stored = {"hydra": {"runtime": {"config_sources": sources}, "job": {"config_name": "config"}}}
    (tmp_path / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(stored))
    with pytest.raises(InputError, match=r"hydra\.searchpath=\[file:///lab\]"):
        with_resume([f"resume={tmp_path}"])
    assert "task=nucleus" in with_resume(["hydra.searchpath=[file:///lab]", f"resume={tmp_path}"])


@pytest.mark.parametrize("content", ["a: [1,\n", "a: !!python/object/apply:os.system [echo]\n", "\x00\x01", "- 1\n"])
def test_a_file_that_is_no_yaml_ends_in_one_message(lab, content):
    (lab / "task" / "nucleus.yaml").write_text(content)
    with pytest.raises(InputError, match=r"nucleus\.yaml"):
        add_lab(str(lab))


@pytest.mark.parametrize("content", ["a: [1,\n", "a: !!python/object/apply:os.system [echo]\n", "\x00\x01"])
def test_a_damaged_option_of_a_search_path_is_named(lab, content):
    (lab / "task" / "nucleus.yaml").write_text(content)
    words = [f"hydra.searchpath=[{lab}]", "task=nucleus"]
    for compose in (compose_config, with_counts):
        with pytest.raises(InputError, match=r"nucleus\.yaml(, line \d)?: not YAML \("):
            compose(words)


def test_a_damaged_folder_of_options_ends_the_command_with_one_message(lab):
    (lab / "task" / "nucleus.yaml").write_text("a: [1,\n")
    code, text = output_of("segexp", "train", "--config-dir", lab, "task=nucleus")
    assert code == 1
    assert text.startswith("error: ")
    assert "nucleus.yaml" in text
    assert len(text.splitlines()) == 1

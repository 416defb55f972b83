"""`segexp init`: a project that tests itself, and a folder that is refused as it was."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from segexp.cli.init import NAMED, TEMPLATE, init, project_files
from segexp.config import package_conf_dir
from segexp.config.compose import compose_config
from segexp.errors import InputError

ROOT = Path(__file__).parents[2]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*command, **more):
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False, **more)


def run_tests(project, **environment):
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", project, project]
    return run(*command, cwd=project, env=os.environ | environment)


def test_the_project_tests_itself(tmp_path):
    result = run("-m", "segexp.cli", "init", tmp_path / "lab", "--task", "filopodia", "--like", "vesicle")
    assert result.returncode == 0, result.stderr
    assert "lab && python -m pytest" in result.stdout
    result = run_tests(tmp_path / "lab")
    assert result.returncode == 0, result.stdout
    assert "5 passed" in result.stdout


@pytest.mark.slow
def test_the_project_runs_beside_the_installed_wheel(tmp_path):
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT]
    assert run(*build).returncode == 0
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(tmp_path / "site")
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    result = run("-m", "segexp.cli", "init", "lab", "--task", NAMED, cwd=tmp_path, env=os.environ | environment)
    assert result.returncode == 0, result.stderr
    result = run_tests(tmp_path / "lab", **environment)
    assert result.returncode == 0, result.stdout
    data = ["-m", "segexp.cli", "synthesize", "cytoskeleton", "--output", "data", "--train", 2, "--val", 1]
    assert run(*data, "--size", 64, cwd=tmp_path, env=os.environ | environment).returncode == 0
    train = ["-m", "segexp.cli", "train", "--config-dir", "lab/conf", f"task={NAMED}", "trainer=smoke"]
    train += ["model.widths=[4,8]", "trainer.steps=2", "task.crop=32", "data.root=data", "output_dir=run"]
    result = run(*train, cwd=tmp_path, env=os.environ | environment)
    assert result.returncode == 0, result.stderr
    assert "(of the package), then" in result.stdout or "then lab/conf" in result.stdout
    assert (tmp_path / "run" / f"best_{NAMED}_model.pth").is_file()


def test_every_option_of_the_project_composes(tmp_path):
    init(tmp_path / "lab", "filopodia", "vesicle")
    conf = tmp_path / "lab" / "conf"
    plain = compose_config(["task=filopodia"], str(conf))
    recipe = compose_config(["experiment=filopodia"], str(conf))
    assert recipe.task.scores == ["probability", "surface", "filopodia_parts.area_error"]
    recipe.task.scores = plain.task.scores
    assert plain.task == recipe.task
    assert (plain.task.name, plain.task.normalization) == ("filopodia", "log")
    assert recipe.allow_targets == ["filopodia_parts"]
    assert plain.allow_targets == []
    assert recipe.loss["edge"]["_target_"] == "filopodia_parts.EdgeLoss"
    assert recipe.model["network"] == "filopodia_parts.SmallNet"
    assert recipe.augment["operations"][1]["_target_"] == "filopodia_parts.RandomStripes"


def test_no_name_of_the_template_is_left():
    files = project_files("filopodia", "vesicle")
    assert len(files) == len([path for path in TEMPLATE.rglob("*") if path.suffix in (".md", ".py", ".yaml")])
    for name, text in files.items():
        assert not {NAMED, "cytoskeleton"} & set(name.replace("_", " ").split()), name
        assert NAMED not in name + text
        assert "cytoskeleton" not in text
    assert (
        "name: cytoskeleton_tips" in project_files("cytoskeleton_tips", "vesicle")["conf/task/cytoskeleton_tips.yaml"]
    )


def test_an_empty_folder_is_filled(tmp_path):
    init(tmp_path, NAMED)
    assert set(contents(tmp_path)) == set(project_files(NAMED))


def test_a_folder_that_holds_files_stays_as_it_was(tmp_path):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / f"{NAMED}.yaml").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=rf"holds conf; expected a new or empty folder, such as {tmp_path}/{NAMED}"):
        init(tmp_path, NAMED)
    assert contents(tmp_path) == before
    with pytest.raises(InputError, match="a file"):
        init(tmp_path / "conf" / "task" / f"{NAMED}.yaml", NAMED)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a file; expected the name of a new folder"):
        init(tmp_path / "link", NAMED)


@pytest.mark.parametrize(
    ("task", "like", "words"),
    [
        ("Microvilli", "vesicle", "small letter"),
        ("../x", "vesicle", "small letter"),
        ("class", "vesicle", "small letter"),
        ("vesicle", "vesicle", "segexp has a task of this name"),
        ("focal", "vesicle", "segexp has a loss of this name"),
        ("tips", "vesicles", "did you mean vesicle?"),
    ],
)
def test_unfit_names_are_refused_before_anything_is_written(tmp_path, task, like, words):
    with pytest.raises(InputError) as error:
        init(tmp_path / "lab", task, like)
    assert words in str(error.value)
    assert not (tmp_path / "lab").exists()


def test_a_disk_that_fills_leaves_no_half_of_a_project(tmp_path, monkeypatch):
    real = Path.open

    def full(path, mode="r", **more):
        if path.name == "train.py" and "x" in mode:
            raise OSError(28, "No space left on device", str(path))
        return real(path, mode, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space"):
        init(tmp_path / "lab", NAMED)
    assert contents(tmp_path) == {}


def test_the_template_is_no_option_of_segexp():
    assert not list(package_conf_dir().rglob(f"{NAMED}.yaml"))

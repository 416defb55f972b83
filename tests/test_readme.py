"""The README's commands run, its tables match the code, and its tree shows what is there."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from segexp.config import conf_dir, read
from segexp.config.overrides import with_folds, with_seeds
from segexp.legacy_cli import parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = [
    line.split("  #")[0].strip()
    for page in PAGES
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    for line in line.split("&&")
    if line.split()[:1] and not line.strip().startswith("#")
]


def train_overrides(command):
    words = shlex.split(command)
    if words[:2] == ["python", "train.py"] or words[:2] == ["segexp", "train"]:
        return words[2:]
    return None


def of_the_first_job(word):
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    value = override.value()
    first = value.start if isinstance(value, IntervalSweep) else next(override.sweep_string_iterator())
    return f"{override.get_key_element()}={first}"


OF_A_LAB = "--config-dir lab/conf"
"""In commands of docs/extend.md, which tests/test_extend.py runs one after the other."""


@pytest.mark.parametrize("command", [c for c in COMMANDS if train_overrides(c) is not None and OF_A_LAB not in c])
def test_train_commands_compose(command):
    overrides = [word for word in with_folds(with_seeds(train_overrides(command))) if word not in ("-m", "--help")]
    if any(word.startswith("resume=") for word in overrides):
        return
    if importlib.util.find_spec("ray") is None:  # its launcher's settings are unknown then
        overrides = [word for word in overrides if not re.match(r"\+?hydra[./]launcher[.=]ray", word)]
    first = [of_the_first_job(word) for word in overrides]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        assert read(compose("config", ["output_dir=x", *first])).task.name


def test_every_command_is_of_a_kind_that_a_test_runs():
    """Installing is what .ci/run does; segexp and train.py are run in test_cli, test_scripts and test_wheel."""
    assert len(COMMANDS) > 8
    for command in COMMANDS:
        known = r"(PYTHONPATH=lab )?(pip install|python train\.py|python -m pytest|python -m benchmarks\.\w+"
        known += r"|python benchmarks/\w+\.py"
        known += r"|bash benchmarks/gpu_wheels\.sh|tensorboard|segexp (train|predict|synthesize|check|preview|export"
        known += r"|evaluate|compare|report|sweep-plan|learning-curve|suggest|calibrate|masks|models|doctor|init))"
        assert re.match(known, command), command


def test_the_python_example_runs(tmp_path, monkeypatch):
    import numpy as np
    import tifffile

    from tests.inference.test_predictor import write_model

    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "runs" / "first" / "best_vesicle_model.pth")
    tifffile.imwrite("cell.tif", np.eye(30, dtype=np.uint16))
    names = {}
    exec(example, names)  # our own file
    assert names["mask"].shape == (30, 30)


def test_the_table_of_flags_is_the_parsers():
    text = (ROOT / "docs" / "training.md").read_text()
    for action in parser("vesicle")._actions:
        if action.dest == "help":
            continue
        assert f"`{action.option_strings[0]}`" in text
        if not action.required:
            default = re.search(r"\(default: (\w[\w.]*)", action.help)[1]
            assert f"| `{action.option_strings[0]}` | {default} |" in text


def test_every_setting_named_exists():
    text = (ROOT / "docs" / "training.md").read_text()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", ["output_dir=x", "task=vesicle"])
    from omegaconf import OmegaConf

    for name in re.findall(r"`((?:data|trainer|task|model)\.[a-z_]+)`", text):
        assert OmegaConf.select(config, name, default="absent") != "absent", name


def test_the_tree_shows_every_part():
    tree = (ROOT / "README.md").read_text().split("## The project")[1]
    for path in [*(ROOT / "src" / "segexp").iterdir(), *ROOT.glob("*.py")]:
        if path.name.startswith("__") or not (path.suffix == ".py" or path.is_dir()):
            continue
        assert path.name in tree, path


def test_options_named_are_the_options_there():
    text = (ROOT / "docs" / "training.md").read_text()
    for group in ("task", "model", "augment", "trainer", "data"):
        (row,) = re.findall(rf"\| `{group}` \| (.*?) \|", text)
        options = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")} - {"base"}
        assert set(re.findall(r"`(\w+)`", row)) == options


def test_python_is_recent_enough():
    assert sys.version_info >= (3, 11)

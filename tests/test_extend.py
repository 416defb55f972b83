"""docs/extend.md: its commands, one after the other in an empty folder, with less data and two steps of training."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import command

PAGE = Path(__file__).parent.parent / "docs" / "extend.md"
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]
SMALLER = {
    "trainer=quick": ["trainer=smoke", "trainer.steps=2", "task.crop=32", "trainer.num_workers=0"],
    "24": ["2"],
    "8": ["2"],
    "256": ["64"],
    "output_dir=runs/sweep": ["output_dir=runs/sweep", "hydra/launcher=basic"],
}


def run(line, folder):
    words = [small for word in shlex.split(line) for small in SMALLER.get(word, [word])]
    environment = {}
    if words[0].startswith("PYTHONPATH="):
        added = folder / words.pop(0).partition("=")[2]
        environment = {"PYTHONPATH": os.pathsep.join([str(added), os.environ.get("PYTHONPATH", "")])}
    if words[:3] == ["python", "-m", "pytest"]:  # its training of two steps is tests/cli/test_init.py's
        more = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder, "-k", "not two_steps"]
        words = [sys.executable, *words[1:], *map(str, more)]
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert words.pop(0) == "segexp", line
    return command(*words, cwd=folder, **environment)


def test_every_command_of_the_page_runs(tmp_path):
    assert len(COMMANDS) > 10
    for line in COMMANDS:
        done = run(line, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    for name in ("preview.png", "runs/parts/report.html", "runs/sweep/summary.csv", "scores/scores.json"):
        assert (tmp_path / name).is_file()
    assert "area_error" in (tmp_path / "scores" / "scores.csv").read_text().splitlines()[0]
    assert "missing" not in (tmp_path / "runs" / "sweep" / "summary.csv").read_text()
    assert list((tmp_path / "MASKS").glob("*_overlay.png"))
    assert list((tmp_path / "MASKS_PARTS").glob("*_mask.png"))


@pytest.mark.parametrize("name", re.findall(r"`(?:conf/)?([\w/]+\.(?:py|yaml))`", PAGE.read_text(encoding="utf-8")))
def test_the_files_that_it_names_are_written(name):
    from segexp.cli.init import project_files

    assert "NAME" in name or any(path.endswith(name) for path in project_files("microvilli"))

"""Tab completion as bash asks for it: the script that is printed is read by bash, and a line is completed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASK = """
eval "$({install})"
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
read -ra COMP_WORDS <<< "$COMP_LINE"
[[ "$COMP_LINE" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
compopt() {{ :; }}  # there is no completion under way
{function}
printf "%s\\n" "${{COMPREPLY[@]}}"
"""


def completed(line, install, function, tmp_path):
    """What bash offers for a line."""
    start = "import sys; sys.argv[0] = 'segexp'; from segexp.cli import main; main()"  # Typer asks for this name
    for name, words in {"python": "", "segexp": f'-c "{start}"'}.items():
        (tmp_path / name).write_text(f'#!/bin/bash\nexec {sys.executable} {words} "$@"\n')
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    text = ASK.format(line=line, install=install, function=function)
    result = subprocess.run(["bash", "-c", text], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("task=ve", ["task=vesicle"]),
        ("task=vesicle trainer.l", ["trainer.log_every=", "trainer.lr="]),
    ],
)
def test_bash_completes_settings(tmp_path, words, expected):
    install = "segexp train -sc install=bash"
    assert completed(f"segexp train {words}", install, "_segexp_train_completion", tmp_path) == expected
    install = "python train.py -sc install=bash"
    assert completed(f"python train.py {words}", install, "hydra_bash_completion", tmp_path) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_the_other_commands(tmp_path):
    install = "segexp train -sc install=bash"
    assert completed("segexp che", install, "_segexp_train_completion", tmp_path) == ["check"]


def test_other_shells_are_told_what_to_type():
    command = [sys.executable, "-m", "segexp.cli", "train", "-sc", "install=fish"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: -sc: expected install=bash")


def test_hydra_finds_the_word_in_the_script_that_it_looks_for():
    assert "@hydra.main" in (ROOT / "train.py").read_text()

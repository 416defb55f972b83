"""CONTRIBUTING.md: where the twelve typical changes are made."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHANGES = ["third task", "loss", "augmentation operation", "score", "model", "image format"]
CHANGES += ["optimiser", "chart", "CLI flag", "launcher", "export format", "logger"]


def test_each_typical_change_names_at_most_three_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Twelve typical changes")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([\w ]+) \| (.*) \|$", section, re.MULTILINE)
    assert [name for name, _ in rows[1:]] == CHANGES
    for name, cell in rows[1:]:
        files = re.findall(r"`([^`]+)`", cell)
        assert 1 <= len(files) <= 3, name
        for file in files:
            assert (ROOT / file).is_file(), f"{name}: {file}"

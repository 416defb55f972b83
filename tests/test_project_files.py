"""Files for those who join in: they name the commands and versions that the gate and the package have."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_linters_of_pre_commit_and_make_are_those_of_the_gate():
    gate = [line for line in text(".ci/run").splitlines() if line.split()[:1] in (["ruff"], ["mypy"])]
    assert gate == ["ruff check .", "ruff format --check .", "mypy"]
    assert " && ".join(gate) in text("Makefile")
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in hooks]
    assert entries == [line.removesuffix(" .") for line in gate]


def test_make_runs_the_tests_as_the_readme_and_the_gate_do():
    assert "python -m pytest -n 2\n" in text("Makefile")
    assert "python -m pytest -n 2\n" in text("README.md")
    assert 'python -m pytest -n 2 -m "slow and not long"' in text("Makefile")
    assert 'python -m pytest -n 2 -m "slow and not long"' in text(".ci/run")


def test_the_workflow_calls_the_gate():
    steps = yaml.safe_load(text(".github/workflows/gate.yml"))["jobs"]["gate"]["steps"]
    assert {"run": "bash .ci/run"} in steps


def test_one_version():
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert yaml.safe_load(text("CITATION.cff"))["version"] == project["version"]
    assert f"## [{project['version']}] - " in text("CHANGELOG.md")


def test_the_changelog_has_the_form_of_keep_a_changelog():
    headings = [line for line in text("CHANGELOG.md").splitlines() if line.startswith("#")]
    assert headings[0] == "# Changelog"
    for heading in headings[1:]:
        form = r"## \[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d|Unreleased)|## \[Unreleased\]"
        assert re.fullmatch(form + "|### (Added|Changed|Deprecated|Removed|Fixed|Security)", heading), heading


def test_the_forms_ask_for_what_the_doctor_says():
    form = yaml.safe_load(text(".github/ISSUE_TEMPLATE/fault.yml"))
    assert any("segexp doctor --json" in part["attributes"]["label"] for part in form["body"])


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "src" / "segexp" / "py.typed").is_file()

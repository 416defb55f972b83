"""The pictures, the notebook and the site: each is made again from the code, and what the pages point to is there."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import script

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PICTURES = {"tasks.webp", "augmentation.webp", "run.svg"}
LARGEST = 300_000  # bytes
NOTEBOOK = DOCS / "tutorials" / "tutorial.ipynb"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def test_the_pictures_are_made_by_one_command(tmp_path):
    made = script("docs/make_pictures.py", "--output", tmp_path, "--seconds", "1", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert {path.name for path in tmp_path.iterdir()} == PICTURES
    for path in tmp_path.iterdir():
        assert 2_000 < path.stat().st_size < LARGEST
        assert path.suffix == ".svg" or path.read_bytes()[8:12] == b"WEBP"
    assert "best_vesicle_model.pth" in (tmp_path / "run.svg").read_text(encoding="utf-8")


def test_pictures_are_small_and_load_nothing():
    assert {path.name for path in (DOCS / "img").iterdir()} >= PICTURES
    for path in (DOCS / "img").iterdir():
        assert path.stat().st_size < LARGEST, path
    text = (DOCS / "img" / "run.svg").read_text(encoding="utf-8")
    assert "url(http" not in text
    assert "@import" not in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_have_a_text_and_links_lead_somewhere(page):
    """Relative links to files; the site's build checks anchors and the pages that it makes."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for mark, label, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", text):
        assert not mark or len(label) > 15, f"{page}: {target} has no text in its place"
        path = target.partition("#")[0]
        made = page.parent / path in {
            DOCS / "reference/commands.md",
            DOCS / "reference/settings.md",
            DOCS / "tutorials/notebook.md",
        }
        if not target.startswith(("http", "#")) and not made:
            assert (page.parent / path).exists(), f"{page}: {target}"


def test_the_site_shows_every_page():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    for page in DOCS.rglob("*.md"):
        assert f": {page.relative_to(DOCS).as_posix()}\n" in nav, page


def test_the_notebook_is_committed_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_notebook_runs(tmp_path):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (tmp_path / "notebook.py").write_text(
        code + "\nassert (folder / 'runs/mine/report.html').is_file()\n", encoding="utf-8"
    )
    done = script(tmp_path / "notebook.py", cwd=tmp_path, MPLBACKEND="agg")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="the extra docs is not installed")
def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("index", "reference/commands", "reference/settings", "reference/api", "tutorials/notebook"):
        page = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"?https?:", page), name
        assert not re.findall(r"<link[^>]*rel=\"?(?:stylesheet|preload)[^>]*href=\"?https?:", page), name
    assert "<h2" in (tmp_path / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "segexp predict" in (tmp_path / "reference" / "commands.html").read_text(encoding="utf-8")
    assert list((tmp_path / "search").glob("search_index.js")), "the search index that pages read from the disk"

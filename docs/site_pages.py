"""MkDocs hook: the pages that are made from the code, so that they cannot disagree with it.

reference/commands.md from the typer application, reference/settings.md from `conf/`, tutorials/notebook.md from the
notebook.
"""

import json
import re
from pathlib import Path

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from segexp.cli import app

ROOT = Path(__file__).parent.parent
NOTEBOOK = "tutorials/tutorial.ipynb"
CONF_HEADER = """# Settings

`segexp train GROUP=OPTION KEY=VALUE` chooses an option of a group and changes single values. `segexp train --help`
prints all choices and defaults; `segexp train task=vesicle --cfg job` prints what a command would use. A folder of your
own options is added with `--config-dir DIR`. Types and limits are checked before anything is read; a wrong value is
reported with what is accepted.

These are the files of `conf/`.

"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "reference/commands.md": commands(),
        "reference/settings.md": settings(),
        "tutorials/notebook.md": notebook(ROOT / "docs" / NOTEBOOK),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def commands() -> str:
    """Each command of `segexp` with its arguments and options."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="segexp", title="Commands")
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", text)  # their summaries are cut; the headings say the same
    return "".join(
        part if n % 2 else part.replace("<", "&lt;") for n, part in enumerate(re.split(r"(`+[^`]*`+)", text))
    )


def settings() -> str:
    """Each group of `conf/` with the files of its options."""
    parts = [CONF_HEADER, "## Defaults: `config.yaml`\n\n", _yaml(ROOT / "conf" / "config.yaml")]
    files = sorted((ROOT / "conf").rglob("*.yaml"), key=lambda path: (path.parent, path.name != "default.yaml", path))
    group = None
    for path in files:
        folder = path.parent.relative_to(ROOT / "conf").as_posix()
        if folder == ".":
            continue
        if folder != group:
            parts.append(f"## `{folder}`\n\n")
            group = folder
        parts.append(f"### `{folder}={path.stem}`\n\n{_yaml(path)}")
    return "".join(parts)


def _yaml(path: Path) -> str:
    return f"```yaml\n{path.read_text(encoding='utf-8')}```\n\n"


def notebook(path: Path) -> str:
    """A page from the cells of a notebook, without outputs."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts)

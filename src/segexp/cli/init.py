"""`segexp init`: a folder for experiments of your own, beside segexp instead of inside it."""

import difflib
import keyword
import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from segexp.errors import InputError

TEMPLATE = Path(__file__).parent / "new_project"
"""The template project; `init` replaces the task name `NAMED` in the copy."""
NAMED, LIKE = "microvilli", "cytoskeleton"
STARTS = ("cytoskeleton", "vesicle")
"""Tasks that a new task can start from."""


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write: new, or empty.", show_default=False)
    ],
    task: Annotated[str, typer.Option(help="What you segment, such as microvilli.", show_default=False)],
    like: Annotated[
        str, typer.Option(help="Task to start from: cytoskeleton for thin lines, vesicle for blobs.")
    ] = LIKE,
) -> None:
    """Write a small project for a task of your own: settings, a module with parts, tests, a README.

    DIR/conf/ holds the task, an experiment, and an option each for loss, augmentation and model; DIR/TASK_parts.py
    holds their classes and a score, as examples to change. Existing files are never replaced.

    Example: segexp init lab --task microvilli
    """
    check_names(task, like)
    files = project_files(task, like)
    check_folder(directory, task)
    write(directory, files)
    inside = shlex.quote(str(directory))
    print(f"{len(files)} files in {directory}; its README says how to train. Try it: cd {inside} && python -m pytest")


def check_names(task: str, like: str) -> None:
    """`InputError` unless the name fits a Python module and a file, and is not a task of segexp's."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,49}", task) or keyword.iskeyword(task):
        raise InputError(
            f"--task {task}: expected a small letter, then small letters, digits and _, at most 50 in all, such as "
            "microvilli: it becomes the name of a module and of files"
        )
    if like not in STARTS:
        near = difflib.get_close_matches(like, STARTS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"--like {like}: expected one of {', '.join(STARTS)}{hint}")
    from segexp.config import package_conf_dir

    for group in ("task", "experiment", "loss", "augment", "model"):
        if (package_conf_dir() / group / f"{task}.yaml").exists():
            raise InputError(f"--task {task}: segexp has a {group} of this name; choose another name")


def project_files(task: str, like: str = LIKE) -> dict[str, str]:
    """Paths inside the project and the texts of these files."""
    found = {
        path.relative_to(TEMPLATE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(TEMPLATE.rglob("*"))
        if path.suffix in (".md", ".py", ".yaml")
    }
    return {name.replace(NAMED, task): text.replace(LIKE, like).replace(NAMED, task) for name, text in found.items()}


def check_folder(directory: Path, task: str) -> None:
    """`InputError` if the folder is a file, cannot be written to, or is not empty."""
    from segexp.cli.output_paths import folder_to_write

    if os.path.lexists(directory) and not directory.is_dir():
        raise InputError(f"{directory}: a file; expected the name of a new folder")
    folder_to_write(directory, flag="segexp init")
    there = sorted(os.listdir(directory)) if directory.is_dir() else []
    if there:
        more = f" and {len(there) - 3} more" if len(there) > 3 else ""
        raise InputError(
            f"{directory}: holds {', '.join(there[:3])}{more}; expected a new or empty folder, such as "
            f"{directory / task}: segexp init replaces nothing"
        )


def write(directory: Path, files: dict[str, str]) -> None:
    """Write the files; if one cannot be written, those written before it are removed again.

    Raises:
        InputError: if a file of such a name has appeared in the meantime.
        OSError: if a file cannot be written.
    """
    written: list[Path] = []
    try:
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise InputError(f"{error.filename}: was created in the meantime; expected a new or empty folder") from None
        raise

"""The folder of a sweep: which jobs in it are its own, and how it is claimed.

The folder's record (`segexp.io.ownership`) has a line for the sweep when it begins, and one for each folder that it
creates for a job. Other folders are ignored: a ``job.json`` elsewhere belongs to another sweep or another program.
Sweeps from before these records are recognised by their ``multirun.yaml``, with the folders of jobs beside it.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from segexp.errors import InputError
from segexp.io import ownership
from segexp.io.atomic import flush
from segexp.io.ownership import LOCK, RECORD, OwnedFolder
from segexp.io.run_folder import CURVE_FILES, JOB_FILES, STATE, SWEEP_FILES, RunFolder

NAMES = (*SWEEP_FILES, *CURVE_FILES, "report.html")
"""Files that a sweep writes directly in its folder."""


def _lines(sweep: Path) -> Iterator[dict]:
    try:
        content = (sweep / RECORD).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line.decode("utf-8", errors="surrogateescape"))
            if isinstance(entry, dict):
                yield entry


def _append(sweep: Path, facts: dict[str, Any]) -> None:
    line = json.dumps(facts | {"command": OwnedFolder(sweep).command}) + "\n"
    with (sweep / RECORD).open("a", encoding="ascii") as file:
        file.write(line)
        flush(file)


def jobs(sweep: Path) -> list[Path]:
    """Folders that the sweep created for its jobs, in order of creation."""
    names: dict[str, None] = {}
    begun = False
    for entry in _lines(sweep):
        if "sweep" in entry:
            names, begun = {}, True
        elif isinstance(entry.get("job"), str):
            names[entry["job"]] = None
    if not begun:
        names |= dict.fromkeys(path.parent.name for path in sorted(sweep.glob("*/job.json")) if _is_jobs(path))
    inside = (name for name in names if not os.path.isabs(name) and ".." not in Path(name).parts)
    return [sweep / name for name in inside]


def is_job(sweep: Path, folder: Path) -> bool:
    """Whether the sweep created this folder for a job."""
    return _name(sweep, folder) in {_name(sweep, job) for job in jobs(sweep)}


def _name(sweep: Path, folder: Path) -> str:
    return Path(os.path.relpath(folder, sweep)).as_posix()


def add_job(sweep: Path, folder: Path) -> None:
    """Record that the sweep creates this folder for a job."""
    sweep.mkdir(parents=True, exist_ok=True)
    if not (_begun(sweep) and is_job(sweep, folder)):
        _append(sweep, {"job": _name(sweep, folder)})


def begin_sweep(sweep: Path, resume: bool, again: bool, overwrite: bool, stack: ExitStack) -> str:
    """Claim a sweep's folder and lock it until `stack` closes; returns a line on what was moved aside.

    Args:
        sweep: the folder; need not exist.
        resume: whether an earlier sweep there is to be resumed; there must be one.
        again: whether an earlier sweep there, if any, is resumed: for searches, and jobs that a cluster restarts.
        overwrite: whether an earlier sweep there is moved aside.
        stack: what holds the lock.

    Raises:
        InputError: as `require`, or if another command holds the folder. Nothing is changed then.
    """
    if os.path.lexists(sweep / LOCK):
        stack.enter_context(ownership.hold(sweep))
        locked = True
    else:
        locked = False
    require(sweep, resume, again, overwrite)
    sweep.mkdir(parents=True, exist_ok=True)
    if not locked:
        stack.enter_context(ownership.hold(sweep))
        require(sweep, resume, again, overwrite)
    message = ""
    if overwrite and not resume and holds_sweep(sweep):
        message = f"the earlier sweep is kept in {set_aside(sweep)}"
    if (resume or again) and (holds_sweep(sweep) or unrecorded(sweep)):
        adopt(sweep)
    else:
        _append(sweep, {"sweep": "begun"})
    return message


def holds_sweep(sweep: Path) -> bool:
    """Whether the folder holds a sweep of segexp."""
    folder = OwnedFolder(sweep)
    there = any(folder.knows(name) and os.path.lexists(sweep / name) for name in SWEEP_FILES)
    return there or any((job / "job.json").exists() for job in (jobs(sweep) if _begun(sweep) else ()))


def _begun(sweep: Path) -> bool:
    return any("sweep" in entry for entry in _lines(sweep))


def unrecorded(sweep: Path) -> bool:
    """Whether the folder holds a sweep from before segexp kept records."""
    if _begun(sweep) or not (sweep / "multirun.yaml").is_file() or OwnedFolder(sweep).knows("multirun.yaml"):
        return False
    return any(_is_jobs(path) for path in sweep.glob("*/job.json"))  # other programs leave a multirun.yaml, too


def _is_jobs(path: Path) -> bool:
    """Whether a ``job.json`` is one of segexp's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"format", "identity", "overrides", "status"} <= content.keys()


def require(sweep: Path, resume: bool, again: bool, overwrite: bool) -> None:
    """Make sure that a sweep may start or resume here; changes nothing.

    Raises:
        InputError: if a name that a sweep or its jobs write is taken by something that is not segexp's own, or if
            the folder holds an earlier sweep or a run.
    """
    folder, place = RunFolder(sweep), f"output_dir={sweep}"
    run = folder.present((STATE, "best_*_model.pth", *JOB_FILES), {})
    if run:
        raise InputError(f"{place}: holds {', '.join(run)} of a run or another program; choose another output_dir")
    if resume or again:
        if unrecorded(sweep) and (resume or (sweep / "search.journal").is_file()):
            return
        if holds_sweep(sweep) or resume:
            folder.require_free(NAMES, "sweep.resume" if resume else "output_dir")
            return
    foreign = folder.foreign(NAMES)
    if unrecorded(sweep):
        raise InputError(
            f"{place}: already contains a sweep. Resume it: sweep.resume={sweep}; or choose another output_dir"
        )
    known = set(jobs(sweep)) if _begun(sweep) else set()
    if sweep.is_dir():
        foreign += sorted(
            entry.name
            for entry in os.scandir(sweep)
            if entry.name.isdecimal() and sweep / entry.name not in known and not _empty(sweep / entry.name)
        )
    if foreign:
        raise InputError(
            f"{place}: {', '.join(foreign[:5])} would be overwritten by files of the sweep and was not written by "
            "it. Nothing was changed. Choose another output_dir"
        )
    if holds_sweep(sweep) and not overwrite:
        raise InputError(
            f"{place}: already contains a sweep. Nothing was changed. Resume it: sweep.resume={sweep}; choose another "
            "output_dir; or add overwrite=true to this command: that moves the existing files to "
            f"{_aside(sweep).name}/ "
            "first, and deletes nothing"
        )


def _empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _aside(sweep: Path) -> Path:
    number = 1
    while os.path.lexists(sweep / f"earlier_{number}"):
        number += 1
    return sweep / f"earlier_{number}"


def adopt(sweep: Path) -> None:
    """Record a resumed sweep from before these records, and its jobs."""
    if _begun(sweep):
        return
    known = jobs(sweep)
    folder = RunFolder(sweep)
    for name in NAMES:
        if (sweep / name).is_file() and not (sweep / name).is_symlink() and not folder.knows(name):
            folder.note(name)
    _append(sweep, {"sweep": "begun"})
    for job in known:
        add_job(sweep, job)
        files = OwnedFolder(job)
        for name in JOB_FILES:
            if (job / name).is_file() and not files.knows(name):
                files.note(name)


def set_aside(sweep: Path) -> Path:
    """Move what a sweep and its jobs wrote to ``earlier_1`` (the next free number); nothing else is moved."""
    target = _aside(sweep)
    known = jobs(sweep)
    top = RunFolder(sweep)
    names = [name for name in NAMES if top.owns(name)]
    target.mkdir()
    _append(target, {"sweep": "begun"})
    for job in known:
        name = job.relative_to(sweep).as_posix()
        files = RunFolder(job)
        owned = [name for name in files.present() if files.owns(name)]
        if owned:
            _append(target, {"job": name})
            files.set_aside(owned, target / name)
        _drop(job)
    kept = OwnedFolder(target)
    for name in names:
        kept.note(name, sweep / name)
        os.rename(sweep / name, target / name)
    return target


def _drop(folder: Path) -> None:
    """Remove a folder that holds nothing but segexp's record and lock."""
    if folder.is_dir() and not folder.is_symlink() and {path.name for path in folder.iterdir()} <= {RECORD, LOCK}:
        for name in (RECORD, LOCK):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def note_text(sweep: Path, name: str, text: bytes) -> None:
    """Record a file that Hydra is about to write with this content."""
    entry = {"path": name, "size": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    _append(sweep, entry)

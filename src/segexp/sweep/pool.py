"""Run jobs in parallel on one machine, each in its own process, started when another one ends.

A job receives its input through its standard input, which stays open: if the pool dies, even by ``kill -9``, the jobs
see it close, save their state and end. A signal to the pool is passed on to the jobs, which save and end; a second one
ends everything at once.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from segexp.errors import InputError
from segexp.io.cores import cores
from segexp.io.ownership import OwnedFolder
from segexp.io.run_folder import RunFolder
from segexp.sweep import FAILURE, LOG
from segexp.sweep.job_store import FAILED, INTERRUPTED, RUNNING, WAITING, Record, read_job
from segexp.training.stop import StopRequest

_POLL = 0.1
"""Seconds between two polls of the processes."""


@dataclass
class Work:
    """A job to run: its record (with its folder), the input of its process, and whether it is resumed."""

    record: Record
    payload: bytes
    resumes: bool = False


class Watcher(Protocol):
    """Callbacks for the progress of the jobs: see `segexp.sweep.progress.SweepProgress`."""

    def started(self, record: Record) -> None:
        """A job's process was started."""

    def ended(self, record: Record) -> None:
        """A job is done, failed or interrupted."""

    def refresh(self) -> None:
        """Some time has passed."""


@dataclass
class _Busy:
    process: subprocess.Popen
    log: IO[bytes]
    record: Record
    place: int


def places(jobs: int, threads: int | None, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Environment variables of each of `jobs` processes: its share of the cores, and one GPU (shared if too few).

    Args:
        jobs: how many run at once.
        threads: of each; None: OMP_NUM_THREADS if it is set, else an equal share of this process's cores.
        gpus: names for CUDA_VISIBLE_DEVICES; empty if there is none.
    """
    if threads is None:
        given = os.environ.get("OMP_NUM_THREADS", "")
        threads = int(given) if given.isdigit() and int(given) > 0 else max(1, cores() // jobs)
    share = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), str(threads))
    return [share | ({"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {}) for place in range(jobs)]


def run_pool(
    works: Sequence[Work],
    command: Sequence[str],
    environments: Sequence[Mapping[str, str]],
    watcher: Watcher,
    stop: StopRequest,
    settled: Callable[[], object] = lambda: None,
) -> None:
    """Run all jobs, as many at once as there are environments; returns early if `stop` is set, after all have ended.

    The records hold the results of the jobs in the end. `settled` is called after each job.
    """
    waiting, signal_received = deque(works), 0
    busy: list[_Busy] = []
    free = list(range(len(environments)))
    try:
        while busy or (waiting and not stop.number):
            while waiting and free and not stop.number:
                place, work = free.pop(0), waiting.popleft()
                watcher.started(work.record)
                try:
                    busy.append(_start(work, command, environments[place], place))
                except (InputError, OSError) as error:  # a full disk, or a file that somebody changed
                    free.append(place)
                    _save(work.record, status=FAILED, message=f"it could not be started: {error}")
                    watcher.ended(work.record)
            if stop.number and not signal_received:
                signal_received = stop.number
                for one in busy:
                    one.process.send_signal(signal_received)
            for one in [one for one in busy if one.process.poll() is not None]:
                busy.remove(one)
                free.append(one.place)
                _settle(one, bool(signal_received))
                settled()
                watcher.ended(one.record)
            watcher.refresh()
            time.sleep(_POLL)
    finally:
        for one in busy:  # only where something above went wrong
            one.process.kill()


def _start(work: Work, command: Sequence[str], environment: Mapping[str, str], place: int) -> _Busy:
    """Start a process in its own session: Ctrl-C in the terminal only reaches the pool, which passes it on."""
    record = work.record
    if not work.resumes:
        RunFolder(record.folder).remove(LOG)
    with (record.folder / LOG).open("ab") as begun:
        if begun.tell() == 0:
            begun.write(f"job {record.number}: {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
    RunFolder(record.folder).note_beginning(LOG)
    record.save(status=RUNNING, message="")
    log = (record.folder / LOG).open("ab")
    process = subprocess.Popen(  # noqa: S603 this Python with segexp's own arguments, no shell
        command,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once; its log says why
        process.stdin.write(work.payload)
        process.stdin.flush()
    return _Busy(process, log, record, place)


def _settle(one: _Busy, stopping: bool) -> None:
    """Read what the job recorded about itself, or derive it from how its process ended."""
    one.log.close()
    assert one.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        one.process.stdin.close()
    record, code = one.record, one.process.returncode
    written = read_job(record.folder)
    if written is not None:
        for name in ("status", "score", "better", "seconds", "message", "sittings", "identity"):
            setattr(record, name, getattr(written, name))
    if record.status not in (RUNNING, WAITING):
        return
    if stopping or code in (-signal.SIGTERM, -signal.SIGINT):
        _save(record, status=INTERRUPTED)
        return
    message = _last_words(code)
    with contextlib.suppress(InputError, OSError):  # a full disk
        OwnedFolder(record.folder).write(FAILURE, "\n".join([*tail(record.folder), message, ""]))
    _save(record, status=FAILED, message=message)


def _save(record: Record, **changes: Any) -> None:
    """As `Record.save`; if the record cannot be written, the pool still knows it and the other jobs continue."""
    with contextlib.suppress(InputError, OSError):
        record.save(**changes)


def _last_words(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the system often does this when memory runs out" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{hint}"
    return f"its process ended with exit code {code}"


def tail(folder: Path, name: str = LOG, lines: int = 12) -> list[str]:
    """The last lines of a job's log, or of another file in its folder."""
    try:
        with (folder / name).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.rstrip().splitlines()[-lines:]

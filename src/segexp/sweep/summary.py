"""The Hydra callback of a multirun: ``summary.csv`` as jobs end, the closing table, its page, and the exit code."""

import contextlib
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from segexp.config.overrides import stored_overrides
from segexp.distributed import join, share
from segexp.errors import InputError, printable
from segexp.report import write_report
from segexp.sweep.entry import restarted
from segexp.sweep.folder import begin_sweep, note_text
from segexp.sweep.job_store import DONE, FAILED, GIVEN_UP, Record, damaged_records, read_jobs
from segexp.sweep.subfolders import require_own_folders
from segexp.sweep.table import FILE, closing_line, print_jobs, update_summary, write_summary

locks = ExitStack()
"""The lock on the folder of the running sweep; closed by `segexp.train.main`."""
new_folders: list[Path] = []
"""The run folder, and parents of it, that Hydra creates before a single run has been checked."""


def remove_new_folders() -> None:
    """Remove the folders that Hydra created for a refused run; folders that are not empty stay."""
    for folder in new_folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
    new_folders.clear()


class SweepSummary(Callback):
    """Summarises the jobs of a sweep from the files in their folders, for any launcher.

    The exit code is 1 if a job failed. For a single run it notes which folders existed before.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Create the run's folder, or end with a message why that is not possible."""
        check_logging(config)
        name = place(config.hydra.run)
        folder = Path(name).absolute()
        with contextlib.suppress(OSError, ValueError):
            new_folders[:] = [place for place in (folder, *folder.parents) if not place.exists()]
        make_folder(name)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Claim the sweep's folder before anything is written to it.

        Raises:
            SystemExit: if the settings or the folder are refused; its text says why.
        """
        ranks, refused = join(), ""
        if ranks.first:
            try:
                self._claim(config)
            except SystemExit as error:
                refused = str(error.code)
        refused = share(ranks, refused)  # the others wait: Hydra goes on to write multirun.yaml in each process
        if refused:
            sys.exit(refused if ranks.first else 1)

    def _claim(self, config: DictConfig) -> None:
        check_logging(config)
        sweep = Path(place(config.hydra.sweep))
        try:
            problems = resumed_by_file(config.sweep.resume, stored_overrides(config.hydra))
            if problems:
                raise InputError(*problems)
            again, overwrite = restarted(config.hydra), bool(config.overwrite)
            require_own_folders(config)
            message = begin_sweep(sweep, bool(config.sweep.resume), again, overwrite, locks)
        except InputError as error:
            sys.exit(f"error: {error}")
        except OSError as error:
            sys.exit(f"error: output_dir={sweep}: {error.strerror}; choose a folder with write permission")
        except ValueError as error:
            sys.exit(f"error: output_dir={str(sweep)!r}: {error}; choose a folder with write permission")
        if message:
            print(message, flush=True)
        text = OmegaConf.to_yaml(config).encode("utf-8", errors="surrogateescape")
        note_text(sweep, "multirun.yaml", text)  # the sweeper writes it

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Update the table, so that it is there even if the sweep is killed."""
        if config.hydra.mode == RunMode.MULTIRUN and join().first:
            update_summary(Path(str(config.hydra.sweep.dir)), lambda line: print(line, flush=True))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the jobs, best first, and end with exit code 1 if any is not done."""
        ranks, complete, sweep = join(), False, Path(str(config.hydra.sweep.dir))
        if ranks.first:
            try:
                complete = conclude(sweep)
            except Exception:  # Hydra would make it a warning and end with 0
                traceback.print_exc()
        if not share(ranks, complete):
            sys.exit(1)


def resumed_by_file(folder: str | None, typed: Sequence[str]) -> list[str]:
    """An error if a file of settings, and not the command line, sets ``sweep.resume``; else an empty list."""
    if not folder or any(word.startswith("sweep.resume=") for word in typed):
        return []
    return [
        f"sweep.resume={folder}: is set in a file of settings, but it also names the folder of the sweep; expected "
        f"null there, and on the command line: sweep.resume={shlex.quote(folder)}"
    ]


def check_logging(config: DictConfig) -> None:
    """End with a message if ``hydra/job_logging`` would write ``train.log``, the run's own record."""
    handlers = OmegaConf.select(config, "hydra.job_logging.handlers") or OmegaConf.create({})
    plain = OmegaConf.to_container(handlers, resolve=False)
    assert isinstance(plain, dict)
    for name, handler in plain.items():
        file = str((handler or {}).get("filename") or "").replace("${hydra.job.name}", str(config.hydra.job.name))
        if Path(file).name == "train.log":
            sys.exit(
                f"error: hydra/job_logging: its handler {name!s} writes train.log, which is the run's own record; "
                "expected hydra/job_logging=stdout, or another file name in it"
            )


def place(settings: DictConfig) -> str:
    """The folder that ``hydra.run`` or ``hydra.sweep`` names; ends with a message if it cannot be resolved."""
    try:
        return str(settings.dir)
    except OmegaConfBaseException as error:  # Hydra would make it a warning, and fail later
        sys.exit(f"error: output_dir: {str(error).splitlines()[0]}")


def make_folder(folder: str) -> None:
    """Create a folder for results, or end the process with a message, unlike Hydra, which shows a traceback."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"error: output_dir={folder}: {error.strerror}; choose a folder with write permission")
    except ValueError as error:
        sys.exit(f"error: output_dir={folder!r}: {error}; choose a folder with write permission")


def conclude(sweep: Path) -> bool:
    """Write ``summary.csv``, the sweep's page and its learning curve, print the jobs.

    Returns:
        whether all jobs are done, their records can be read, the table is written, and, if only images and repeats
        vary, the curve is drawn.
    """
    console, fault = Console(highlight=False), ""
    try:
        records = write_summary(sweep)
    except (InputError, OSError) as error:
        records, fault = read_jobs(sweep), str(error)
    damaged = damaged_records(sweep)
    if not records and not fault:
        return not damaged
    print_jobs(records, console)
    words = f"error: {FILE} was not written: {printable(fault)}" if fault else f"{sweep / FILE}"
    console.print(words, markup=False, soft_wrap=True)
    # here: SciPy and Matplotlib take a second, and each job imports this module
    from segexp.sweep.learning_curve import OtherSweep, write_curve

    complete = not fault and not damaged and all(record.status in (DONE, GIVEN_UP) for record in records)
    try:
        for line in write_curve(sweep, records):
            console.print(printable(line), markup=False, soft_wrap=True)
    except (InputError, OSError) as error:
        console.print(f"no learning curve: {printable(str(error))}", markup=False, soft_wrap=True)
        complete = complete and isinstance(error, OtherSweep)
    try:
        if not fault:  # the page shows what that table says
            console.print(str(write_report(sweep)), markup=False, soft_wrap=True)
    except Exception as error:  # the jobs are done, whatever becomes of their page
        message = f"warning: report.html was not written ({type(error).__name__}: {error})"
        console.print(message, markup=False, soft_wrap=True)
    for path in damaged:
        words = f"error: {path} cannot be read, so its job counts as not done; move it away, then resume the sweep"
        console.print(printable(words), markup=False, soft_wrap=True)
    undone = closing_line(records)
    if undone:
        console.print(
            (f"{undone}. Resume with the same command and: {resume_command(sweep, records)}"),
            markup=False,
            soft_wrap=True,
        )
    return complete


def resume_command(sweep: Path, records: Sequence[Record]) -> str:
    """The settings to add to the command."""
    retry = " sweep.retry=true" if any(record.status == FAILED for record in records) else ""
    return f"sweep.resume={shlex.quote(str(sweep))}{retry}"

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
"""Keeps other commands out of the folder of the sweep that runs; closed by `segexp.train.main`."""
new_folders: list[Path] = []
"""The run folder, and parents of it, that Hydra makes before a single run is asked whether it can begin."""


def remove_new_folders() -> None:
    """Remove what Hydra made for a run that was refused; folders that hold anything stay."""
    for folder in new_folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
    new_folders.clear()


class SweepSummary(Callback):
    """Sums up the jobs of a multirun from what they left in their folders, whichever launcher ran them.

    The exit code is 1 where a job failed. For a single run it notes which folders were there before.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Make the run's folder, or end with a line that says why it cannot be."""
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
        """Write the table anew, so that a killed sweep leaves what it has."""
        if config.hydra.mode == RunMode.MULTIRUN and join().first:
            update_summary(Path(str(config.hydra.sweep.dir)), lambda line: print(line, flush=True))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the jobs, best first, and end with exit code 1 where one is not done."""
        ranks, complete, sweep = join(), False, Path(str(config.hydra.sweep.dir))
        if ranks.first:
            try:
                complete = conclude(sweep)
            except Exception:  # Hydra would make it a warning and end with 0
                traceback.print_exc()
        if not share(ranks, complete):
            sys.exit(1)


def resumed_by_file(folder: str | None, typed: Sequence[str]) -> list[str]:
    """What is wrong where a file of settings, and not the command line, sets ``sweep.resume``: one line, or none."""
    if not folder or any(word.startswith("sweep.resume=") for word in typed):
        return []
    return [
        f"sweep.resume={folder}: is set in a file of settings, but it also names the folder of the sweep; expected "
        f"null there, and on the command line: sweep.resume={shlex.quote(folder)}"
    ]


def check_logging(config: DictConfig) -> None:
    """End with a line where ``hydra/job_logging`` would write ``train.log``, the run's own record."""
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
    """The folder that ``hydra.run`` or ``hydra.sweep`` names; ends with a line where it refers to what is not there."""
    try:
        return str(settings.dir)
    except OmegaConfBaseException as error:  # Hydra would make it a warning, and fail later
        sys.exit(f"error: output_dir: {str(error).splitlines()[0]}")


def make_folder(folder: str) -> None:
    """Make a folder for results; one that cannot be made ends the process with one line, which Hydra's own does not."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"error: output_dir={folder}: {error.strerror}; choose a folder with write permission")
    except ValueError as error:
        sys.exit(f"error: output_dir={folder!r}: {error}; choose a folder with write permission")


def conclude(sweep: Path) -> bool:
    """Write ``summary.csv``, the sweep's page and its learning curve, print the jobs.

    Returns:
        whether all jobs are done and their records can be read, the table is written, and the curve is drawn where
        images and repeats alone vary.
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
    words = f"error: {FILE} is not written: {printable(fault)}" if fault else f"{sweep / FILE}"
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
        console.print(f"warning: no report.html ({type(error).__name__}: {error})", markup=False, soft_wrap=True)
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

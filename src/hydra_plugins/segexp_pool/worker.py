"""The process of one job: reads what to run from its standard input, which the pool keeps open while it lives.

Nothing but the standard library is imported before the input is read, so that the pool need not wait.
"""

import os
import pickle
import signal
import sys
import threading
from typing import Any


def main() -> None:
    """Run the job; its result is written to its folder."""
    size = int.from_bytes(_read(8), "big")
    content = pickle.loads(_read(size))  # noqa: S301 from the pool, over a pipe that nobody else holds
    threading.Thread(target=_follow, daemon=True).start()
    sys.argv = content["argv"]
    _run(content["config"], content["name"])


def _read(size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = os.read(0, size - len(parts))
        if not part:
            sys.exit("the pool has gone")
        parts += part
    return parts


def _follow() -> None:
    """If the pool ends, for example because it was killed, make this process save its state and end."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _run(config: Any, name: str) -> None:
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import JobRuntime, run_job, setup_globals
    from hydra.types import HydraContext

    from segexp.train import job

    setup_globals()
    JobRuntime.instance().set("name", name)
    context = HydraContext(config_loader=None, callbacks=Callbacks(config))  # type: ignore[arg-type]
    done = run_job(
        task_function=job,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )
    _ = done.return_value  # raises what the job raised

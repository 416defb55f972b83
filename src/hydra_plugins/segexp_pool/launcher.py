"""``hydra/launcher=pool hydra.launcher.jobs=N``; with one job at a time it is segexp's default launcher.

Hydra looks for launchers in the name space `hydra_plugins` only. This one composes each job's settings, finds the
folder that the job belongs in, passes by what a sweep that goes on has done already, and leaves the processes to
`segexp.sweep.pool`. See docs/sweeps.md.
"""

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class PoolLauncher(Launcher):
    """Runs each job of a sweep in its own process.

    Args:
        jobs: how many at once.
        threads: of each; None: its share of the cores.
        gpus: names or numbers of GPUs to share out, one a job; None: all that can be seen.
    """

    def __init__(self, jobs: int = 1, threads: int | None = None, gpus: Sequence[str | int] | None = None):
        self.jobs, self.threads, self.gpus = jobs, threads, gpus
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the configuration that Hydra has composed; the jobs themselves run `segexp.train.job`."""
        self.config, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; exits with 128 + its number after a signal, when all have saved their state."""
        from segexp.sweep.launch import check_settings, environments, run_jobs
        from segexp.sweep.subfolders import compose_job

        assert self.config is not None
        assert self.context is not None
        check_settings(self.jobs, self.threads, self.gpus)
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        sweep = Path(str(self.config.hydra.sweep.dir))
        configs = [
            compose_job(self.context.config_loader, self.config, overrides, initial_job_idx + index)
            for index, overrides in enumerate(job_overrides)
        ]
        code = f"import sys; sys.path[:] = {sys.path!r}; from hydra_plugins.segexp_pool.worker import main; main()"
        command = [sys.executable, "-P", "-c", code]
        places = environments(self.jobs, self.threads, self.gpus)
        records = run_jobs(sweep, configs, self._payload, command, places)
        return [_returned(config, record) for config, record in zip(configs, records, strict=True)]

    def _payload(self, config: DictConfig) -> bytes:
        """The input of `worker`."""
        content = pickle.dumps({"config": config, "argv": sys.argv, "name": config.hydra.job.name})
        return len(content).to_bytes(8, "big") + content


def _returned(config: DictConfig, record: Any) -> JobReturn:
    """The result of a job for a sweeper: its score, NaN if it has none."""
    from segexp.config.overrides import stored_overrides

    task = OmegaConf.create({key: value for key, value in OmegaConf.to_container(config).items() if key != "hydra"})  # type: ignore[union-attr]
    found = JobReturn(
        overrides=stored_overrides(config.hydra),
        cfg=task,
        hydra_cfg=OmegaConf.create({"hydra": config.hydra}),
        working_dir=str(Path.cwd()),
        task_name=config.hydra.job.name,
        status=JobStatus.COMPLETED,
    )
    found.return_value = float("nan") if record.score is None else record.score
    return found

"""``hydra/sweeper=optuna``: hands Hydra's command line, context and launcher to `segexp.sweep.search`.

Hydra imports every plugin at each start, so nothing heavy is imported here.
"""

import sys
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SearchSweeper(Sweeper):
    """A search with Optuna. The settings are those of ``conf/hydra/sweeper/optuna.yaml``."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's configuration, and instantiate its launcher."""
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Search; returns the results of the jobs."""
        from segexp.errors import InputError
        from segexp.sweep.search.command import run_search

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        loader = self.hydra_context.config_loader
        try:
            return run_search(arguments, self.config, loader, self.launcher, self.validate_batch_is_legal)
        except InputError as error:
            sys.exit(f"error: {error}")

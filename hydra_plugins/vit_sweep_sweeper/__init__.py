"""The Hydra Sweeper of vit_sweep: hands the whole grid to our planner at once.

Hydra scans this namespace at every start, so nothing heavy is imported here.
"""

import sys
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class VitSweepSweeperConf:
    """Schema of `hydra/sweeper=vit_sweep`: it has no knobs, a study's settings live in the task's config."""

    _target_: str = "hydra_plugins.vit_sweep_sweeper.VitSweepSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="vit_sweep", node=VitSweepSweeperConf, provider="vit_sweep")


class VitSweepSweeper(Sweeper):
    """Plans every cell of the grid before one job exists; Hydra's launcher is not used."""

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,  # noqa: ARG002 - Hydra's signature; our cells run in jobs, not here
        config: DictConfig,
    ) -> None:
        """Keep what composing a cell takes; refuse a launcher that would be ignored in silence."""
        from launchers.errors import UserError

        launcher = config.hydra.runtime.choices["hydra/launcher"]
        if launcher != "basic":
            raise UserError(
                f"hydra/launcher={launcher}: the launcher comes from the partition; leave it out and use partition=NAME"
            )
        self._loader, self._config = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the grid that `arguments` (override strings) span; ends the process with our exit code."""
        from vit_sweep.cli.sweep import run
        from vit_sweep.config.compose import expand

        sys.exit(run(expand(arguments, loader=self._loader, master=self._config), overrides=arguments))

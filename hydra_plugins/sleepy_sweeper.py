"""Tells Hydra of sleepy's sweeper.

Hydra finds sweepers in this namespace alone and reads this file whatever it is asked for, so nothing else is loaded
here. It does so before the module is in sys.modules, where dataclasses would look for postponed annotations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore


@dataclass
class SleepySweeperConf(BasicSweeperConf):
    """The options of Hydra's own sweeper."""

    _target_: str = "hydra_plugins.sleepy_sweeper.SleepySweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="sleepy", node=SleepySweeperConf, provider="sleepy")


class SleepySweeper(BasicSweeper):
    """Hydra's own sweeper, which hands every combination to the launcher, but those that are finished, and ends with a
    table: see sleepy.sweep.sweep."""

    def sweep(self, arguments: list[str]) -> Any:
        """See Sweeper.sweep."""
        from sleepy.sweep.sweep import prepared
        from sleepy.sweep.words import typed

        words = [*self._parse_config(), *typed(arguments)]
        self.config.hydra.overrides.task = words  # a launcher may compose from them
        with prepared(words, self.config, self.hydra_context.config_loader) as self._left:
            return super().sweep(arguments) if self._left else []

    def split_arguments(self, overrides: Any, max_batch_size: int | None) -> list[list[list[str]]]:
        """The jobs that are left to do, in the launcher's batches."""
        jobs = [list(job) for job in self._left]
        return [list(chunk) for chunk in self.split_overrides_to_chunks(jobs, max_batch_size)]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """They have been composed and checked already."""

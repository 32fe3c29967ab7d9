"""The jobs of a sweep, each composed, checked and identified before the first one starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sleepy.errors import ConfigError, SleepyError
from sleepy.explain import explain
from sleepy.identity import UNKNOWN, Identities, Identity
from sleepy.options import CONF
from sleepy.preflight import planned
from sleepy.settings import Settings, settings
from sleepy.sweep.compose import Composer
from sleepy.sweep.words import swept_keys
from sleepy.track.tracker import Tracker


@dataclass(frozen=True)
class Job:
    """One combination of a sweep's values: its overrides, its settings, and the resolved config behind them."""

    words: tuple[str, ...]
    settings: Settings
    stages: tuple[str, ...]
    config: dict[str, Any]
    identity: Identity = UNKNOWN

    @property
    def name(self) -> str:
        """The job as MLflow knows it."""
        return " ".join(self.words)


def checked(words: Sequence[str], sweep: DictConfig, loader: ConfigLoader) -> list[Job]:
    """Every job of these words, composed and checked. `sweep` is the config that Hydra made of them. Raises ConfigError
    that names each job with a problem."""
    if several := [key for key in swept_keys(words) if key.partition(".")[0] == "sweep"]:
        raise ConfigError(
            f"{', '.join(several)}: got several values, but a sweep has one. Give the command once for each"
        )
    composer = Composer(loader, sweep.hydra.job.config_name, list(sweep.hydra.overrides.hydra))
    parsed = OverridesParser.create(loader).parse_overrides(list(words))
    problems, sound = [], list[Job]()
    for job in (job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch):
        try:
            config = composer.compose(job)
            s = settings(config)
            resolved: Any = OmegaConf.to_container(config, resolve=True)
            sound.append(Job(tuple(job), s, planned(s.stages), resolved))
        except SleepyError as error:
            problems.append(f"{' '.join(job)}: {error}")
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(_explained(words, error, loader)) from error
    if problems or not sound:
        raise ConfigError("jobs of this sweep have problems; none was started:\n" + "\n".join(problems))
    return sound


def identified(jobs: Sequence[Job], tracker: Tracker) -> list[Job]:
    """The same jobs with their identities."""
    known = Identities(tracker, Path(jobs[0].settings.cache).expanduser())
    return [replace(job, identity=known.of(job.settings, job.stages, job.config)) for job in jobs]


def _explained(words: Sequence[str], error: Exception, loader: ConfigLoader) -> str:
    """Why Hydra cannot compose a job; Hydra's own words where the config is a recorded one."""
    places = loader.get_search_path().get_path()
    by_provider = {place.provider: Path(str(place.path).removeprefix("file://")) for place in places}
    folders = [by_provider["command-line"]] if "command-line" in by_provider else []
    told = explain(list(words), folders) if by_provider["main"] == CONF else []
    return "\n".join(told) or " ".join(f"{error} {error.__cause__ or ''}".split())

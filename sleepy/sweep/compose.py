"""The configs of many jobs, composed as Hydra does it, but what jobs have in common only once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict

from sleepy.options import groups


class Composer:
    """Composes jobs. Hydra reads and merges every file for every job, which is nearly all the time that it takes.

    Here the files are read and merged once for each combination of choices, and the other words are set on a copy. A
    combination of several choices is put together from configs that differ in one choice each, where a choice changes
    nothing but its own group: with ten options of one group and ten of another, twenty configs are composed and not a
    hundred.
    """

    def __init__(self, loader: ConfigLoader, config_name: str | None, hydra_words: Sequence[str] = ()) -> None:
        """`hydra_words` are the overrides of Hydra's own keys, which all jobs share."""
        self._loader, self._name, self._hydra = loader, config_name, list(hydra_words)
        self._parser = OverridesParser.create(loader)
        self._is_group: dict[str, bool] = {}
        self._read: dict[tuple[str, ...], DictConfig] = {}
        self._first: tuple[str, ...] = ()

    def compose(self, job: Sequence[str]) -> DictConfig:
        """The config of a job with these overrides. Raises HydraException for one that cannot be composed."""
        parsed = self._parser.parse_overrides(list(job))
        chosen = tuple(word for word, override in zip(job, parsed, strict=True) if self._chooses(override))
        config = copy.deepcopy(self._of_choices(chosen))
        ConfigLoaderImpl._apply_overrides_to_config([o for o in parsed if not self._chooses(o)], config)
        return config

    def _chooses(self, override: Override) -> bool:
        """Whether it chooses an option of a group, and so which files are read."""
        key = override.key_or_group
        if key not in self._is_group:
            self._is_group[key] = bool(self._loader.get_group_options(key))
        return self._is_group[key] and not isinstance(override.value(), dict)

    def _of_choices(self, chosen: tuple[str, ...]) -> DictConfig:
        """The config of these choices, without any other override."""
        self._first = self._first or chosen
        if chosen not in self._read:
            self._read[chosen] = self._put_together(chosen) or self._composed(chosen)
        return self._read[chosen]

    def _put_together(self, chosen: tuple[str, ...]) -> DictConfig | None:
        """The first job's config with those groups that are chosen otherwise; None where that may not be the same."""
        if len(chosen) != len(self._first):
            return None
        at = [i for i, (now, then) in enumerate(zip(chosen, self._first, strict=True)) if now != then]
        if len(at) < 2 or any(_group(chosen[i]) != _group(self._first[i]) or not _group(chosen[i]) for i in at):
            return None
        base, out = self._of_choices(self._first), None
        for i in at:
            one = self._of_choices((*self._first[:i], chosen[i], *self._first[i + 1 :]))
            group = _group(chosen[i])
            if not _differ_in(base, one, group):
                return None
            out = out if out is not None else copy.deepcopy(base)
            with flag_override(out, ["struct", "readonly"], False):
                out._set_item_impl(group, copy.deepcopy(one._get_node(group)))
        return out

    def _composed(self, chosen: Iterable[str]) -> DictConfig:
        words = [*self._hydra, *chosen]
        config = self._loader.load_configuration(self._name, words, run_mode=RunMode.RUN, from_shell=False)
        with open_dict(config):
            del config["hydra"]
        return config


def _group(word: str) -> str:
    """The group that a plain choice such as algo=share is of, else ""."""
    group, equals, _ = word.partition("=")
    return group if equals and group in groups() else ""


def _differ_in(one: DictConfig, other: DictConfig, group: str) -> bool:
    """Whether two configs are the same but for this group."""
    plain: list[dict[Any, Any]] = []
    for config in (one, other):
        found = OmegaConf.to_container(config, resolve=False)
        assert isinstance(found, dict)
        plain.append({key: value for key, value in found.items() if key != group})
    return plain[0] == plain[1]

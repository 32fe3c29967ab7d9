"""What is wrong with a command line, in words: each override is tried by itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sleepy.options import CONF, groups


def explain(words: list[str]) -> list[str]:
    """What is wrong with each override, tried one by one on top of the groups that are chosen rightly; [] if nothing
    is found."""
    problems: list[str] = []
    choices: list[str] = []
    rest: list[Any] = []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            problems.append(f"{word}: cannot be read as key=value ({str(error).splitlines()[0]})")
            continue
        group = override.key_or_group
        if group in groups() or group == "experiment":
            known = sorted(p.stem for p in (CONF / group).glob("*.yaml"))
            wrong = [value for value in _values(override) if value not in known]
            problems += [
                f"{group}: got {value!r}, must be one of {', '.join(known)}{_nearest(value, known)}" for value in wrong
            ]
            choices += [] if wrong else [f"{group}={_values(override)[0]}"]
        elif not group.startswith("hydra"):
            rest.append(override)
    base = _compose(choices)
    keys = list(_keys(base)) if isinstance(base, DictConfig) else []
    for override in rest:
        key = override.key_or_group
        if keys and key not in keys and not override.is_add():
            problems.append(f"{key}: no such option{_nearest(key, keys)}")
            continue
        for value in _values(override):
            result = _compose([*choices, f"{'+' * override.is_add()}{key}={value}"])
            if isinstance(result, Exception):
                problems.append(f"{key}: got {value!r}: {str(result.__cause__ or result).splitlines()[0]}")
    return ["the command line has problems:", *(f"  {p}" for p in problems)] if problems else []


def _values(override: Any) -> list[str]:
    """The override's value, or each of a sweep's."""
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 3, 0.6)
    near = near or [k for k in known if k.rsplit(".", 1)[-1] == word.rsplit(".", 1)[-1]][:3]
    return f"; nearest: {', '.join(near)}" if near else ""


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and isinstance(node._get_node(key), DictConfig):
            yield from _keys(node[key], f"{prefix}{key}.")


def _compose(words: list[str]) -> DictConfig | Exception:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", words)
    except (HydraException, OmegaConfBaseException) as error:
        return error

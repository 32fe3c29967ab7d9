"""What is wrong with a command line, in words: each override is tried by itself."""

from __future__ import annotations

import difflib
import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sleepy.options import CONF, groups

_PLACE = re.compile(r"In '([^']+)'")  # how Hydra says which file it was reading


def explain(words: list[str], folders: Sequence[Path] = ()) -> list[str]:
    """What is wrong with each override, tried one by one on top of the groups that are chosen rightly, for every
    combination of them in a sweep; [] if nothing is found. `folders` have further options, beside those of conf/."""
    problems: list[str] = []
    choices: list[list[str]] = []
    rest: list[Any] = []
    unknown: set[str] = set()
    elsewhere = [f"hydra.searchpath=[{','.join(repr(folder.as_uri()) for folder in folders)}]"] if folders else []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            problems.append(f"{word}: cannot be read as key=value ({str(error).splitlines()[0]}){_quoted(word)}")
            continue
        group = override.key_or_group
        if override.value_type is not None and override.value_type.name == "INTERVAL_SWEEP":
            problems.append(
                f"{word}: an interval has no values to sweep over. List them ({group}=a,b) or use "
                f"{group}=range(start,stop,step)"
            )
        elif group in groups() or group == "experiment":
            known = _options(group, folders)
            values = swept_values(override, known)
            wrong = [value for value in values if value not in known]
            problems += [
                f"{group} must be one of {', '.join(known)}, not {value!r}{_nearest(value, known)}" for value in wrong
            ]
            choices += [] if wrong else [[f"{group}={value}" for value in values]]
            unknown |= {group} if wrong else set()
        elif not group.startswith("hydra"):
            rest.append(override)
    rest = [override for override in rest if override.key_or_group.partition(".")[0] not in unknown]
    for number, combination in enumerate(itertools.product(*choices)):
        problems += _of_combination([*elsewhere, *combination], rest, first=not number)
    return ["the command line has problems:", *(f"  {p}" for p in dict.fromkeys(problems))] if problems else []


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or of what caused it."""
    return str(error.__cause__ or error).splitlines()[0]


def _of_combination(choices: list[str], rest: Sequence[Any], first: bool) -> Iterator[str]:
    """What is wrong with one choice for each group, and with the other overrides on top of it."""
    base, chosen = _compose(choices)
    if isinstance(base, Exception):
        yield _conflict(base, chosen)
        choices = [word for word in choices if not word.startswith("experiment=")]
        base, chosen = _compose(choices)
    keys = list(_keys(base)) if isinstance(base, DictConfig) else []
    for override in rest:
        key = override.key_or_group
        group = key.partition(".")[0]
        if keys and key not in keys and not (override.is_add() or override.is_force_add()):
            none = f"{group}={chosen[group]} has no such option" if group in chosen else "no such option"
            yield f"{key}: {none}{_having(key) or _nearest(key, keys)}"
        elif first or group in chosen:  # no other key's type depends on a choice
            for value in swept_values(override):
                result, _ = _compose([*choices, f"{override.get_key_element()}={value}"])
                if isinstance(result, Exception):
                    yield f"{key}={value}: {first_line(result)}"


def _conflict(error: Exception, chosen: dict[str, str]) -> str:
    """Why the files that are chosen do not go together."""
    cause = error.__cause__ or error.__context__
    place, key = _PLACE.match(str(error)), str(getattr(cause, "full_key", "") or "")
    if not place or not key:
        return str(error).replace("\n", " ")
    file, group = place[1], key.partition(".")[0]
    word = "=".join(file.split("/", 1)) if "/" in file else file
    if f"{group}={chosen.get(group)}" == word or "not in" not in first_line(error.__context__ or error):
        return f"{word} ({file}.yaml) sets {key} wrongly: {first_line(cause or error)}"
    option = f"{group}={chosen[group]}" if group in chosen else "the config"
    having = _having(key)
    return (
        f"{word} sets {key} ({file}.yaml), but {option} has no such option{having}. "
        f"{'Choose one of those' if having else 'Correct it'}, or leave out {word}"
    )


def _having(key: str) -> str:
    """The options of the key's group whose file has it, as the end of a sentence."""
    group, _, name = key.partition(".")
    names = [found for found in _options(group) if name in _listed(group, found)]
    return f"; {group}={', '.join(names)} {'has' if len(names) == 1 else 'have'} it" if names else ""


def _listed(group: str, option: str) -> list[str]:
    """The keys in an option's file, and in those of the same group that it is made of."""
    file: Any = OmegaConf.load(CONF / group / f"{option}.yaml")
    bases = [name for name in file.get("defaults", []) if isinstance(name, str) and not name.startswith("_")]
    return [*_keys(file), *(key for base in bases for key in _listed(group, base))]


def _quoted(word: str) -> str:
    """How to write a word whose value Hydra's grammar does not allow, if that helps."""
    key, equals, value = word.partition("=")
    inner = value[1:-1].split(",") if value.startswith("[") and value.endswith("]") else [value]
    quoted = ['"{}"'.format(part.strip().replace('"', r"\"")) for part in inner]
    better = f"{key}=[{','.join(quoted)}]" if value.startswith("[") else f"{key}={quoted[0]}"
    try:
        OverridesParser.create().parse_override(better)
    except HydraException:
        equals = ""
    return f". Quote the value inside the word: {shlex.quote(better)}" if equals else ""


def _options(group: str, folders: Sequence[Path] = ()) -> list[str]:
    """What can be chosen for a group, by files in conf/ and in `folders`."""
    return sorted({path.stem for folder in (CONF, *folders) for path in (folder / group).glob("*.yaml")})


def swept_values(override: Any, known: Sequence[str] = ()) -> list[str]:
    """The override's value, or each of a sweep's; `known` are those that a glob chooses from."""
    if override.value_type is not None and override.value_type.name == "GLOB_CHOICE_SWEEP":
        return list(override.value().filter(list(known)))
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 3, 0.6)
    near = near or [k for k in known if k.rsplit(".", 1)[-1] == word.rsplit(".", 1)[-1]][:3]
    return f". Did you mean {' or '.join(near)}?" if near else ""


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and isinstance(node._get_node(key), DictConfig):
            yield from _keys(node[key], f"{prefix}{key}.")


def _compose(words: list[str]) -> tuple[DictConfig | Exception, dict[str, str]]:
    """The config of these words, or why there is none; and what is chosen for each group."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    chosen: dict[str, str] = {}
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            found = loader.compute_defaults_list("config", words, RunMode.RUN).overrides.known_choices
            chosen = {group: name for group, name in found.items() if name and group in groups()}
            return compose("config", words), chosen
    except (HydraException, OmegaConfBaseException) as error:
        return error, chosen

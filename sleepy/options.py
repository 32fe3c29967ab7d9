"""The vocabulary in which options state their own ranges, and the check that reports every problem at once.

Every option is a frozen dataclass: its fields are the keys a user may set, their types are checked by Hydra when the
config is composed, and what `ranged`, `choice` and a `problems()` method say is checked here, before anything loads.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from sleepy.errors import ConfigError

CONF = Path(__file__).parent.parent / "conf"
_TARGET = re.compile(r"^_target_:\s*(\S+)", re.MULTILINE)


def ranged(
    default: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> Any:
    """A dataclass field for a number with bounds (in the unit its docstring names)."""
    bounds = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    return field(default=default, metadata={k: v for k, v in bounds.items() if v is not None})


def choice(default: str, *others: str) -> Any:
    """A dataclass field for one of a few words; the first is the default."""
    return field(default=default, metadata={"choices": (default, *others)})


_TESTS = {
    "above": (lambda v, b: v > b, "above {}"),
    "at_least": (lambda v, b: v >= b, "at least {}"),
    "below": (lambda v, b: v < b, "below {}"),
    "at_most": (lambda v, b: v <= b, "at most {}"),
}


def problems_of(option: Any, key: str) -> list[str]:
    """Every value of a dataclass `option` that its fields do not allow, as "key: found ..., expected ..." lines."""
    found: list[str] = []
    for f in fields(option):
        value, meta = getattr(option, f.name), f.metadata
        if "choices" in meta and value not in meta["choices"]:
            found.append(f"{key}.{f.name}: found {value!r}, expected one of {', '.join(meta['choices'])}")
        for name, (holds, words) in _TESTS.items():
            if name in meta and value is not None and not holds(value, meta[name]):
                found.append(f"{key}.{f.name}: found {value!r}, expected a value {words.format(meta[name])}")
    own = getattr(option, "problems", None)
    return found + [f"{key}.{line}" for line in (own() if own else [])]


@dataclass
class Root:
    """The keys outside of any group.

    stages: what to do, in the pipeline's order whatever the order given; see `sleepy.pipeline.NEEDS`.
    seed: of everything drawn at random: adapter, order of examples, dropout, bootstrap (at least 0).
    device: where training runs: "auto" (CUDA, else Apple's MPS, else the CPU), "cpu", "cuda" or "mps".
    cache: folder of models, verdicts and baselines.
    checkpoints: folder of the checkpoints from which a killed run goes on.
    episodes: file that every attempt of a model is recorded in (SQLite).
    debug: show tracebacks (on the command line alone).
    file: what stages=[repair] repairs: a Rust file, or the folder of a cargo project.
    write: put the repair in the file's place.
    edition: of a single file, "2018", "2021" or "2024"; a project says its own.
    """

    stages: list[str] = field(default_factory=list)
    seed: int = ranged(0, at_least=0)
    device: str = choice("auto", "cpu", "cuda", "mps")
    cache: str = MISSING
    checkpoints: str = MISSING
    episodes: str = MISSING
    debug: bool = False
    file: str = ""
    write: bool = False
    edition: str = choice("2021", "2018", "2024")
    model: Any = MISSING
    tasks: Any = MISSING
    data: Any = MISSING
    lora: Any = MISSING
    train: Any = MISSING
    algo: Any = MISSING
    stream: Any = MISSING
    merge: Any = MISSING
    routing: Any = MISSING
    export: Any = MISSING
    evaluate: Any = MISSING
    engine: Any = MISSING
    repair: Any = MISSING
    sandbox: Any = MISSING
    gate: Any = MISSING
    track: Any = MISSING
    report: Any = MISSING
    subspace: Any = MISSING


GROUPS = tuple(f.name for f in fields(Root) if f.type == "Any")


def register(checked: bool = True) -> None:
    """Put the dataclass behind every YAML into Hydra's ConfigStore, as `_<module>` of its group, so that Hydra checks
    names and types. A YAML's `_target_` is the registry: there is no other. With `checked` false the places are filled
    with nothing: half the time of a `--help` would go into checking what the user has not touched."""
    store = ConfigStore.instance()
    store.store(name="_root", node=Root if checked else {})
    seen = set()
    for path in sorted(CONF.glob("*/*.yaml")):
        group, found = path.parent.name, _TARGET.search(path.read_text(encoding="utf-8"))
        if group not in GROUPS or found is None or (group, found[1]) in seen:
            continue
        seen.add((group, found[1]))
        module, name = found[1].rsplit(".", 1)
        node = _node(getattr(importlib.import_module(module), name), found[1]) if checked else {}
        store.store(group=group, name=f"_{module.rsplit('.', 1)[1]}", node=node)


def _node(option: Any, target: str) -> Any:
    """The option's fields and `_target_` in a dataclass that is not frozen: OmegaConf takes frozen for read-only."""
    hints = get_type_hints(option)
    copied = [
        (f.name, hints[f.name], field(default=f.default, default_factory=f.default_factory)) for f in fields(option)
    ]
    return make_dataclass(option.__name__, [("_target_", str, field(default=target)), *copied], kw_only=True)


def options(config: DictConfig) -> dict[str, Any]:
    """Every group's option as its dataclass, and the root's keys as a `Root` under "root".

    Raises ConfigError with every problem of the config.
    """
    built = {group: _build(config[group]) for group in GROUPS}
    root = Root(**{f.name: _plain(config[f.name]) for f in fields(Root) if f.name not in GROUPS})
    problems = [line for line in problems_of(root, "")] + [
        line for group, option in built.items() for line in problems_of(option, group)
    ]
    if problems:
        raise ConfigError("the config has problems:\n" + "\n".join(f"  {line.removeprefix('.')}" for line in problems))
    return {"root": root, **built}


def _build(node: DictConfig) -> Any:
    """The option a group's `_target_` names, with the node's values; nothing is converted or loaded."""
    module, name = node["_target_"].rsplit(".", 1)
    option = getattr(importlib.import_module(module), name)
    return option(**{f.name: _plain(node[f.name]) for f in fields(option)})


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

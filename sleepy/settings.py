"""The whole config as one typed value: `Settings` is Hydra's schema, and what the pipeline works with.

A key of config.yaml is a field here. A group's field (`algo`) holds whatever class the chosen YAML names by `_target_`;
there is no other registry. A section's field (`lora`) holds its one dataclass.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sleepy.adapters.combine import Combine
from sleepy.deliver.export import Export
from sleepy.engines.engine import Engine
from sleepy.errors import ConfigError
from sleepy.evaluate.settings import Evaluate
from sleepy.exam.tasks import Tasks
from sleepy.gate.gate import Gate
from sleepy.models.model import Model
from sleepy.options import choice, groups, problems_of, ranged, targets
from sleepy.pairs.mix import Data
from sleepy.repair.strategy import Strategy
from sleepy.report.report import Report
from sleepy.routing.route import Routing
from sleepy.sandbox.checker import Sandbox
from sleepy.study.stream import Stream
from sleepy.subspace.subspace import Subspace
from sleepy.track.mlflow import Mlflow
from sleepy.track.repeats import Record, Replay
from sleepy.track.sweeps import Sweep
from sleepy.train.algorithm import Algorithm
from sleepy.train.lora import Lora
from sleepy.train.settings import Train


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a user can set.

    stages: what to do. The order is always the pipeline's, whatever the order given.
    seed: decides everything that is drawn at random: the adapter's first values, the order of examples, dropout (at
        least 0).
    device: where training runs. "auto" is CUDA, else Apple's MPS, else the CPU.
    cache: folder of models, compiler verdicts and measured scores, shared by all runs.
    checkpoints: folder of the checkpoints from which a killed run resumes.
    episodes: file in which every attempt of a model is recorded (SQLite).
    ability: ask general texts of each adapter that is trained: its loss, and its KL divergence from the base model.
    debug: show tracebacks. It has an effect on the command line only.
    file: a Rust file, or the folder of a cargo project, for stages=[repair]; a Rust file, or the id of a koan of the
        chosen `tasks`, for stages=[doubts].
    write: overwrite the file with its repair. Otherwise the repair is only shown.
    edition: the Rust edition of a single file. A project states its own.
    cargo_test: for stages=[repair], run your project's own tests, in the sandbox, on each repair that compiles. Only
        one that passes them counts.
    """

    stages: list[str] = field(default_factory=list)
    seed: int = ranged(0, at_least=0)
    device: str = choice("auto", "cpu", "cuda", "mps")
    cache: str = MISSING
    checkpoints: str = MISSING
    episodes: str = MISSING
    ability: bool = True
    debug: bool = False
    file: str = ""
    write: bool = False
    edition: str = choice("2021", "2018", "2024")
    cargo_test: bool = False

    model: Model = MISSING
    tasks: Tasks = MISSING
    sandbox: Sandbox = MISSING
    engine: Engine = MISSING
    repair: Strategy = MISSING
    data: Data = MISSING
    stream: Stream = MISSING
    algo: Algorithm = MISSING
    merge: Combine = MISSING
    routing: Routing = MISSING
    gate: Gate = MISSING

    lora: Lora = field(default_factory=Lora)
    train: Train = field(default_factory=Train)
    evaluate: Evaluate = field(default_factory=Evaluate)
    export: Export = field(default_factory=Export)
    track: Mlflow = field(default_factory=Mlflow)
    sweep: Sweep = field(default_factory=Sweep)
    replay: Replay = field(default_factory=Replay)
    record: Record = field(default_factory=Record)
    report: Report = field(default_factory=Report)
    subspace: Subspace = field(default_factory=Subspace)


_HINTS = get_type_hints(Settings)
GROUPS = groups()
SECTIONS = tuple(name for name, kind in _HINTS.items() if is_dataclass(kind) and name not in GROUPS)


def register() -> None:
    """Put the dataclass behind every YAML into Hydra's ConfigStore, as `_<module>` of its group, so that Hydra checks
    names and types when the config is composed."""
    store = ConfigStore.instance()
    store.store(name="_root", node=_root())
    for group, target in targets():
        store.store(group=group, name=f"_{target.split('.')[-2]}", node=_node(_class(target), target))


def settings(config: DictConfig) -> Settings:
    """The composed config as dataclasses. Raises ConfigError with every problem of its values."""
    if OmegaConf.get_type(config) is dict:  # a recorded one, which Hydra knows no schema of
        config = _typed(config)
    found = {f.name: _value(f.name, config[f.name]) for f in fields(Settings)}
    made = Settings(**found)
    problems = problems_of(made) + [
        line for name in (*GROUPS, *SECTIONS) for line in problems_of(getattr(made, name), name)
    ]
    if problems:
        raise ConfigError("the config has problems:\n" + "\n".join(f"  {line}" for line in problems))
    return made


def recorded(sources: Iterable[Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What was chosen for each group, and the words of the command line, where the config is an earlier job's: its
    hydra.yaml lies beside it. `sources` are Hydra's `runtime.config_sources`."""
    files = [Path(source.path) / "hydra.yaml" for source in sources if source.provider == "main"]
    earlier = OmegaConf.load(files[0]) if files and files[0].is_file() else OmegaConf.create()
    choices = OmegaConf.select(earlier, "hydra.runtime.choices") or {}
    words = OmegaConf.select(earlier, "hydra.overrides.task") or ()
    return {group: name for group, name in choices.items() if name}, tuple(words)


def name_of(option: object, chosen: str | None = None) -> str:
    """What a user calls an option: the YAML `chosen` for it, else the module of its class."""
    return chosen or type(option).__module__.rpartition(".")[2]


def _value(name: str, node: Any) -> Any:
    """A key's value; an option of a group as the class that its `_target_` names, a section as its dataclass."""
    if name not in GROUPS and name not in SECTIONS:
        return _plain(node)
    option: Any = _class(node["_target_"]) if name in GROUPS else _HINTS[name]
    return option(**{f.name: _plain(node[f.name]) for f in fields(option)})


def _typed(config: DictConfig) -> DictConfig:
    """A config with the schema that Hydra would have checked it by. Raises ConfigError for what that does not allow."""
    schema = OmegaConf.structured(_root())
    for group in GROUPS:
        target = str(OmegaConf.select(config, f"{group}._target_", default=""))
        try:
            schema[group] = OmegaConf.structured(_node(_class(target), target))
        except (ValueError, ImportError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"{group}: the recorded config names {target!r}, which is not an option of this version of sleepy. Run "
                "the command in overrides.yaml again instead"
            ) from error
    try:
        return cast(DictConfig, OmegaConf.merge(schema, config))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error


def _class(target: str) -> Any:
    module, name = target.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _root() -> Any:
    """`Settings` as Hydra checks it: what a group holds is known only when it is chosen."""
    columns: list[tuple[str, Any, Any]] = []
    for f in fields(Settings):
        if f.name in GROUPS:
            columns.append((f.name, Any, field(default=MISSING)))
        elif f.name in SECTIONS:
            section = _node(_HINTS[f.name])
            columns.append((f.name, section, field(default_factory=section)))
        else:
            columns.append((f.name, _HINTS[f.name], _default(f)))
    return make_dataclass("Settings", columns, kw_only=True)


def _node(option: Any, target: str = "") -> Any:
    """An option's fields (and `_target_`) in a dataclass that is not frozen: OmegaConf takes frozen for read-only."""
    hints = get_type_hints(option)
    first = [("_target_", str, field(default=target))] if target else []
    copied = [(f.name, hints[f.name], _default(f)) for f in fields(option)]
    return make_dataclass(option.__name__, [*first, *copied], kw_only=True)


def _default(f: Any) -> Any:
    return field(default=f.default, default_factory=f.default_factory)

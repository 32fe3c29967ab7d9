"""Which job a config is: equal for all jobs that must come to the same result, wherever and whenever they run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sleepy.artifacts import digest_of, digest_of_file
from sleepy.errors import SleepyError
from sleepy.exam.builtin import frozen
from sleepy.pairs.material import Pairs
from sleepy.sandbox.rustc import toolchain
from sleepy.settings import GROUPS, Settings
from sleepy.sources import code_digest, modules_of
from sleepy.track.adapters import adapter_folders
from sleepy.track.tracker import Tracker

# Keys that say where something is, how often it is saved, what is shown, or which of a sweep's jobs are done. What lies
# at a place counts by its digest.
_NO_EFFECT = (
    "stages", "cache", "checkpoints", "episodes", "debug", "file", "write", "track", "report", "sweep", "replay",
    "record", "train.checkpoint_every", "model.path", "model.repository",
    "model.revision", "model.wheels", "model.licence", "tasks.path", "data.path",
    "stream.adapters", "algo.adapters", "subspace.runs", "subspace.dpi", "repair.hints_file",
)  # fmt: skip
_MODULES = frozenset({"sleepy.pipeline", "sleepy.stages", "sleepy.errands"})


@dataclass(frozen=True)
class Identity:
    """A job's digest and what it is made of. `never` is the reason why an equal digest does not mean an equal result;
    such a job is always done. "" for all others."""

    digest: str
    parts: Mapping[str, Any]
    never: str = ""


UNKNOWN = Identity("", {}, "it is not known yet")


class Identities:
    """Identifies the jobs of one process. What several jobs have in common is read once, so this should not outlive the
    files that they read."""

    def __init__(self, tracker: Tracker, cache: Path) -> None:
        self._tracker, self._cache = tracker, cache
        self._known: dict[str, Any] = {}

    def of(self, s: Settings, stages: Sequence[str], resolved: Mapping[str, Any]) -> Identity:
        """The identity of a job with these settings; `resolved` is the config that they were made from."""
        options = [getattr(s, group) for group in GROUPS]
        never = ""
        if {"repair", "doubts"} & set(stages):
            never = "it reads files of yours, which may have changed"
        elif s.report.runs:
            never = "it shows runs, which may have changed"
        elif {"baseline", "evaluate"} & set(stages) and not s.engine.known_weights:
            never = "which weights the server has is not known"
        parts: dict[str, Any] = {
            "config": {**without(resolved, (*_NO_EFFECT, *(f"engine.{key}" for key in s.engine.no_effect)))},
            "stages": list(stages),
            "code": code_digest(_MODULES | modules_of(options)),
            "packages": _packages((*s.algo.packages, *s.engine.packages, *_quantized(s))),
        }
        try:
            parts |= self._read(s, stages)
        except SleepyError as error:  # the job will say so itself
            never = never or str(error)
        return Identity(digest_of(parts), parts, never)

    def _read(self, s: Settings, stages: Sequence[str]) -> dict[str, Any]:
        """Digests of what the job reads. Raises SleepyError for what is not there or cannot be read."""
        found: dict[str, Any] = {}
        if "fetch" in stages:
            found["model"] = self._once("model", s.model, lambda: s.model.identity(self._cache))
        if "prove" in stages:
            found["rustc"] = toolchain().version
            found["tasks"] = self._once("tasks", s.tasks, lambda: s.tasks.load().digest)
            found["pairs"] = self._once("pairs", s.data, lambda: _digest(s.data.load()))
        if "gate" in stages and s.gate.tasks != "exam":
            found["gate"] = self._once("gate", s.gate.tasks, lambda: frozen(s.gate.tasks).digest)
        if "baseline" in stages:
            found["asked"] = self._once("repair", s.repair, lambda: without(s.repair.identity(), ["hints_file"]))
        if "train" in stages:
            found["algo"] = self._once("algo", s.algo, s.algo.reads)
            found["stream"] = self._once("stream", s.stream, lambda: s.stream.reads(self._tracker))
            found["data"] = self._once("data", s.data, lambda: s.data.reads(s.data.load()))
        if "subspace" in stages:
            found["subspace"] = self._once("subspace", s.subspace.runs, lambda: self._adapters(s.subspace.runs))
        return found

    def _adapters(self, places: Sequence[str]) -> dict[str, list[str]]:
        found = adapter_folders(self._tracker, places)
        return {name: [digest_of_file(p) for p in sorted(path.glob("adapter_*"))] for name, path in found.items()}

    def _once(self, kind: str, option: object, find: Callable[[], Any]) -> Any:
        """What `find` gives for an option; for an equal one what it gave before."""
        key = f"{kind} {option!r}"
        if key not in self._known:
            self._known[key] = find()
        return self._known[key]


def significant(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config without what cannot change a result."""
    return without(config, _NO_EFFECT)


def without(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """A nested config without these dotted keys."""
    here = {key for key in keys if "." not in key}
    out = {}
    for name, value in config.items():
        below = [key.partition(".")[2] for key in keys if key.startswith(f"{name}.")]
        if name not in here:
            out[name] = without(value, below) if below and isinstance(value, Mapping) else value
    return out


def _digest(pairs: Pairs) -> str:
    """Of all that may be trained on or is held out."""
    return digest_of([pairs.digest, *(asdict(other) for other in (*pairs.chats, *pairs.unseen))])


def _quantized(s: Settings) -> tuple[str, ...]:
    return ("bitsandbytes",) if s.train.quantization == "nf4" else ()


@functools.cache
def _packages(names: tuple[str, ...]) -> dict[str, str]:
    """Their versions; "" for one that is not there, which the job will say itself."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found

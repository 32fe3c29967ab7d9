"""Adapters that are there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sleepy.adapters.combine import Combine
from sleepy.adapters.folder import adapter_in, read_updates
from sleepy.artifacts import Adapter, BaseModel, TaskSet, digest_of, digest_of_file
from sleepy.errors import ConfigError, ModelError
from sleepy.evaluate.candidates import Adapted
from sleepy.progress import say
from sleepy.routing.route import Routing
from sleepy.study.lab import Lab
from sleepy.study.step import Step
from sleepy.study.stream import Stream, check_several
from sleepy.track.adapters import adapter_folders
from sleepy.track.tracker import Tracker
from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class Given(Stream):
    """Nothing is trained. Each adapter is named after its folder, or after the run that it comes from; for a routing
    that has to be the name of a pattern.

    adapters: PEFT folders, folders that contain some, or MLflow runs (an id, or runs:/<id>). A run with children stands
        for their adapters.
    """

    learns = False
    by_pattern = True
    several = True

    adapters: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """What the field's own bounds cannot say."""
        ask = "adapters is empty. Name PEFT folders or MLflow runs, such as 'stream.adapters=[runs:/<id>]'"
        return [] if self.adapters else [ask]

    def check(self, algo: Algorithm, merge: Combine, routing: Routing, tracker: Tracker, pairs: TaskSet) -> None:
        """See Stream.check."""
        if algo.trains and type(algo).together is Algorithm.together:
            raise ConfigError("stream=given does not train, so use algo=none or algo=share with it")
        names = list(adapter_folders(tracker, self.adapters))
        check_several(merge, routing, len(names))
        if routing.routes:
            routing.open(pairs, names)

    def reads(self, tracker: Tracker) -> list[str]:
        """See Stream.reads: the adapters' names and files."""
        folders = adapter_folders(tracker, self.adapters)
        return [digest_of([n, [digest_of_file(p) for p in sorted(f.glob("adapter_*"))]]) for n, f in folders.items()]

    def run(self, lab: Lab) -> tuple[Step, ...]:
        """See Stream.run. Raises ModelError for adapters of another base model, or of different layers."""
        adapters = read(adapter_folders(lab.tracker, self.adapters), lab.base)
        known = {t.pattern for t in lab.pairs}
        if other := [name for name in adapters if name not in known]:
            say(
                f"{len(other)} of {len(adapters)} adapters are not named after a pattern (for example {other[0]}) and "
                "will never be chosen by routing"
            )
        rows = [{"pattern": name, "digest": a.digest, "folder": str(a.folder)} for name, a in adapters.items()]
        lab.run.table(rows, "adapters")
        used = lab.together(adapters)
        return tuple(Step(name=n, candidate=Adapted(lab.base, a), adapter=a) for n, a in used.items())


def read(folders: Mapping[str, Path], base: BaseModel) -> dict[str, Adapter]:
    """The adapters in PEFT folders. Raises ModelError when one is not of `base`, or not of the first one's layers."""
    found: dict[str, Adapter] = {}
    layers: dict[str, set[str]] = {}
    for name, folder in folders.items():
        found[name] = adapter_in(folder, base)
        layers[name] = {update.name for update in read_updates(found[name], base)}
        first = next(iter(layers))
        if differing := sorted(layers[name] ^ layers[first]):
            raise ModelError(
                f"{folder}: its layers are not those of {folders[first]} (for example {differing[0]}). Use adapters of "
                "the same lora.target_modules"
            )
    return found

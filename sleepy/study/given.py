"""Adapters that are there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sleepy.adapters.folder import adapter_in, read_updates
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ConfigError, ModelError
from sleepy.pairs.builtin import load_pairs
from sleepy.progress import say
from sleepy.study.learned import Learned
from sleepy.study.learner import Learner
from sleepy.study.stream import Stream, check_several
from sleepy.track.adapters import adapter_folders
from sleepy.track.tracker import Tracker
from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class Given(Stream):
    """Nothing is trained. Each adapter bears the name of a pattern: that of its folder, or of the run it comes from.

    adapters: PEFT folders, folders of such, or runs of MLflow (an id, or runs:/<id>; its children's adapters when it
        has any).
    """

    learns = False

    adapters: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """What the field's own bounds cannot say."""
        ask = "adapters: found none, expected PEFT folders or MLflow runs, such as 'stream.adapters=[runs:/<id>]'"
        return [] if self.adapters else [ask]

    def check(self, chosen: Mapping[str, Any], tracker: Tracker) -> None:
        """See Stream.check."""
        algo = chosen["algo"]
        if algo.trains and type(algo).together is Algorithm.together:
            raise ConfigError(
                "algo: found one that only trains, but stream=given trains nothing: use algo=none or share"
            )
        names = list(adapter_folders(tracker, self.adapters))
        check_several(chosen, len(names))
        if chosen["routing"].routes:
            chosen["routing"].open(load_pairs(), names)

    def run(self, learner: Learner) -> Learned:
        """See Stream.run. Raises ModelError for adapters of another base model, or of different layers."""
        adapters = read(adapter_folders(learner.tracker, self.adapters), learner.base)
        known = {t.pattern for t in learner.pairs}
        if other := [name for name in adapters if name not in known]:
            say(
                f"{len(other)} of {len(adapters)} adapters bear no pattern's name (as {other[0]}): none is routed there"
            )
        rows = [{"pattern": name, "digest": a.digest, "folder": str(a.folder)} for name, a in adapters.items()]
        learner.tracked.table(rows, "adapters")
        return Learned(adapters=learner.together(adapters))


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
                f"{folder}: found other layers than in {folders[first]} (as {differing[0]}), expected adapters of the "
                "same lora.target_modules"
            )
    return found

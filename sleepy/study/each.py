"""One adapter for each pattern, all from the same base model."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sleepy.artifacts import Adapter, Mix, Result, TaskSet
from sleepy.errors import DataError, NothingToLearn
from sleepy.options import ranged
from sleepy.progress import say
from sleepy.study.learned import Learned
from sleepy.study.learner import Learner
from sleepy.study.stream import Stream, check_several
from sleepy.track.tracker import Tracker
from sleepy.train.device import release_base
from sleepy.train.trainer import Past


@dataclass(frozen=True, kw_only=True)
class Each(Stream):
    """Each pattern's pairs train an adapter of their own, as a child of the run; none knows of the others.

    patterns: names of patterns ([]: all that have pairs).
    limit: at most so many of them, drawn by the seed; 0 takes all (at least 0).
    measure: ask each adapter the exam's koans of its own pattern, and the base model too.
    """

    patterns: list[str] = field(default_factory=list)
    limit: int = ranged(0, at_least=0)
    measure: bool = False

    def check(self, chosen: Mapping[str, Any], tracker: Tracker) -> None:
        """See Stream.check."""
        if chosen["algo"].trains:
            check_several(chosen, min(n for n in (self.limit, len(self.patterns), 2) if n))

    def exam(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> TaskSet:
        """See Stream.exam: all of it. Raises DataError for a pattern without pairs."""
        self._names(pairs, seed)
        return tasks

    def run(self, learner: Learner) -> Learned:
        """See Stream.run."""
        adapters: dict[str, Adapter] = {}
        mixes: dict[str, Mix] = {}
        rows = []
        before = learner.measure(learner.exam, stage="baseline").results if self.measure else ()
        names = self._names(learner.pairs, learner.root.seed)
        for i, name in enumerate(names):
            pairs = TaskSet(name, learner.pairs.version, tuple(t for t in learner.pairs if t.pattern == name))
            try:
                mixes[name], passed = learner.mix(pairs, learner.root.seed)
            except NothingToLearn as nothing:
                say(f"{name} is passed over: {nothing}")
                continue
            say(f"{name}, {i + 1} of {len(names)}")
            past = Past((tuple(learner.examples(passed)),)) if passed else Past()
            tags = {"algorithm": learner.algorithm, "model": learner.base.name, "stream": "each", "pattern": name}
            with learner.tracker.run(name=name, tags=tags, parent=learner.tracked.id) as child:
                folder = learner.folder / "adapters" / name
                own = replace(learner, tracked=child, folder=folder, trained=0, again=True)
                child.params({group: asdict(learner.options[group]) for group in ("algo", "lora", "train", "data")})
                child.params({"seed": learner.root.seed})
                adapters[name] = adapter = own.learn(mixes[name], past)
                child.tags({"adapter.digest": adapter.digest})
                figures = _own_koans(own, name, adapter, before) if self.measure else {}
                child.metrics(figures)
            row = {"pattern": name, "pairs": len(pairs), "loss": adapter.losses[-1], "digest": adapter.digest}
            rows.append({**row, **figures, "run": child.id})
        release_base()
        if not adapters:
            raise NothingToLearn("nothing to train on: no pattern has a pair to learn. Use data=all")
        learner.mixed = Mix(
            tuple(t for mix in mixes.values() for t in mix.examples),
            {name: len(mix.examples) for name, mix in mixes.items()},
        )
        learner.tracked.table(rows, "adapters")
        return Learned(adapters=learner.together(adapters))

    def _names(self, pairs: TaskSet, seed: int) -> list[str]:
        known = sorted({t.pattern for t in pairs})
        if wrong := [name for name in self.patterns if name not in known]:
            raise DataError(f"stream.patterns: found {', '.join(wrong)}, expected some of {', '.join(known)}")
        names = sorted(set(self.patterns)) or known
        return sorted(random.Random(seed).sample(names, self.limit)) if 0 < self.limit < len(names) else names


def _own_koans(learner: Learner, name: str, adapter: Adapter, before: Sequence[Result]) -> dict[str, float]:
    """How the adapter does on the exam's koans of its pattern, beside the base model; nothing where there are none."""
    exam, base = learner.exam, [r.passed for r in before if r.pattern == name]
    if not base:
        return {}
    koans = TaskSet(f"{exam.name}[{name}]", exam.version, tuple(t for t in exam if t.pattern == name))
    rate = learner.measure(koans, adapter).pass_rate
    return {"own/koans": len(base), "own/baseline": sum(base) / len(base), "own/pass_rate": rate}

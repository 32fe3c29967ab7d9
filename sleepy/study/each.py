"""One adapter for each pattern, all from the same base model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sleepy.adapters.combine import Combine
from sleepy.artifacts import Adapter, TaskSet
from sleepy.errors import DataError, NothingToLearn
from sleepy.evaluate.candidates import Adapted, Base
from sleepy.options import ranged
from sleepy.pairs.material import Mix
from sleepy.progress import say
from sleepy.results import Result
from sleepy.routing.route import Routing
from sleepy.study.lab import Lab
from sleepy.study.step import Step
from sleepy.study.stream import Stream, check_several
from sleepy.track.tracker import Tracker
from sleepy.train.algorithm import Algorithm
from sleepy.train.device import release_base


@dataclass(frozen=True, kw_only=True)
class Each(Stream):
    """The pairs of each pattern train an adapter of their own, in a child of the run. No adapter knows of the others.

    patterns: names of patterns ([]: all that have pairs).
    limit: take at most this many patterns, drawn by the seed. 0 takes all (at least 0).
    measure: ask each adapter the exam's koans of its own pattern, and the base model too.
    """

    by_pattern = True
    several = True

    patterns: list[str] = field(default_factory=list)
    limit: int = ranged(0, at_least=0)
    measure: bool = False

    def check(self, algo: Algorithm, merge: Combine, routing: Routing, tracker: Tracker, pairs: TaskSet) -> None:
        """See Stream.check."""
        if algo.trains:
            check_several(merge, routing, min(n for n in (self.limit, len(self.patterns), 2) if n))

    def exam(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> TaskSet:
        """See Stream.exam: all of it. Raises DataError for a pattern without pairs."""
        self._names(pairs, seed)
        return tasks

    def run(self, lab: Lab) -> tuple[Step, ...]:
        """See Stream.run. Raises NothingToLearn when no pattern has anything to learn."""
        trained: dict[str, tuple[Mix, Adapter]] = {}
        rows = []
        names = self._names(lab.pairs, lab.recipe.seed)
        before = lab.measure(Base(lab.base), lab.exam, "baseline").scores.results if self.measure else ()
        for i, name in enumerate(names):
            pairs = TaskSet(name, lab.pairs.version, tuple(t for t in lab.pairs if t.pattern == name))
            try:
                mix, passed = lab.mix(pairs, lab.recipe.seed, Base(lab.base))
            except NothingToLearn as nothing:
                say(f"skipping {name}: {nothing}")
                continue
            say(f"{name}, {i + 1} of {len(names)}")
            recipe = lab.recipe
            tags = {"algorithm": recipe.name, "model": lab.base.name, "stream": "each", "pattern": name}
            with lab.tracker.run(name=name, tags=tags, parent=lab.run.id) as child:
                for section in ("algo", "lora", "train", "data"):
                    child.params({section: asdict(getattr(recipe, section))})
                child.params({"seed": recipe.seed})
                own = lab.child(name, child)
                adapter = own.learn(mix, lab.past(passed))
                trained[name] = mix, adapter
                child.tags({"adapter.digest": adapter.digest})
                figures = _own_koans(own, name, adapter, before) if self.measure else {}
                child.metrics(figures)
            row = {"pattern": name, "pairs": len(pairs), "loss": adapter.losses[-1], "digest": adapter.digest}
            rows.append({**row, **figures, "run": child.id})
        release_base()
        if not trained:
            raise NothingToLearn("nothing to train on: no pattern has a pair to learn. Use data=all")
        lab.run.table(rows, "adapters")
        used = lab.together({name: adapter for name, (_, adapter) in trained.items()})
        return tuple(
            Step(name=name, candidate=Adapted(lab.base, used[name]), mix=mix, adapter=used[name])
            for name, (mix, _) in trained.items()
        )

    def _names(self, pairs: TaskSet, seed: int) -> list[str]:
        known = sorted({t.pattern for t in pairs})
        if wrong := [name for name in self.patterns if name not in known]:
            raise DataError(f"stream.patterns: there is no {', '.join(wrong)}. Choose from {', '.join(known)}")
        names = sorted(set(self.patterns)) or known
        return sorted(random.Random(seed).sample(names, self.limit)) if 0 < self.limit < len(names) else names


def _own_koans(lab: Lab, name: str, adapter: Adapter, before: Sequence[Result]) -> dict[str, float]:
    """How the adapter does on the exam's koans of its pattern, beside the base model; nothing where there are none."""
    own = tuple(t for t in lab.exam if t.pattern == name)
    if not own:
        return {}
    koans = TaskSet(f"{lab.exam.name}[{name}]", lab.exam.version, own)
    passed = [r.passed for r in before if r.pattern == name]
    rate = lab.measure(Adapted(lab.base, adapter), koans).scores.pass_rate
    return {"own/koans": len(own), "own/baseline": sum(passed) / len(passed), "own/pass_rate": rate}

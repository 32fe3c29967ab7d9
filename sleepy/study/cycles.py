"""Cycle after cycle: what the model fails now is what it learns next, and a cycle that does harm is undone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sleepy.artifacts import TaskSet
from sleepy.errors import ConfigError, NothingToLearn
from sleepy.evaluate.stats import compare
from sleepy.exam.builtin import frozen
from sleepy.options import choice, ranged
from sleepy.pairs.builtin import sample
from sleepy.progress import say
from sleepy.study.learned import Cycle, History, Learned
from sleepy.study.learner import Learner
from sleepy.study.stream import Stream
from sleepy.train.trainer import NOTHING, Past


@dataclass(frozen=True, kw_only=True)
class Cycles(Stream):
    """In each cycle other pairs are asked, the mix is made from what the model as it is fails and passes of them, and
    the gate decides on koans that are not reported on. A refused cycle's adapter is kept, but the next cycle goes on
    from the one before.

    cycles: how many (at least 1).
    decay: what the learning rate is multiplied by from cycle to cycle (above 0, at most 1).
    gate_on: the koans that the gate sees, "koans_val" or "patterns"; never those that are reported on.
    gate_koans: so many of them, spread over their patterns; 0 takes all (at least 0).
    """

    cycles: int = ranged(3, at_least=1)
    decay: float = ranged(0.9, above=0, at_most=1)
    gate_on: str = choice("koans_val", "patterns")
    gate_koans: int = ranged(0, at_least=0)

    def exam(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> TaskSet:
        """See Stream.exam: all of it. Raises ConfigError when the gate would see koans that are reported on."""
        if same := {t.id for t in tasks} & {t.id for t in frozen(self.gate_on)}:
            raise ConfigError(
                f"stream.gate_on: found {self.gate_on}, but {len(same)} of its koans are in {tasks.name}, which is "
                "reported on. Choose another for stream.gate_on or tasks"
            )
        return tasks

    def run(self, learner: Learner) -> Learned:
        """See Stream.run. Every cycle's figures are metrics of the run; tasks do not follow each other, so there is no
        R[i, j]."""
        gate, train, seed = learner.options["gate"], learner.options["train"], learner.root.seed
        seen = frozen(self.gate_on)
        seen = sample(seen, self.gate_koans, seed) if self.gate_koans else seen
        before = learner.measure(seen, stage="gated on")
        base, cycles = (before, learner.measure(learner.exam, stage="baseline")), list[Cycle]()
        past, adapter = NOTHING, None
        for number in range(1, self.cycles + 1):
            name = f"cycle-{number}"
            try:
                mix, passed = learner.mix(learner.pairs, seed + number - 1, adapter)
            except NothingToLearn as nothing:
                say(f"{name}: {nothing}")
                continue
            if not past.examples and passed:
                past = Past((tuple(learner.examples(passed)),))
            settings = replace(train, lr=train.lr * self.decay ** (number - 1))
            new = learner.learn(mix, past, name=name, train=settings)
            after = learner.measure(seen, new, "gated on")
            verdict = gate.decide(compare(before, after), before, after)
            say(f"{name} {verdict.reason}")
            if verdict.promoted:
                adapter, before = new, after
                past = Past((*past.examples, tuple(learner.examples(mix.examples))), new.folder)
            cycles.append(Cycle(name, verdict, after, learner.measure(learner.exam, new)))
            figures = {
                "promoted": verdict.promoted,
                "gated_on": after.pass_rate,
                "pass_rate": cycles[-1].exam.pass_rate,
            }
            learner.tracked.metrics({f"cycle/{name}": float(v) for name, v in figures.items()}, step=number)
        return Learned(adapter, history=History(*base, tuple(cycles)) if cycles else None)

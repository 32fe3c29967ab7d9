"""Cycle after cycle: what the model fails now is what it learns next, and a cycle that does harm is undone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sleepy.artifacts import TaskSet
from sleepy.errors import ConfigError, NothingToLearn
from sleepy.evaluate.candidates import Adapted, Base, Live, Measured
from sleepy.options import ranged
from sleepy.progress import say
from sleepy.study.lab import Lab
from sleepy.study.step import Step
from sleepy.study.stream import Stream
from sleepy.train.trainer import NOTHING, Past


@dataclass(frozen=True, kw_only=True)
class Cycles(Stream):
    """In each cycle the present model is asked other pairs, and the mix is made from those that it fails and passes.
    The gate decides on koans that are not reported on. The adapter of a refused cycle is kept in the run's folder, but
    the next cycle continues from the one before it.

    cycles: how many cycles (at least 1).
    decay: what the learning rate is multiplied by from cycle to cycle (above 0, at most 1).
    """

    cycles: int = ranged(3, at_least=1)
    decay: float = ranged(0.9, above=0, at_most=1)

    def check_panel(self, exam: TaskSet, panel: TaskSet) -> None:
        """See Stream.check_panel: the gate must see none of the exam's koans."""
        if same := {t.id for t in exam} & {t.id for t in panel}:
            raise ConfigError(
                f"gate.tasks: {len(same)} of the koans of {panel.name} are in {exam.name}, which the cycles are "
                "reported on. Choose another gate.tasks or another tasks"
            )

    def run(self, lab: Lab) -> tuple[Step, ...]:
        """See Stream.run."""
        in_use: Measured[Live] = lab.measure(Base(lab.base), lab.panel, "gate: baseline")
        past, steps = NOTHING, list[Step]()
        for number in range(1, self.cycles + 1):
            name = f"cycle-{number}"
            try:
                mix, passed = lab.mix(lab.pairs, f"{lab.recipe.seed} {number}", in_use.candidate)
            except NothingToLearn as nothing:
                say(f"{name}: {nothing}")
                continue
            if not past.examples:
                past = lab.past(passed)
            settings = replace(lab.recipe.train, lr=lab.recipe.train.lr * self.decay ** (number - 1))
            adapter = lab.learn(mix, past, name=name, train=settings)
            after = lab.measure(Adapted(lab.base, adapter), lab.panel, "gate")
            verdict = lab.judge(in_use, after)
            say(f"{name} {verdict.reason}")
            if verdict.promoted:
                in_use = after
                past = Past((*past.examples, tuple(lab.examples(mix.examples))), adapter.folder)
            exam = lab.measure(after.candidate, lab.exam).scores
            steps.append(
                Step(name=name, candidate=in_use.candidate, mix=mix, adapter=adapter, verdict=verdict, exam=exam)
            )
            figures = {"promoted": verdict.promoted, "gated_on": after.scores.pass_rate, "pass_rate": exam.pass_rate}
            lab.run.metrics({f"cycle/{name}": float(value) for name, value in figures.items()}, step=number)
        return tuple(steps)

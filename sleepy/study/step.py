"""A step of a stream, and the two views of several that reports draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Adapter
from sleepy.evaluate.candidates import Adapted, Base, Live
from sleepy.gate.gate import Verdict
from sleepy.pairs.material import Mix
from sleepy.results import Course, Scores


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of a stream learned, and what came of it.

    name: of the task, pattern or cycle; "" where there is only one.
    candidate: what answers after this step (after a refused cycle: what answered before it).
    mix, adapter: what was trained on, and what it gave; None where nothing was trained.
    verdict: the gate's word on the step's own adapter, where the stream asks the gate.
    exam: scores on the exam after this step: of `candidate`, or of the step's own adapter where there is a verdict.
    koans: ids of the exam's koans that belong to this step's task.
    """

    name: str
    candidate: Live
    mix: Mix | None = None
    adapter: Adapter | None = None
    verdict: Verdict[Adapted] | None = None
    exam: Scores | None = None
    koans: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cycle:
    """One cycle's candidate: what the gate saw of it and said, and its scores on the exam, which the gate never saw."""

    name: str
    verdict: Verdict[Adapted]
    exam: Scores

    @property
    def gated(self) -> Scores:
        """Its scores on the gate's koans."""
        return self.verdict.after


@dataclass(frozen=True)
class History:
    """The base model's scores on what the gate sees and on the exam, and the cycles in their order."""

    gated: Scores
    exam: Scores
    cycles: tuple[Cycle, ...]

    @property
    def in_use(self) -> list[int]:
        """The cycle whose adapter is in use after each cycle, counted from 1; 0 is the base model."""
        used, out = 0, []
        for number, cycle in enumerate(self.cycles, 1):
            used = number if cycle.verdict.promoted else used
            out.append(used)
        return out


def course(before: Scores, steps: Sequence[Step]) -> Course | None:
    """The steps as a stream of tasks whose koans were all asked after each of them; None where they are not that."""
    after = tuple(step.exam for step in steps if step.exam and step.koans)
    if not steps or len(after) < len(steps):
        return None
    return Course(tuple(step.name for step in steps), tuple(step.koans for step in steps), before, after)


def history(before: Scores, steps: Sequence[Step]) -> History | None:
    """The steps as cycles that the gate decided on; None where it was not asked."""
    cycles = tuple(Cycle(s.name, s.verdict, s.exam) for s in steps if s.verdict and s.exam)
    return History(cycles[0].verdict.before, before, cycles) if cycles else None


def last_verdict(steps: Sequence[Step]) -> Verdict[Adapted] | None:
    """The gate's word on the adapter in use after all cycles: the last promotion, or the last refusal where none was
    promoted; None where the gate was not asked."""
    verdicts = [step.verdict for step in steps if step.verdict]
    return next((v for v in reversed(verdicts) if v.promoted), verdicts[-1] if verdicts else None)


def after_all(base: Base, steps: Sequence[Step]) -> Live:
    """What a stream ends with: what answers after its last step, or the untouched model where nothing was learned."""
    return steps[-1].candidate if steps else base

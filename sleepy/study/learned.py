"""What a stream ends with."""

from __future__ import annotations

from dataclasses import dataclass, field

from sleepy.artifacts import Adapter, Course, Scores, Verdict


@dataclass(frozen=True)
class Cycle:
    """One cycle's candidate: what the gate saw of it and said, and its scores on the exam, which the gate never saw."""

    name: str
    verdict: Verdict
    gated: Scores
    exam: Scores


@dataclass(frozen=True)
class History:
    """The base model's scores on what the gate sees and on the exam, and the cycles in their order."""

    gated: Scores
    exam: Scores
    cycles: tuple[Cycle, ...]

    @property
    def verdict(self) -> Verdict:
        """The gate's word on the adapter in use at the end: that of the last cycle that was promoted, or of the last
        one when none was."""
        promoted = [cycle.verdict for cycle in self.cycles if cycle.verdict.promoted]
        return (promoted or [cycle.verdict for cycle in self.cycles])[-1]

    @property
    def in_use(self) -> list[int]:
        """The cycle whose adapter is in use after each cycle, counted from 1; 0 is the base model."""
        used, out = 0, []
        for number, cycle in enumerate(self.cycles, 1):
            used = number if cycle.verdict.promoted else used
            out.append(used)
        return out


@dataclass(frozen=True)
class Learned:
    """What a stream ends with: one adapter (None: none was good enough), and how each step or cycle came out; or
    `adapters`, several by the names of their patterns, which are still to be merged into one or routed."""

    adapter: Adapter | None = None
    course: Course | None = None
    history: History | None = None
    adapters: dict[str, Adapter] = field(default_factory=dict)

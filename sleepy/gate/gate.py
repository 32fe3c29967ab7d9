"""What every gate is: koans that are not reported on, and a rule with a reason that a person can read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Generic

from sleepy.artifacts import TaskSet
from sleepy.errors import ConfigError
from sleepy.evaluate.candidates import C, C_co, Candidate, Measured
from sleepy.evaluate.stats import compare, p_text
from sleepy.exam.builtin import frozen
from sleepy.options import choice, ranged
from sleepy.pairs.builtin import sample
from sleepy.results import Comparison, Scores


@dataclass(frozen=True)
class Verdict(Generic[C_co]):
    """The gate's word on a candidate. It carries the candidate, so that nothing else can be promoted by it, and what it
    rests on: the comparison of `before` and `after` on the gate's koans."""

    candidate: C_co
    promoted: bool
    reason: str
    rule: str
    comparison: Comparison
    before: Scores
    after: Scores


@dataclass(frozen=True, kw_only=True)
class Gate(ABC):
    """An option of the group `gate`.

    tasks: the koans that the gate decides on. "exam" are those that are reported on, which may not be frozen. Where
        koans_val is the exam, it is both.
    koans: how many of them, spread over their patterns by the seed. 0 takes all (at least 0).
    max_kl: the largest KL divergence from the base model on general texts, in nats a token, with which an adapter is
        promoted (above 0). null does not limit it.
    """

    tasks: str = choice("koans_val", "patterns", "exam")
    koans: int = ranged(21, at_least=0)
    max_kl: float | None = ranged(None, above=0)

    def panel(self, exam: TaskSet, seed: int) -> TaskSet:
        """The koans that the gate decides on. Raises ConfigError when they would be frozen ones that are reported
        on: whoever chooses by them cannot report on them any more."""
        chosen = exam if self.tasks == "exam" else frozen(self.tasks)
        reported = {t.id for t in exam} & {t.id for t in chosen} & {t.id for name in FROZEN for t in frozen(name)}
        if reported:
            raise ConfigError(
                f"gate.tasks={self.tasks}: {len(reported)} of these koans are frozen and in {exam.name}, which is "
                "reported on. The gate must not choose by them: use another gate.tasks or another tasks"
            )
        return sample(chosen, self.koans, seed) if 0 < self.koans < len(chosen) else chosen

    def judge(self, before: Measured[Candidate], after: Measured[C]) -> Verdict[C]:
        """The verdict on what `after` measured, beside `before`, on the same koans. A candidate that changes no answer
        is refused by every rule: there is nothing to promote."""
        comparison = compare(before.scores, after.scores)
        if same_answers(before.scores, after.scores):
            promoted, why = False, "no answer changed"
        else:
            promoted, why = self.decide(comparison, before.scores, after.scores)
        reason = (
            f"{'promoted' if promoted else 'refused'}: "
            f"{changes(len(comparison.fixes), len(comparison.regressions))}, "
            f"pass rate {100 * before.scores.pass_rate:.1f} % -> {100 * after.scores.pass_rate:.1f} % "
            f"of {len(after.scores.results)} koans of {after.scores.tasks} ({p_text(comparison.p_value)}): {why}"
        )
        rule = type(self).__module__.rpartition(".")[2]
        return Verdict(after.candidate, promoted, reason, rule, comparison, before.scores, after.scores)

    def limited(self, verdict: Verdict[C], kl: float | None) -> Verdict[C]:
        """The verdict, a promotion, after `max_kl`: refused where `kl` is above it, or could not be measured (None)."""
        if self.max_kl is None or (kl is not None and kl <= self.max_kl):
            return verdict
        found = "could not be measured" if kl is None else f"is {kl:.3g} nats a token"
        told = verdict.reason.removeprefix("promoted: ")
        why = f"its KL to the base on general texts {found} (at most {self.max_kl:g} is allowed)"
        return replace(verdict, promoted=False, reason=f"refused: {told}, but {why}")

    @abstractmethod
    def decide(self, comparison: Comparison, before: Scores, after: Scores) -> tuple[bool, str]:
        """Whether to promote what `after` is about, and why; `comparison` is `compare(before, after)`."""


FROZEN = ("koans", "koans_ladder", "patterns")  # the sets that figures are reported on


def same_answers(before: Scores, after: Scores) -> bool:
    """Whether every task got the same programs in both evaluations."""
    return [[a.program for a in r.attempts] for r in before.results] == [
        [a.program for a in r.attempts] for r in after.results
    ]


def changes(fixes: int, regressions: int) -> str:
    """ "1 fix, 5 regressions"."""
    return f"{fixes} {'fix' if fixes == 1 else 'fixes'}, {regressions} regression{'' if regressions == 1 else 's'}"

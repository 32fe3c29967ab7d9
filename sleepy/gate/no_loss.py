"""The default gate: promote what does no harm."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.evaluate.stats import changes_by_family, holm, mcnemar_exact, p_text
from sleepy.gate.gate import Gate, changes
from sleepy.options import ranged
from sleepy.results import Comparison, Scores


@dataclass(frozen=True, kw_only=True)
class NoLoss(Gate):
    """Promote when the pass rate is not below the baseline's and no family lost significantly.

    A pass rate that is not below the baseline's rules out a significant loss over all tasks, but a gain in one family
    may hide a loss in another. So each family has its own exact McNemar test (two-sided), Holm-corrected for the number
    of families. Small families show only large losses: at alpha 0.05 a family's loss counts only from 8 regressions
    without a fix on where there are five families, and from 9 on where there are seven. Smaller losses count in the
    total alone.

    alpha: level of significance of the families' tests together (above 0 and below 1).
    The other fields are those of Gate.
    """

    alpha: float = ranged(0.05, above=0.0, below=1.0)

    def decide(self, comparison: Comparison, before: Scores, after: Scores) -> tuple[bool, str]:
        """See Gate.decide."""
        if after.pass_rate < before.pass_rate:
            return False, "below the baseline"
        if lost := self._lost(comparison, before):
            return False, "not below the baseline, but significant loss in " + ", ".join(lost)
        return True, "not below the baseline, no significant loss in any family"

    def _lost(self, comparison: Comparison, before: Scores) -> list[str]:
        families = changes_by_family(comparison, before)
        corrected = holm([mcnemar_exact(*counts) for counts in families.values()])
        return [
            f"{family} ({changes(fixes, regressions)}, corrected {p_text(p)})"
            for (family, (fixes, regressions)), p in zip(families.items(), corrected, strict=True)
            if regressions > fixes and p < self.alpha
        ]

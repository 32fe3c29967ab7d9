"""The strict gate: promote what is better beyond chance."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.artifacts import Comparison, Scores, Verdict
from sleepy.gate.rule import verdict
from sleepy.options import ranged


@dataclass(frozen=True, kw_only=True)
class SignificantGain:
    """Promote only when the pass rate is above the baseline's and the exact McNemar test (two-sided) says p < alpha.

    alpha: level of significance, above 0 and below 1.
    """

    alpha: float = ranged(0.05, above=0.0, below=1.0)

    def decide(self, comparison: Comparison, before: Scores, after: Scores) -> Verdict:
        """The verdict on the model that `after` is about; `comparison` is `compare(before, after)`."""
        above = after.pass_rate > before.pass_rate
        significant = comparison.p_value < self.alpha
        if not above:
            why = "not above the baseline"
        elif not significant:
            why = f"above the baseline, but not significantly (p < {self.alpha:g} is asked for)"
        else:
            why = f"above the baseline, significantly (p < {self.alpha:g})"
        return verdict("significant_gain", above and significant, why, comparison, before, after)

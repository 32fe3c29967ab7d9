"""The strict gate: promote what is better beyond chance."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.gate.gate import Gate
from sleepy.options import ranged
from sleepy.results import Comparison, Scores


@dataclass(frozen=True, kw_only=True)
class SignificantGain(Gate):
    """Promote only when the pass rate is above the baseline's and the exact McNemar test (two-sided) says p < alpha.

    alpha: level of significance (above 0 and below 1).
    The other fields are those of Gate.
    """

    alpha: float = ranged(0.05, above=0.0, below=1.0)

    def decide(self, comparison: Comparison, before: Scores, after: Scores) -> tuple[bool, str]:
        """See Gate.decide."""
        if after.pass_rate <= before.pass_rate:
            return False, "not above the baseline"
        if comparison.p_value >= self.alpha:
            return False, f"above the baseline, but not significantly (the gate asks for p < {self.alpha:g})"
        return True, f"above the baseline, significantly (p < {self.alpha:g})"

"""The gate that asks for evidence of no loss, not for absence of evidence."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.evaluate.stats import p_text
from sleepy.gate.gate import Gate
from sleepy.options import ranged
from sleepy.results import Comparison, Scores


@dataclass(frozen=True, kw_only=True)
class NotWorse(Gate):
    """Promote when the true loss is probably below a margin: the lower bound of the 95 % score interval of the paired
    difference (Tango 1998) must be above minus the margin. That takes koans: where no answer's verdict changes, 73 of
    them for a margin of 5 points (n > z^2 (1 / margin - 1), z = 1.96), more where some do.

    margin: the largest loss of pass rate that is tolerated, a fraction (above 0 and below 1).
    The other fields are those of Gate.
    """

    margin: float = ranged(0.05, above=0.0, below=1.0)

    def decide(self, comparison: Comparison, before: Scores, after: Scores) -> tuple[bool, str]:
        """See Gate.decide."""
        low = comparison.interval[0]
        said = f"the true difference is above {100 * low:+.1f} points (95 %, one side of the interval)"
        if low > -self.margin:
            return True, f"{said}, and a loss of {100 * self.margin:g} is tolerated"
        if comparison.p_value < 0.05:
            return False, f"a loss that chance does not explain ({p_text(comparison.p_value)})"
        return (
            False,
            f"{said}: too few koans to exclude a loss of {100 * self.margin:g}. Take more (gate.koans, gate.tasks)",
        )

"""What every gate's verdict has in common: the numbers it rests on, in words."""

from __future__ import annotations

from sleepy.artifacts import Comparison, Scores, Verdict
from sleepy.evaluate.stats import p_text


def changes(fixes: int, regressions: int) -> str:
    """ "1 fix, 5 regressions"."""
    return f"{fixes} {'fix' if fixes == 1 else 'fixes'}, {regressions} regression{'' if regressions == 1 else 's'}"


def verdict(rule: str, promoted: bool, why: str, comparison: Comparison, before: Scores, after: Scores) -> Verdict:
    """A verdict whose reason names the numbers first and then `why`."""
    reason = (
        f"{'promoted' if promoted else 'refused'}: "
        f"{changes(len(comparison.fixes), len(comparison.regressions))}, "
        f"pass rate {100 * before.pass_rate:.1f} % -> {100 * after.pass_rate:.1f} % "
        f"({p_text(comparison.p_value)}): {why}"
    )
    return Verdict(promoted=promoted, reason=reason, rule=rule)

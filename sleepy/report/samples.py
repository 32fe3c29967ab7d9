"""Mean pass rates of drawn answers in words."""

from __future__ import annotations

from sleepy.evaluate.samples import Drawn, gain, sampled_rate
from sleepy.evaluate.stats import p_text
from sleepy.results import Scores


def rate(drawn: Scores) -> str:
    """One model's, as "14.2 % (9.1 to 21.5)"."""
    found = sampled_rate(drawn)
    return f"{100 * found.mean:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def lines(drawn: Drawn | None) -> list[str]:
    """What was drawn, both models' rates and their difference, a line each; none where nothing was drawn."""
    if drawn is None:
        return []
    answers, change = sampled_rate(drawn.before), gain(drawn.before, drawn.after)
    low, high = f"{100 * change.low:+.1f}", f"{100 * change.high:+.1f}"
    return [
        f"{answers.samples} answers a koan drawn at temperature {drawn.temperature:g}, "
        "mean pass rates with 95 % intervals",
        f"baseline {rate(drawn.before)}, trained {rate(drawn.after)}",
        f"difference {100 * change.mean:+.1f} points ({low} to {high}), sign-flip {p_text(change.p_value)} "
        f"over {answers.koans} koans",
    ]

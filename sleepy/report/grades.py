"""What the answers of each evaluation achieved besides passing, as a table of page and terminal."""

from __future__ import annotations

from collections.abc import Mapping

from sleepy.evaluate.metrics import summary
from sleepy.results import Scores

HEAD = ["answers", "edited", "compile", "test blocks", "pass", "unsafe"]
LEGEND = (
    "edited: the answer is not the broken program, comments and white space aside. test blocks: the mean share of a "
    "koan's test blocks that pass, up to the first that does not. unsafe: answers with `unsafe`, a transmute or a leak "
    "that the reference fix does without. unknown: scored by an earlier version, which did not note it."
)


def rows(evaluations: Mapping[str, Scores]) -> list[list[str]]:
    """A row for each evaluation, under HEAD."""
    found = []
    for name, scores in evaluations.items():
        figures = summary(scores)
        rates = [
            f"{100 * figures[rate]:.0f} %" if rate in figures else "unknown"
            for rate in ("edited", "compile_rate", "blocks", "pass_rate")
        ]
        found.append([name, *rates, _unsafe(figures)])
    return found


def _unsafe(figures: Mapping[str, float]) -> str:
    if "unsafe_answers" not in figures:
        return "unknown"
    count, passed = (int(figures[name]) for name in ("unsafe_answers", "unsafe_passes"))
    return f"{count} ({passed} pass)" if count else "0"

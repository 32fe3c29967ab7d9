"""One evaluation as a table: families down, levels across."""

from __future__ import annotations

from sleepy.evaluate.stats import wilson
from sleepy.results import Result, Scores
from sleepy.tables import markdown_table


def scores_table(scores: Scores) -> str:
    """Passed of all and Wilson 95 % intervals in percent, as a Markdown table with a row for all koans."""
    levels = sorted({r.level for r in scores.results})
    rows = []
    for family in [*scores.by_family(), ""]:
        own = [r for r in scores.results if not family or r.family == family]
        cells = [_rate([r for r in own if r.level == level]) for level in levels]
        rows.append([family or "all", *cells, _rate(own)])
    return markdown_table(["family", *(f"level {level}" for level in levels), "all levels"], rows)


def _rate(results: list[Result]) -> str:
    if not results:
        return "-"
    passed = sum(r.passed for r in results)
    low, high = wilson(passed, len(results))
    return f"{passed}/{len(results)} ({100 * low:.0f} to {100 * high:.0f})"

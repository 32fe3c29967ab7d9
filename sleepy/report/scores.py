"""One evaluation as a table: families and strata down, levels across."""

from __future__ import annotations

from sleepy.evaluate.stats import wilson
from sleepy.evaluate.strata import by_stratum
from sleepy.results import Result, Scores
from sleepy.tables import markdown_table


def scores_table(scores: Scores) -> str:
    """Passed of all and Wilson 95 % intervals in percent, as a Markdown table with a row for all koans and one for each
    stratum."""
    levels = sorted({r.level for r in scores.results})
    rows = []
    groups = {family: [r for r in scores.results if r.family == family] for family in scores.by_family()}
    groups["all"] = list(scores.results)
    groups |= {f"stratum {name}": list(part.results) for name, part in by_stratum(scores).items()}
    for name, own in groups.items():
        rows.append([name, *(_rate([r for r in own if r.level == level]) for level in levels), _rate(own)])
    return markdown_table(["family", *(f"level {level}" for level in levels), "all levels"], rows)


def _rate(results: list[Result]) -> str:
    if not results:
        return "-"
    passed = sum(r.passed for r in results)
    low, high = wilson(passed, len(results))
    return f"{passed}/{len(results)} ({100 * low:.0f} to {100 * high:.0f})"

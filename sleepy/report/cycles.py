"""How cycles went: a line for each, promoted or refused, and the learning curve over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sleepy.figures import BLUE, GREY, VERMILION, legend
from sleepy.report.plots import rates_by_step
from sleepy.results import Scores
from sleepy.study.step import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNING = "The model in use, cycle by cycle"
HEAD = ["cycle", "gate's koans", "exam", "verdict", "in use"]


def lines(history: History) -> list[list[str]]:
    """A line for the base and for each cycle, under HEAD."""
    found = [["base", _rate(history.gated), _rate(history.exam), "", "base"]]
    for cycle, used in zip(history.cycles, history.in_use, strict=True):
        word = "promoted" if cycle.verdict.promoted else "refused"
        in_use = history.cycles[used - 1].name if used else "base"
        found.append([cycle.name, _rate(cycle.gated), _rate(cycle.exam), word, in_use])
    return found


def curve(history: History) -> Figure:
    """Share of the exam's koans that each cycle's candidate passes, filled where it was promoted and hollow where it
    was refused; the line, with Wilson 95 % intervals, is the model in use. Grey is what the gate saw."""
    exams = [history.exam, *(cycle.exam for cycle in history.cycles)]
    title = f"{LEARNING}, {len(history.exam.results)} koans"
    figure, axes = rates_by_step(title, "cycle", [_counts(exams[i]) for i in (0, *history.in_use)], "in use")
    gated = [100 * scores.pass_rate for scores in (history.gated, *(cycle.gated for cycle in history.cycles))]
    axes.plot(range(len(gated)), gated, "s:", color=GREY, linewidth=1.5, markersize=4, label="the gate's koans")
    for promoted, colour, fill, label in ((True, BLUE, BLUE, "promoted"), (False, VERMILION, "white", "refused")):
        which = [i for i, cycle in enumerate(history.cycles, 1) if cycle.verdict.promoted == promoted]
        rates, style = [100 * exams[i].pass_rate for i in which], {"markersize": 7, "markerfacecolor": fill}
        axes.plot(which, rates, "o", color=colour, label=label, gid=label, **style)
    legend(figure, 4)
    return figure


def _counts(scores: Scores) -> tuple[int, int]:
    return sum(r.passed for r in scores.results), len(scores.results)


def _rate(scores: Scores) -> str:
    passed, total = _counts(scores)
    return f"{passed}/{total} {100 * passed / total:.0f}%"

"""How cycles went: a line for each, promoted or not, and the learning curve over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sleepy.artifacts import Scores
from sleepy.evaluate.stats import wilson
from sleepy.report.plots import BLUE, GREY, INK, VERMILION
from sleepy.study.learned import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNING = "The model in use, cycle by cycle"
HEAD = ["cycle", "gated on", "exam", "gate", "in use"]


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
    from matplotlib.figure import Figure

    exams = [history.exam, *(c.exam for c in history.cycles)]
    used = [exams[i] for i in [0, *history.in_use]]
    steps = range(len(exams))
    figure = Figure((7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    bounds = [wilson(sum(r.passed for r in s.results), len(s.results)) for s in used]
    low, high = ([100 * b[side] for b in bounds] for side in (0, 1))
    axes.fill_between(steps, low, high, color=BLUE, alpha=0.13, linewidth=0)
    axes.plot(steps, [100 * s.pass_rate for s in used], color=BLUE, linewidth=2, label="in use", gid="used")
    gated = [100 * s.pass_rate for s in (history.gated, *(c.gated for c in history.cycles))]
    axes.plot(steps, gated, ":", color=GREY, linewidth=1.5, marker="s", markersize=4, label="what the gate saw")
    for promoted, colour, label in ((True, BLUE, "promoted"), (False, VERMILION, "refused")):
        which = [i for i, c in enumerate(history.cycles, 1) if c.verdict.promoted == promoted]
        axes.plot(
            which,
            [100 * exams[i].pass_rate for i in which],
            "o",
            color=colour,
            markersize=7,
            markerfacecolor=colour if promoted else "white",
            label=label,
            gid=label,
        )
    axes.set_xticks(steps, ["base", *(str(i) for i in steps[1:])])
    axes.set_xlim(-0.3, len(exams) - 0.7)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("cycle")
    axes.set_ylabel("passed, %")
    axes.set_title(f"{LEARNING}, {len(history.exam.results)} koans", loc="left", color=INK)
    axes.grid(axis="y", color="#E3E6E9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _rate(scores: Scores) -> str:
    passed, total = sum(r.passed for r in scores.results), len(scores.results)
    return f"{passed}/{total} {100 * passed / total:.0f}%"

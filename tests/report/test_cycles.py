"""The report of made-up cycles: every one has a line, promoted or refused, and the line is the model in use."""

from __future__ import annotations

from pathlib import Path

from matplotlib.image import imread

from sleepy.evaluate.stats import compare
from sleepy.gate.gate import Verdict
from sleepy.report.cycles import HEAD, curve, lines
from sleepy.report.report import Report
from sleepy.results import Result, Scores
from sleepy.study.step import Cycle, History
from tests.report.made import BASE, printed, summary


def scores(passed: int, total: int = 10) -> Scores:
    results = tuple(Result(str(i), "f", "p", 1, i < passed, ()) for i in range(total))
    return Scores("k", "", "m", "e", results, 0.0)


def cycle(number: int, promoted: bool, gated: int, exam: int) -> Cycle:
    before, after = scores(2), scores(gated)
    return Cycle(
        f"cycle-{number}",
        Verdict(BASE, promoted, f"because {number}", "no_loss", compare(before, after), before, after),
        scores(exam),
    )


HISTORY = History(
    scores(2), scores(3), (cycle(1, True, 4, 5), cycle(2, False, 1, 2), cycle(3, True, 6, 7), cycle(4, False, 5, 8))
)


def test_every_cycle_has_a_line_and_the_refused_ones_are_not_in_use() -> None:
    assert HISTORY.in_use == [1, 1, 3, 3]
    assert lines(HISTORY) == [
        ["base", "2/10 20%", "3/10 30%", "", "base"],
        ["cycle-1", "4/10 40%", "5/10 50%", "promoted", "cycle-1"],
        ["cycle-2", "1/10 10%", "2/10 20%", "refused", "cycle-1"],
        ["cycle-3", "6/10 60%", "7/10 70%", "promoted", "cycle-3"],
        ["cycle-4", "5/10 50%", "8/10 80%", "refused", "cycle-3"],
    ]
    refused = History(scores(2), scores(3), (cycle(1, False, 1, 1), cycle(2, False, 0, 0)))
    assert refused.in_use == [0, 0] and lines(refused)[2][-1] == "base"


def test_the_curve_is_the_model_in_use_and_the_dots_are_the_candidates() -> None:
    drawn = {line.get_gid(): list(line.get_ydata()) for line in curve(HISTORY).axes[0].lines if line.get_gid()}
    assert drawn["line"] == [30, 50, 50, 70, 70]
    assert drawn["promoted"] == [50, 70] and drawn["refused"] == [20, 80]


def test_page_and_terminal_hold_the_cycles(tmp_path: Path) -> None:
    run = summary(history=HISTORY)
    files = Report(dpi=60).write(tmp_path, run)
    page, shown = files.page.read_text(), printed(run, tmp_path)
    assert f"| {' | '.join(HEAD)} |" in page and "| cycle-2 | 1/10 10% | 2/10 20% | refused | cycle-1 |" in page
    assert "![The model in use, cycle by cycle](cycles.png)" in page and imread(tmp_path / "cycles.png").size
    assert all(word in shown for word in ("gate's koans", "cycle-4", "refused"))

"""The report of a run: a table in the terminal, report.md and its pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sleepy import figures
from sleepy.evaluate.metrics import cut_answers
from sleepy.files import write_text
from sleepy.options import ranged
from sleepy.report import grades, samples
from sleepy.report.page import page
from sleepy.report.scores import scores_table
from sleepy.report.summary import ReportFiles, RunSummary, rows
from sleepy.report.terminal import show
from sleepy.results import Scores
from sleepy.tables import markdown_table


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run is reported with.

    runs: ids of runs in this store, for `stages=[report]`: one results page of all of them. The id of a sweep's parent
        run stands for its jobs.

    pictures: draw PNG files: the learning curve, the bars of the families, the grid of koans; for a stream also its
        curve and its koans after every step; for cycles their curve.
    dpi: resolution of the pictures in dots per inch (50 to 400).
    """

    runs: list[str] = field(default_factory=list)
    pictures: bool = True
    dpi: int = ranged(120, at_least=50, at_most=400)

    def write(self, folder: Path, run: RunSummary) -> ReportFiles:
        """Write report.md, and the pictures beside it, into `folder`. Raises DiskError."""
        drawn = self._draw(folder, run) if self.pictures else {}
        target = folder / "report.md"
        write_text(target, page(run, drawn))
        return ReportFiles(target, tuple(folder / name for name in drawn.values()))

    def scores(self, folder: Path, scores: Scores, name: str, drawn: Scores | None = None) -> Path:
        """Write <name>.md, one evaluation and the rate of `drawn` answers, into `folder`. Raises DiskError."""
        target = folder / f"{name}.md"
        cut = cut_answers(scores)
        warning = f"\n> Warning: {cut}\n" if cut else ""
        tables = f"{scores_table(scores)}\n\n{markdown_table(grades.HEAD, grades.rows({name: scores}))}\n"
        rate = f"\nMean pass rate of drawn answers: {samples.rate(drawn)}\n" if drawn else ""
        write_text(target, f"{scores.model}, {scores.tasks}, {scores.engine}\n\n{tables}{rate}{warning}")
        return target

    def show(self, run: RunSummary, files: ReportFiles) -> None:
        """Print the report on stdout; `files` is what `write` returned."""
        from rich.console import Console

        show(run, files, Console())

    def _draw(self, folder: Path, run: RunSummary) -> dict[str, str]:
        """Draw the pictures: title -> file name."""
        from sleepy.report import cycles, plots, stream

        drawn = {
            "Koans, baseline against trained": ("koans.png", plots.koans(run.before, run.after)),
            "Pass rates by family": ("families.png", plots.families(rows(run), list(run.evaluations))),
        }
        if run.adapter and run.adapter.losses:
            drawn["Training loss"] = ("learning_curve.png", plots.learning_curve(run.adapter.losses))
        if run.course:
            drawn[stream.CURVE] = ("stream_curve.png", stream.curve(run.course))
            drawn[stream.HEATMAP] = ("stream_koans.png", stream.heatmap(run.course))
        if run.history:
            drawn[cycles.LEARNING] = ("cycles.png", cycles.curve(run.history))
        for name, figure in drawn.values():
            figures.save(figure, folder / name, self.dpi)
        return {title: name for title, (name, _) in drawn.items()}

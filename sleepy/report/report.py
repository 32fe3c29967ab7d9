"""The report of a run: a table in the terminal, report.md and its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import Scores
from sleepy.options import ranged
from sleepy.report.page import page
from sleepy.report.scores import table
from sleepy.report.summary import ReportFiles, RunSummary, rows
from sleepy.report.terminal import show


@dataclass(frozen=True, kw_only=True)
class Full:
    """Everything a person wants to know about a run.

    pictures: draw the learning curve, the families' bars, the grid of koans, and of a stream its curve and its koans
        step by step or its cycles, as PNG files (about a second, two for a stream).
    dpi: resolution of the pictures, dots an inch, from 50 to 400.
    """

    pictures: bool = True
    dpi: int = ranged(120, at_least=50, at_most=400)

    def write(self, folder: Path, run: RunSummary) -> ReportFiles:
        """Write report.md, and the pictures beside it, into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        drawn = self._draw(folder, run) if self.pictures else {}
        target = folder / "report.md"
        target.write_text(page(run, drawn), encoding="utf-8")
        return ReportFiles(target, tuple(folder / name for name in drawn.values()))

    def scores(self, folder: Path, scores: Scores, name: str) -> Path:
        """Write <name>.md, a table of one evaluation, into `folder`."""
        target = folder / f"{name}.md"
        target.write_text(f"{scores.model}, {scores.tasks}, {scores.engine}\n\n{table(scores)}", encoding="utf-8")
        return target

    def show(self, run: RunSummary, files: ReportFiles) -> None:
        """Print the table on stdout; `files` is what `write` gave back."""
        from rich.console import Console

        show(run, files, Console())

    def _draw(self, folder: Path, run: RunSummary) -> dict[str, str]:
        from sleepy.report import cycles_page, plots, stream_page

        drawn = {
            "Koans, baseline against trained": ("koans.png", plots.koans(run.before, run.after)),
            "Pass rates by family": ("families.png", plots.families(rows(run))),
        }
        if run.adapter and run.adapter.losses:
            drawn["Training loss"] = ("learning_curve.png", plots.learning_curve(run.adapter.losses))
        if run.course:
            drawn[stream_page.CURVE] = ("stream_curve.png", stream_page.curve(run.course))
            drawn[stream_page.HEATMAP] = ("stream_koans.png", stream_page.heatmap(run.course))
        if run.history:
            drawn[cycles_page.LEARNING] = ("cycles.png", cycles_page.curve(run.history))
        for name, figure in drawn.values():
            figure.savefig(folder / name, dpi=self.dpi)
        return {title: name for title, (name, _) in drawn.items()}

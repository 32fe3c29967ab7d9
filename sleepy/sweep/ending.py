"""What a sweep ends with: the finished jobs side by side, and what is to be said of the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from sleepy.results_page.make import page_of_sweep
from sleepy.sweep.jobs import Job
from sleepy.sweep.words import command
from sleepy.tables import markdown_table
from sleepy.track.sweep_table import JobScores, named, sweep_table
from sleepy.track.tracker import ERROR, Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run as Stored

PAGE = "report/sweep.md"
_LONGEST = 160  # letters of a reason


def end(tracker: Tracker, key: str, jobs: Sequence[Job], shared: Collection[str], *, again: bool) -> None:
    """Show what the jobs of the sweep `key` measured, side by side, and which did not finish; end the parent run.

    Jobs are named by their words but for those that all of the sweep have, `shared`. A job that was not done because a
    run had finished it before takes that run's figures, unless the sweep does all `again`.
    """
    pages: dict[str, str] = {}
    taken: list[str] = []
    open_ones: list[tuple[Job, Stored | None]] = []
    finished = False
    try:
        ours, earlier = tracker.jobs(key), {} if again else tracker.finished()
        rows = []
        for job in jobs:
            run = ours.get(job.name)
            other = None if run or job.identity.never else earlier.get(job.identity.digest)
            if other:
                run = other
                taken.append(other.info.run_id)
            if run is None or run.info.status != "FINISHED":
                open_ones.append((job, run))
            elif row := _scores(tracker, job, run, taken=run.info.run_id in taken):
                rows.append(row)
        finished = not open_ones
        parts = [sweep_table(rows, shared)] if rows else []
        parts += [_not_finished(open_ones, shared, len(jobs))] if open_ones else []
        if parts:
            pages[PAGE] = "\n".join(parts)
            print(f"\n{pages[PAGE]}")
            pages |= page_of_sweep(tracker, key, taken)
    finally:
        tracker.close_parent(key, pages, finished=finished, taken=taken)


def _not_finished(jobs: Sequence[tuple[Job, Stored | None]], shared: Collection[str], total: int) -> str:
    """Which jobs did not finish, why, and the command that does them."""
    rows = [[named(job.words, shared), *state_of(run), run.info.run_id if run else ""] for job, run in jobs]
    return (
        f"{len(jobs)} of {total} jobs did not finish:\n\n"
        f"{markdown_table(('job', 'state', 'reason', 'run'), rows)}\n\n"
        f"The same command does these and takes the finished ones as they are:\n\n    {command()}\n"
    )


def state_of(run: Stored | None) -> tuple[str, str]:
    """What became of a job that did not finish, in a word, and the reason in a line."""
    if run is None:
        return "not begun", ""
    if run.info.status == "FAILED":
        said = run.data.tags.get(ERROR, "").strip().removeprefix("sleepy.errors.").splitlines()
        reason = said[0] if said else ""
        return "failed", reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} ..."
    return {"KILLED": "stopped", "RUNNING": "running"}.get(run.info.status, run.info.status.lower()), ""


def _scores(tracker: Tracker, job: Job, run: Stored, taken: bool) -> JobScores | None:
    """None for a job that measured nothing of what it made."""
    from sleepy.evaluate.scores_file import read_scores
    from sleepy.track.log import SCORES

    found = [tracker.files(run, f"{SCORES}/{name}.json") for name in ("baseline", "eval")]
    read = [read_scores(path) if path.is_file() else None for path in found]
    if read[0] is None or (read[1] is None and tracker.files(run, "adapter").is_dir()):
        return None
    return JobScores(job.words, run.info.run_id, read[0], read[1], taken)

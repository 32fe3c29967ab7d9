"""The results page of runs in the store: of some that a user names, and of a sweep that has ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sleepy.artifacts import Check, CheckJob, Task, TaskSet
from sleepy.errors import DataError, SleepyError
from sleepy.files import write_text
from sleepy.progress import say
from sleepy.results_page.jobs import Found, Job, find_jobs
from sleepy.results_page.koans import Judge
from sleepy.results_page.page import Page, results_page
from sleepy.sandbox.cache import VerdictCache
from sleepy.sandbox.checker import Checker, Sandbox
from sleepy.settings import Settings, settings
from sleepy.track.tracker import Tracker

NAME = "results.html"


def page_of_runs(tracker: Tracker, places: Sequence[str], cache: Path) -> Page:
    """The page of the runs with these ids; see find_jobs for what it raises. Answers whose verdict is not in the cache
    are compiled again."""
    found = find_jobs(tracker, places)
    exams, sandbox = _exams(found.jobs)
    judge = _asking(sandbox.open(cache)) if sandbox else _unknown
    return results_page(_title(tracker, places, found), found, exams, judge)


def page_of_sweep(tracker: Tracker, key: str, taken: Sequence[str] = ()) -> dict[str, str]:
    """Write the page of a sweep into its folder, which is its `key`, describe its parent run in MLflow, and say where
    the page is; what to keep with that run, by the artifact's name. `taken` are ids of runs of earlier sweeps that
    belong to it. What was compiled while the sweep ran is not compiled again, since a process that ends may start none.
    """
    parent, target = tracker.parent(key, "sweep"), Path(key) / NAME
    try:
        found = find_jobs(tracker, [parent, *taken])
        exams, sandbox = _exams(found.jobs)
        cache = Path(found.jobs[0].config["cache"]).expanduser()
        known = Checker(sandbox, VerdictCache(cache / "verdicts.sqlite")).known if sandbox else _unknown
        page = results_page(_title(tracker, [parent], found), found, exams, known)
        write_text(target, page.html)
        tracker.describe(parent, page.description)
    except SleepyError as error:  # the sweep's own figures are safe
        say(f"no results page: {error}")
        return {}
    say(f"results page: {target}")
    return {f"report/{NAME}": page.html}


def _asking(checker: Checker) -> Judge:
    return lambda job: checker.check(*job)


def _unknown(job: CheckJob) -> Check | None:
    return None


def _title(tracker: Tracker, places: Sequence[str], found: Found) -> str:
    run = tracker.find(places[0].removeprefix("runs:/")) if len(places) == 1 else None
    return str(run.info.run_name) if run else f"{len(found.jobs)} runs"


def _exams(jobs: Iterable[Job]) -> tuple[dict[str, dict[str, Task]], Sandbox | None]:
    """The runs' task sets by their digest, as far as they are still what they were, and the sandbox of the first."""
    exams: dict[str, dict[str, Task]] = {}
    sandbox: Sandbox | None = None
    for job in jobs:
        if job.before.tasks_digest in exams:
            continue
        exams[job.before.tasks_digest] = {}
        try:
            s = _settings(job)
            tasks = _exam(s)
            if tasks.digest != job.before.tasks_digest:
                raise DataError("its koans have changed since")
        except SleepyError as error:
            say(f"run {job.run_id}: its programs and rustc's messages are left out: {str(error).splitlines()[0]}")
            continue
        exams[tasks.digest] = {task.id: task for task in tasks}
        sandbox = sandbox or s.sandbox
    return exams, sandbox


def _settings(job: Job) -> Settings:
    from omegaconf import DictConfig, OmegaConf

    recorded = OmegaConf.load(job.folder / "config" / "config.yaml")
    if not isinstance(recorded, DictConfig):
        raise DataError("its config is not a mapping")
    return settings(recorded)


def _exam(s: Settings) -> TaskSet:
    return s.stream.exam(s.tasks.load(), s.data.load(), s.seed)

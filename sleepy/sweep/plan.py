"""What a sweep would do, and what it may take: from the runs that are there, without running anything."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sleepy.artifacts import digest_of
from sleepy.identity import significant
from sleepy.progress import spoken
from sleepy.sweep.ending import state_of
from sleepy.sweep.jobs import Job
from sleepy.tables import markdown_table
from sleepy.track.log import SCORES
from sleepy.track.run import params_of
from sleepy.track.sweep_table import named
from sleepy.track.times import pairs_trained
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run as Stored

HEAD = ("job", "state", "time", "disk", "run")
# Where runs differ in one of these, the time of one says nothing about the other.
_SIZE = ("model.", "tasks.", "engine.", "repair.", "stream.", "stages", "algo._target_", "lora.target_modules")
_RECENT = 50  # runs that are looked at


class Cost(NamedTuple):
    """What a job may take: seconds, and bytes of its folder and its artifacts."""

    seconds: float
    size: float


def plan(jobs: Sequence[Job], left: Sequence[Job], shared: Collection[str], tracker: Tracker) -> str:
    """A Markdown table of the jobs with what is done of each; below it, what those that are `left` share and need."""
    finished, attempted = tracker.finished(), tracker.attempted()
    recent = sorted(finished.values(), key=lambda run: run.info.start_time)[-_RECENT:]
    open_ones = {job.words for job in left}
    rows, costs = [], list[Cost | None]()
    for job in jobs:
        name, digest = named(job.words, shared), job.identity.digest
        if job.words not in open_ones:
            rows.append((name, "finished", "", "", finished[digest].info.run_id))
            continue
        run, cost = attempted.get(digest), expected(job, recent)
        costs.append(cost)
        time, disk = (spoken(cost.seconds), megabytes(cost.size)) if cost else ("unknown", "unknown")
        rows.append((name, _state(tracker, job, run), time, disk, run.info.run_id if run else ""))
    return "\n".join([markdown_table(HEAD, rows), "", *_summary(jobs, left, costs)])


def expected(job: Job, finished: Sequence[Stored]) -> Cost | None:
    """What a job may take, from the most similar of the `finished` runs of the same model, exam and stages; training in
    proportion to the pairs that are trained on. None where there is no such run."""
    ours = params_of({**significant(job.config), **{key: job.config[key] for key in ("model", "tasks", "stages")}})
    found = []
    for run in finished:
        theirs = run.data.params
        differing = [key for key, value in ours.items() if theirs.get(key) != value]
        seconds, training = _seconds(run), run.data.metrics.get("seconds/train", 0.0)
        ratio = pairs_trained(ours) / pairs_trained(theirs) if pairs_trained(ours) and pairs_trained(theirs) else None
        if not any(key.startswith(_SIZE) for key in differing) and seconds and ratio:
            cost = Cost(seconds + training * (ratio - 1), run.data.metrics.get("disk/bytes", 0.0))
            found.append((len(differing), -run.info.start_time, cost))
    return min(found)[2] if found else None


def _seconds(run: Stored) -> float:
    ended = run.info.end_time
    return (ended - run.info.start_time) / 1000 if ended else 0.0


def _state(tracker: Tracker, job: Job, run: Stored | None) -> str:
    """What is done of a job that is to be done."""
    if run is None:
        return "new"
    if run.info.status == "FINISHED":
        return f"again: {job.identity.never or 'sweep.again=true'}"
    word, reason = state_of(run)
    return " ".join(filter(None, [word, reason and f"({reason})", *_reached(tracker, run)]))


def _reached(tracker: Tracker, run: Stored) -> list[str]:
    """How far a run got, by what it left."""
    left = (
        ("result measured", f"{SCORES}/eval.json"),
        ("trained", "adapter"),
        ("baseline measured", f"{SCORES}/baseline.json"),
    )
    return next(([f"({what})"] for what, path in left if tracker.files(run, path).exists()), [])


def _summary(jobs: Sequence[Job], left: Sequence[Job], costs: Sequence[Cost | None]) -> list[str]:
    known = [cost for cost in costs if cost]
    lines = [f"{len(jobs)} jobs, {len(jobs) - len(left)} of them finished, {len(left)} to do."]
    if not left:
        return lines
    models = {str(job.identity.parts["model"]) for job in left if "model" in job.identity.parts}
    asked = {_asked(job) for job in left if "baseline" in job.stages}
    if models:
        lines.append(f"Shared by the jobs to do: {_count(models, 'base model')}, {_count(asked, 'baseline')}.")
    least = "" if len(known) == len(costs) else f"at least (of {len(costs) - len(known)} jobs nothing is known) "
    if known:
        time, disk = spoken(sum(cost.seconds for cost in known)), megabytes(sum(cost.size for cost in known))
        lines.append(f"One after the other they take {least}{time} and {disk}, by earlier runs.")
    else:
        lines.append("Time and disk are unknown: no similar job has finished yet.")
    free = shutil.disk_usage(Path.cwd()).free
    return [*lines, f"Free here: {megabytes(free)}. Nothing was run."]


def _asked(job: Job) -> str:
    """Equal for jobs that have one baseline."""
    read = [job.identity.parts.get(key) for key in ("model", "tasks", "asked", "rustc")]
    return digest_of([*read, job.config["engine"], job.config["sandbox"]])


def _count(what: Any, name: str) -> str:
    return f"{len(what)} {name}{'' if len(what) == 1 else 's'}"


def megabytes(size: float) -> str:
    """A size as people say it."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"

"""What the results page says in words: what was compared, what the exam can tell apart, how a row was made."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Iterable, Sequence

from sleepy.results_page.differences import Difference
from sleepy.results_page.jobs import Job
from sleepy.results_page.rows import Row

Fact = tuple[str, str]


def sentence(rows: Sequence[Row], found: Sequence[Difference | None], noticed: float) -> str:
    """What was compared, and what this exam can tell apart, in one sentence."""
    row, compared = rows[0], [d for d in found if d]
    exams = {scores.tasks_digest for r in rows for scores in r.after}
    exam = f"{_count(len(row.after[0].results), 'koan')} of {row.after[0].tasks}"
    exam = exam if len(exams) == 1 else f"{len(exams)} exams, each on its own"
    if any(job.after for r in rows for job in r.jobs):
        models = sorted({job.before.model for r in rows for job in r.jobs})
        with_what = f"the untouched {' or '.join(models)}"
    else:  # the row that has nothing before it
        with_what = next(r.label for r in rows if None in r.before)
    by = " × ".join(row.values)
    seeds = max(len(r.jobs) for r in rows)
    what = _count(len(compared) or len(rows), "variant")
    what += (f" ({by})" if by else "") + (f", {seeds} seeds each," if seeds > 1 else "")
    if not compared:
        return f"{what} on {exam}: there is nothing to compare with."
    better, worse = (sum(d.beyond_chance and (d.value > 0) == up for d in compared) for up in (True, False))
    told = f"{_none(better)} better and {_none(worse)} worse beyond chance"
    if math.isinf(noticed):
        limit = "so few koans cannot show any difference"
    else:
        limit = (
            f"this exam shows a true difference of {100 * noticed:.0f} points or more in four of five experiments, "
            "and smaller ones may go unnoticed"
        )
    were = "was" if len(compared) == 1 else "were"
    return f"{what} {were} compared with {with_what} on {exam}: {told}; {limit}."


def description(rows: Sequence[Row], found: Sequence[Difference | None], noticed: float) -> str:
    """The sentence, and the best row, for a parent run's description in MLflow."""
    best = max(((d.value, row.label, d) for row, d in zip(rows, found, strict=True) if d), default=None)
    if best is None:
        return sentence(rows, found, noticed)
    return f"{sentence(rows, found, noticed)} Best: {best[1]}, {points(best[2])}."


def points(d: Difference) -> str:
    """A difference and its interval: "+7.1 points (95 % -1.0 to +15.3)"."""
    return f"{100 * d.value:+.1f} points (95 % {100 * d.interval[0]:+.1f} to {100 * d.interval[1]:+.1f})"


def seconds(row: Row) -> float:
    """Of training, else of the evaluation; the mean over the row's runs."""
    return statistics.mean(job.metrics.get("train/seconds", job.scores.seconds) for job in row.jobs)


def adapter_bytes(row: Row) -> float | None:
    """Of all adapters' weights; the mean over the row's runs. None where there is no adapter."""
    sizes = [[p.stat().st_size for p in (job.folder / "adapter").rglob("*.safetensors")] for job in row.jobs]
    return statistics.mean(map(sum, sizes)) if any(sizes) else None


def provenance(row: Row) -> list[Fact]:
    """What a row's runs were made with; where its runs differ, all that there is."""
    jobs = row.jobs
    facts = [
        ("code", _each(_code(job) for job in jobs)),
        ("model", _each(job.scores.model for job in jobs)),
        ("exam", _each(f"{j.scores.tasks}, digest {j.scores.tasks_digest[:12]}" for j in jobs)),
        ("engine", _each(job.scores.engine for job in jobs)),
        ("adapter", _each(job.tags.get("adapter.digest", "")[:12] for job in jobs)),
        ("gate", _each(job.tags.get("gate.reason", "") for job in jobs)),
        ("made with", _each(_made_with(job) for job in jobs)),
    ]
    return [fact for fact in facts if fact[1]]


def commands(row: Row) -> list[Fact]:
    """Each run's id, and the commands that repeat it."""
    return [(job.run_id, _command(job)) for job in row.jobs]


def _command(job: Job) -> str:
    commit = job.tags.get("mlflow.source.git.commit", "")
    checkout = f"git checkout {commit}\n" if commit else ""
    return f"{checkout}{shlex.join(['python', 'run.py', *job.words])}"


def _code(job: Job) -> str:
    changed = job.tags.get("mlflow.source.git.dirty") == "true"
    return job.tags.get("sleepy.code", "") + (" (record/changes.patch in MLflow)" if changed else "")


def _made_with(job: Job) -> str:
    names = ("rustc", "python", "torch", "llama-cpp-python", "cpu", "cores", "gpu")
    known = [(name, job.made_with[name]) for name in names if name in job.made_with]
    return ", ".join(value if value.startswith(name) else f"{name} {value}" for name, value in known)


def _each(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _none(number: int) -> str:
    return {0: "none is", 1: "1 is"}.get(number, f"{number} are")

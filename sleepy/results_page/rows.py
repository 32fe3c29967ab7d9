"""Rows of the results page: runs that differ in the seed alone are one row; what else differs are its columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sleepy.results import Scores
from sleepy.results_page.jobs import Job, key_of

SEED, RUN = "seed", "run"
# Where a run keeps its files, and what it shows, says nothing about its result.
_PLACES = ("cache", "checkpoints", "episodes", "debug", "stages", "track", "report", "hydra")


@dataclass(frozen=True)
class Row:
    """Runs that differ in the seed alone. values: by axis. before: per run what its result is paired with, koan by
    koan: the untouched model, or the first row where no run has a result; None where that was asked other koans."""

    values: Mapping[str, str]
    jobs: tuple[Job, ...]
    before: tuple[Scores | None, ...]

    @property
    def label(self) -> str:
        """The row in words."""
        return " ".join(f"{axis}={value}" for axis, value in self.values.items()) or "all"

    @property
    def seeds(self) -> tuple[str, ...]:
        """Each run's seed."""
        return tuple(job.value(SEED) for job in self.jobs)

    @cached_property
    def after(self) -> tuple[Scores, ...]:
        """Each run's scores."""
        return tuple(job.scores for job in self.jobs)

    @property
    def pairs(self) -> tuple[tuple[Scores, Scores], ...]:
        """Scores before and after of each run that can be compared."""
        return tuple((b, a) for b, a in zip(self.before, self.after, strict=True) if b)


def axes(jobs: Sequence[Job]) -> tuple[str, ...]:
    """The keys of the command lines in which runs differ, in the order in which they were typed, without the seed.
    Where two runs are the same in all of them, RUN is one more."""
    typed = dict.fromkeys(key_of(word) for job in jobs for word in job.words if "=" in word)
    keys = [key for key in typed if key.partition(".")[0] not in _PLACES]
    found = [key for key in keys if key != SEED and len({job.value(key) for job in jobs}) > 1]
    same = Counter(tuple(job.value(key) for key in (*found, SEED)) for job in jobs)
    return (*found, RUN) if max(same.values()) > 1 else tuple(found)


def rows(jobs: Sequence[Job]) -> tuple[Row, ...]:
    """The runs as rows, in the order in which the first of each comes."""
    columns = axes(jobs)
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        values = tuple(job.run_id[:8] if key == RUN else _shown(job.value(key)) for key in columns)
        groups.setdefault(values, []).append(job)
    trains, first = any(job.after for job in jobs), jobs[0].before
    made = []
    for values, group in groups.items():
        before = tuple(_before(job, None if trains else first) for job in group)
        made.append(Row(dict(zip(columns, values, strict=True)), tuple(group), before))
    return tuple(made)


def _before(job: Job, first: Scores | None) -> Scores | None:
    """What a run's scores are paired with. `first`: the first row's scores, where no run has a result."""
    if first is None:
        return job.before if job.after else None
    return first if first is not job.before and first.tasks_digest == job.before.tasks_digest else None


def _shown(value: str) -> str:
    """A value of a config as a person writes it: a list without quotes and brackets."""
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return ", ".join(map(str, found)) if isinstance(found, list) else value

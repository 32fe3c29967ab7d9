"""A sweep from its command line to its table: read `prepared` as a table of contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from sleepy.progress import say
from sleepy.sweep.ending import end
from sleepy.sweep.jobs import checked, identified
from sleepy.sweep.plan import plan
from sleepy.sweep.words import swept_keys
from sleepy.track.tracker import SWEPT


@contextmanager
def prepared(words: Sequence[str], sweep: DictConfig, loader: ConfigLoader) -> Iterator[list[tuple[str, ...]]]:
    """The jobs of these words that are left to do, all of them checked; the block does them, as children of a run of
    MLflow that is made here. After it the jobs are set side by side, however the block ended.

    A plan is printed instead where one is asked for, and then no job is left. `sweep` is the config that Hydra made of
    the words. Raises ConfigError that names each job with a problem.
    """
    jobs = checked(words, sweep, loader)
    shared = set.intersection(*(set(job.words) for job in jobs))
    asked = jobs[0].settings.sweep
    tracker = jobs[0].settings.track.open()
    jobs = asked.part(identified(jobs, tracker))
    done = {} if asked.again else tracker.finished()
    left = [job for job in jobs if job.identity.never or job.identity.digest not in done]
    if asked.plan:
        print(plan(jobs, left, shared, tracker))
        yield []
        return
    if len(left) < len(jobs):
        say(f"{len(jobs) - len(left)} of {len(jobs)} jobs are finished and not done again; sweep.again=true does them")
    key = str(Path(sweep.hydra.sweep.dir).resolve())
    experiment = sweep.hydra.runtime.choices.get("experiment") or ""
    tracker.parent(key, " ".join(words) or "sweep", {"experiment": experiment, SWEPT: " ".join(swept_keys(words))})
    try:
        yield [job.words for job in left]
    finally:
        end(tracker, key, jobs, shared, again=asked.again)

"""Runs as the results page reads them from the store: what was set, what was measured, and what they were made with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sleepy.errors import ConfigError
from sleepy.evaluate.scores_file import read_scores
from sleepy.results import Scores
from sleepy.track.log import SCORES
from sleepy.track.run import flat
from sleepy.track.tracker import ERROR, KILLED, SWEEP, Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run as Stored

_RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})")
_TAGS = {"algo": "algorithm", **{group: group for group in ("model", "tasks", "data", "stream", "routing")}}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A finished run.

    words: its command line. config: the resolved config with dotted names, values as JSON. tags, metrics: MLflow's.
    made_with: packages, compiler and machine. folder: of its artifacts. before: the untouched model's scores. after:
    the result's; None where the run ended with the baseline. stream: the figures of stream/stream.json; None where
    there was no stream of tasks.
    """

    run_id: str
    words: tuple[str, ...]
    config: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    made_with: Mapping[str, str]
    folder: Path
    before: Scores
    after: Scores | None = None
    stream: Mapping[str, Any] | None = None

    @property
    def scores(self) -> Scores:
        """What the run is about: its result, or the untouched model's scores."""
        return self.after or self.before

    def value(self, key: str) -> str:
        """What a key of the command line was set to, here or by default; "" where that is not recorded."""
        if key in self.config:
            return self.config[key]
        if tag := self.tags.get(_TAGS.get(key, "")):
            return tag
        typed = [word.partition("=")[2] for word in self.words if key_of(word) == key]
        # What nobody typed is called as its class's module.
        return next(iter([*typed[-1:], *self.config.get(f"{key}._target_", "").split(".")[-2:-1]]), "")


@dataclass(frozen=True)
class Found:
    """The runs that have something to show, and a line for each that has not, with the reason."""

    jobs: tuple[Job, ...] = ()
    without: tuple[str, ...] = field(default=())


def key_of(word: str) -> str:
    """The key of a word of the command line."""
    return word.partition("=")[0].lstrip("+")


def find_jobs(tracker: Tracker, places: Sequence[str]) -> Found:
    """The runs with these ids (or runs:/<id>), in their order; a run without scores stands for its children. Raises
    ConfigError for what is no run, and where no run has scores."""
    jobs, without = dict[str, Job](), list[str]()
    for place in places:
        match = _RUN.fullmatch(place)
        run = tracker.find(match[1]) if match else None
        if run is None:
            raise ConfigError(
                f"report.runs: there is no run {place!r} in this store. Give ids of runs, or of a sweep's parent run, "
                "and the track.folder that they are in"
            )
        for found in _leaves(tracker, run):
            read = _read(tracker, found)
            if isinstance(read, Job):
                jobs[read.run_id] = read
            else:
                without.append(read)
    if not jobs:
        raise ConfigError("report.runs: none of these runs has scores to show.\n" + "\n".join(without))
    return Found(tuple(jobs.values()), tuple(without))


def _leaves(tracker: Tracker, run: Stored) -> list[Stored]:
    children = [] if tracker.files(run, SCORES).is_dir() else tracker.children(run)
    leaves = [leaf for child in children for leaf in _leaves(tracker, child)]
    return leaves if SWEEP in run.data.tags else leaves or [run]


def _read(tracker: Tracker, run: Stored) -> Job | str:
    """The run, or why there is nothing to show of it."""
    tags = run.data.tags
    name = f"{run.info.run_name} ({run.info.run_id})"
    if run.info.status != "FINISHED":
        why = tags.get(ERROR) or tags.get(KILLED) or "it has not ended"
        return f"{name}: {run.info.status.lower()}, {why}"
    folder = tracker.files(run)
    scores = [_scores(folder / SCORES / f"{part}.json") for part in ("baseline", "eval")]
    if scores[0] is None or (scores[1] is None and (folder / "adapter").is_dir()):
        return f"{name}: it measured nothing of what it made"
    config, words = (folder / "config" / part for part in ("config.yaml", "overrides.txt"))
    stream = folder / "stream" / "stream.json"
    return Job(
        run_id=run.info.run_id,
        words=tuple(words.read_text(encoding="utf-8").splitlines()),
        config=flat(_yaml(config)),
        tags=tags,
        metrics=run.data.metrics,
        made_with={k[4:]: v for k, v in run.data.params.items() if k.startswith("env.")},
        folder=folder,
        before=scores[0],
        after=scores[1],
        stream=json.loads(stream.read_text(encoding="utf-8")) if stream.is_file() else None,
    )


def _scores(path: Path) -> Scores | None:
    return read_scores(path) if path.is_file() else None


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))

"""A run while it is going on: where a stage puts its parameters, numbers, tables and files."""

from __future__ import annotations

import json
import posixpath
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sleepy.track.record import record
from sleepy.track.store import Store

MAX_PARAM, MAX_TAG, MAX_NAME = 6000, 8000, 250  # characters, MLflow's limits
MAX_DIGEST = 36


class Run:
    """A run of MLflow under its id. Everything is written at once, nothing is kept back."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self.id = run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Record parameters; a nested dict becomes dotted names. MLflow lets nobody change one later."""
        from mlflow.entities import Param

        params = [Param(name, cut(text, MAX_PARAM)) for name, text in _named(flat(values)).items()]
        with self._store.using() as client:
            client.log_batch(self.id, params=params, synchronous=True)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, at a step if they belong to one."""
        self._log_metrics((name, value, step or 0) for name, value in _named(values).items())

    def _log_metrics(self, points: Iterable[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, step) for name, value, step in points]
        with self._store.using() as client:
            client.log_batch(self.id, metrics=metrics, synchronous=True)  # in requests of up to 1000

    def tags(self, values: Mapping[str, Any]) -> None:
        """Record or replace tags: the words that the table of runs is read and filtered by."""
        from mlflow.entities import RunTag

        tags = [RunTag(name, text) for name, text in as_tags(values).items()]
        with self._store.using() as client:
            client.log_batch(self.id, tags=tags, synchronous=True)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file into `folder` of the artifacts, or what a directory holds (by default into one of its name)."""
        if not path.exists():
            raise FileNotFoundError(f"no such artifact: {path}")
        with self._store.using() as client:
            if path.is_dir():
                client.log_artifacts(self.id, str(path), folder or path.name)
            else:
                client.log_artifact(self.id, str(path), folder)

    def text(self, text: str, name: str) -> None:
        """Write a text as the artifact `name`, folders and ending included."""
        with self._store.using() as client:
            client.log_text(self.id, text, name)

    def table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Write rows of equal keys as the artifact `name`.json, in the form that MLflow shows as a table.

        A table of that name that the run already has grows by the rows.
        """
        import pandas

        # dtype=object: whole numbers stay whole, also beside missing ones
        frame = pandas.DataFrame([dict(row) for row in rows], dtype=object)
        with self._store.using() as client:
            client.log_table(self.id, frame, name if name.endswith(".json") else f"{name}.json")

    def dataset(self, name: str, digest: str, source: str, rows: int, context: str) -> None:
        """Record data that the run used: `context` says for what ("training", "evaluation"), `source` whence.

        MLflow keeps 36 characters of a digest as such; the whole stands in the dataset's profile.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = json.dumps({"num_rows": rows, "digest": digest})
        dataset = Dataset(name, digest[:MAX_DIGEST], "local", json.dumps({"uri": source}), profile=profile)
        used = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
        # Looked up, then inserted: two jobs of a sweep must not do so at once.
        with self._store.locked() as client:
            client.log_inputs(self.id, datasets=[used])

    def record(self, folder_of_code: Path) -> None:
        """Record what the run was made with: code and its uncommitted changes, packages, machine."""
        made_with = record(folder_of_code)
        self.tags(made_with.tags)
        self.params(made_with.params)
        for name, text in made_with.texts.items():
            self.text(text, name)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested dicts as dotted names; anything but a text as JSON, so that true, null and [1, 2] look as in YAML."""
    out: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            out |= flat(value, f"{name}.")
        else:
            out[name] = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return out


def clean(name: str) -> str:
    """A name in the letters that MLflow allows, `pass@1` becoming `pass_1`, and such that no path is hidden in it."""
    allowed = re.sub(r"[^/\w.\- :]", "_", name.strip())[:MAX_NAME]
    return posixpath.normpath(f"/{allowed}").lstrip("/") or "_"


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and a mark that says how long it was."""
    if len(text) <= limit:
        return text
    mark = f" ... [cut, {len(text)} characters]"
    return text[: limit - len(mark)] + mark


def as_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """Tags with names and values that MLflow takes."""
    return {name: cut(str(value), MAX_TAG) for name, value in _named(values).items()}


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        name = clean(key)
        while name in out:  # two names that differ in signs alone are both kept
            name += "_"
        out[name] = value
    return out

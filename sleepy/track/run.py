"""A run while it is going on: where a stage puts its parameters, numbers, tables and files."""

from __future__ import annotations

import json
import math
import posixpath
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sleepy.track.record import record
from sleepy.track.store import Store

MAX_PARAM, MAX_TAG, MAX_NAME, MAX_DIGEST = 6000, 8000, 250, 36  # characters, MLflow's limits
NOTE = "mlflow.note.content"  # a run's description


class Run:
    """A run of MLflow, known by its id. Everything is written at once."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self.id = run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Record parameters; a nested dict becomes dotted names. MLflow does not let them be changed later."""
        from mlflow.entities import Param

        self._log(params=[Param(name, text) for name, text in params_of(values).items()])

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, at a step if they belong to one. A number that is not finite is left out: MLflow would show
        infinity as 1.8e308."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        finite = {clean(name): float(value) for name, value in values.items() if math.isfinite(value)}
        self._log(metrics=[Metric(name, value, now, step or 0) for name, value in finite.items()])

    def tags(self, values: Mapping[str, Any]) -> None:
        """Record or replace tags: the words by which the table of runs is read and filtered."""
        from mlflow.entities import RunTag

        self._log(tags=[RunTag(name, text) for name, text in as_tags(values).items()])

    def describe(self, text: str) -> None:
        """What came of the run, for a person: MLflow's UI shows it above everything else."""
        self.tags({NOTE: text})

    def _log(self, **batch: Any) -> None:
        with self._store.client() as client:
            client.log_batch(self.id, **batch, synchronous=True)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file into `folder` of the artifacts, or the contents of a directory (by default into one of its name).

        Raises FileNotFoundError if there is no such file or directory.
        """
        if not path.exists():
            raise FileNotFoundError(f"no such artifact: {path}")
        with self._store.client() as client:
            if path.is_dir():
                client.log_artifacts(self.id, str(path), folder or path.name)
            else:
                client.log_artifact(self.id, str(path), folder)

    @property
    def size(self) -> int:
        """Bytes of the artifacts."""
        return self._store.size(self.id)

    def text(self, text: str, name: str) -> None:
        """Write a text as the artifact `name`, folders and ending included."""
        with self._store.client() as client:
            client.log_text(self.id, text, name)

    def place(self, path: Path) -> str:
        """How a tag names a file: below the store's folder by its path from there, so that it stays true when a
        project is moved; else by its whole path."""
        whole = path.resolve()
        return str(whole.relative_to(self._store.folder) if whole.is_relative_to(self._store.folder) else whole)

    def table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Write rows of equal keys as the artifact `name`.json, which MLflow shows as a table. If the run has one
        of that name, the rows are added to it."""
        import pandas

        frame = pandas.DataFrame(rows, dtype=object)  # whole numbers stay whole, also beside missing ones
        with self._store.client() as client:
            client.log_table(self.id, frame, f"{name}.json")

    def dataset(self, name: str, digest: str, source: str, rows: int, context: str) -> None:
        """Record data that the run used: `context` says for what ("training", "evaluation"), `source` where it is from.

        MLflow keeps 36 characters of a digest; the dataset's profile has all of it.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = json.dumps({"num_rows": rows, "digest": digest})
        dataset = Dataset(name, digest[:MAX_DIGEST], "local", json.dumps({"uri": source}), profile=profile)
        used = DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
        # MLflow looks it up and then inserts it: two jobs of a sweep must not do so at once.
        with self._store.locked() as client:
            client.log_inputs(self.id, datasets=[used])

    def record(self, folder_of_code: Path) -> None:
        """Record what the run was made with: code and its uncommitted changes, packages, machine."""
        made_with = record(folder_of_code)
        self.tags(made_with.tags)
        self.params(made_with.params)
        for name, text in made_with.texts.items():
            self.text(text, name)


def params_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested values as the parameters that MLflow has of them."""
    return {clean(name): cut(text, MAX_PARAM) for name, text in flat(values).items()}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested dicts as dotted names; anything but a text as JSON, so that true, null and [1, 2] look as in YAML."""
    out: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = (
                value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            )
    return out


def clean(name: str) -> str:
    """A name in the characters that MLflow allows (`pass@1` becomes `pass_1`) and that it does not take for a path."""
    allowed = re.sub(r"[^/\w.\- :]", "_", name.strip())[:MAX_NAME]
    return posixpath.normpath(f"/{allowed}").lstrip("/") or "_"


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and a note of how long it was."""
    note = f" ... [cut, {len(text)} characters]"
    return text if len(text) <= limit else text[: limit - len(note)] + note


def as_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """Tags with names and values that MLflow accepts."""
    return {clean(name): cut(str(value), MAX_TAG) for name, value in values.items()}

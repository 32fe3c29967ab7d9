"""Runs, sweeps and promoted adapters in an open store. Every run has an id that is passed on; nothing is global."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sleepy.errors import SleepyError
from sleepy.track.process import HOST, is_alive, this_process
from sleepy.track.run import MAX_NAME, Run, as_tags, cut
from sleepy.track.store import ARTIFACTS, Store, database_uri

if TYPE_CHECKING:
    from mlflow.entities import Run as Stored

PARENT, SWEEP, ERROR, KILLED, CHILDREN = (
    "mlflow.parentRunId", "sleepy.sweep", "sleepy.error", "sleepy.killed", "sleepy.children",
)  # fmt: skip
ALIAS = "promoted"
_KILLED_EXITS = (130, 143)  # what a shell reports after Ctrl-C and after SIGTERM


class Promoted(NamedTuple):
    """A version in the model registry: its number, the run it came from, the folder that holds the adapter."""

    version: int
    run_id: str
    source: Path


class Tracker:
    """Writes runs to a store. Made by `Mlflow.open()`; safe to use from many processes at once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def run(self, *, name: str, tags: Mapping[str, Any] | None = None, parent: str | None = None) -> Iterator[Run]:
        """A run that ends with the block: FINISHED, FAILED with its traceback, or KILLED (Ctrl-C, exit 130 or 143).

        `parent` is the id of the run it belongs to. What the block raises is passed on.
        """
        run = Run(self._store, self._create(name, dict(tags or {}) | ({PARENT: parent} if parent else {})))
        try:
            yield run
        except BaseException as error:
            self._end_early(run, error)
            raise
        with self._store.using() as client:
            client.set_terminated(run.id, "FINISHED")

    def parent(self, sweep_key: str, name: str, tags: Mapping[str, Any] | None = None) -> str:
        """The id of the run that the jobs of a sweep belong to, found by its key or made.

        A parent that has ended goes on, and one whose process is gone passes to this process.
        """
        with self._store.locked() as client:
            found = self._sweep(sweep_key)
            if found is None:
                return self._create(name, dict(tags or {}) | {SWEEP: sweep_key})
            if found.info.status != "RUNNING":
                client.update_run(found.info.run_id, status="RUNNING")
                self._not_killed(found)
            if found.data.tags.get(HOST) == this_process()[HOST] and not is_alive(found.data.tags):
                Run(self._store, found.info.run_id).tags(this_process())
            return found.info.run_id

    def close_parent(self, sweep_key: str, pages: Mapping[str, str] | None = None) -> None:
        """End a sweep's run: FINISHED when it has children and all of them finished, else FAILED. `pages` are texts to
        keep with it, by the artifact's name."""
        with self._store.locked():
            found = self._sweep(sweep_key)
            if found is not None:
                for name, text in (pages or {}).items():
                    Run(self._store, found.info.run_id).text(text, name)
                self._end_parent(found)
                self._not_killed(found)

    def jobs(self, sweep_key: str) -> list[tuple[str, Path]]:
        """Id and folder of artifacts of each job of a sweep that has finished, in the order in which they began."""
        from mlflow.utils.file_utils import local_file_uri_to_path

        found = self._sweep(sweep_key)
        where = f"tags.`{PARENT}` = '{found.info.run_id}' AND attributes.status = 'FINISHED'" if found else ""
        runs = sorted(self._search(where) if found else [], key=lambda run: run.info.start_time)
        return [(run.info.run_id, Path(local_file_uri_to_path(run.info.artifact_uri))) for run in runs]

    def mark_killed(self) -> None:
        """Mark runs of this host as KILLED that still count as running, though their process is gone."""
        with self._store.locked() as client:
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            mine = f"attributes.status = 'RUNNING' AND tags.`{HOST}` = '{this_process()[HOST]}'"
            gone = [run for run in self._search(mine, experiments) if not is_alive(run.data.tags)]
            now = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}"
            for run in sorted(gone, key=lambda run: SWEEP in run.data.tags):  # jobs before their parents
                run_id = run.info.run_id
                if client.get_run(run_id).info.status != "RUNNING":
                    continue  # its process ended it, and itself, since the search
                if SWEEP in run.data.tags:
                    # The process that began a sweep may be one of its short-lived jobs.
                    if self._count_children(run)["RUNNING"]:
                        continue
                    self._end_parent(run, "KILLED")
                else:
                    client.set_terminated(run_id, "KILLED")
                Run(self._store, run_id).tags({KILLED: f"its process was gone at {now}"})

    def promote(self, run_id: str, model_name: str, folder: str = "adapter") -> int:
        """Register the artifact folder of a run as the next version of a model, and call that one `promoted`."""
        from mlflow.exceptions import MlflowException

        name = _model(model_name)
        with self._store.locked() as client:
            if not client.list_artifacts(run_id, folder):
                raise SleepyError(f"run {run_id} has no artifacts in {folder!r}: record the adapter, then promote it")
            try:
                client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
            version = client.create_model_version(name, source, run_id).version
            client.set_registered_model_alias(name, ALIAS, version)
        return int(version)

    def promoted(self, model_name: str) -> Promoted | None:
        """The version that was promoted last, or None."""
        from mlflow.exceptions import MlflowException
        from mlflow.utils.file_utils import local_file_uri_to_path

        name = _model(model_name)
        with self._store.using() as client:
            try:
                number = client.get_registered_model(name).aliases.get(ALIAS)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None
            if number is None:
                return None
            version = client.get_model_version(name, number)
        return Promoted(int(version.version), version.run_id, Path(local_file_uri_to_path(version.source)))

    def ui_line(self) -> str:
        """The shell command that opens the MLflow UI on this store, from the current folder."""
        folder = self._store.folder
        # A bare `mlflow ui` prefers the variable, and a folder of runs in MLflow's old format.
        elsewhere = "MLFLOW_BACKEND_STORE_URI" in os.environ or any((folder / ARTIFACTS).glob("*/meta.yaml"))
        if folder == Path.cwd() and not elsewhere:
            return f"{_mlflow()} ui"
        return f"{_mlflow()} ui --backend-store-uri {shlex.quote(database_uri(folder))}"

    def _create(self, name: str, tags: Mapping[str, Any]) -> str:
        about = {"mlflow.user": _user(), "mlflow.source.name": Path(sys.argv[0]).name, "mlflow.source.type": "LOCAL"}
        with self._store.using() as client:
            run = client.create_run(
                self._store.experiment, run_name=cut(name, MAX_NAME), tags=as_tags(about | this_process() | dict(tags))
            )
        return run.info.run_id

    def _end_early(self, run: Run, error: BaseException) -> None:
        """End a run that was left by an exception; whatever goes wrong here must not hide that exception."""
        code = error.code if isinstance(error, SystemExit) else None
        try:
            with self._store.using() as client:
                if isinstance(error, SystemExit) and not code:
                    client.set_terminated(run.id, "FINISHED")
                elif isinstance(error, KeyboardInterrupt) or code in _KILLED_EXITS:
                    run.tags({KILLED: f"stopped by {type(error).__name__} {code or ''}".strip()})
                    client.set_terminated(run.id, "KILLED")
                else:
                    run.tags({ERROR: "".join(traceback.format_exception_only(error)).strip()})
                    run.text("".join(traceback.format_exception(error)), "traceback.txt")
                    client.set_terminated(run.id, "FAILED")
        except Exception as trouble:
            error.add_note(f"(MLflow run {run.id} could not be ended: {trouble})")

    def _search(self, where: str, experiments: list[str] | None = None) -> list[Stored]:
        found: list[Stored] = []
        token = None
        with self._store.using() as client:
            while True:
                page = client.search_runs(experiments or [self._store.experiment], where, page_token=token)
                found += page
                token = page.token
                if not token:
                    return found

    def _sweep(self, key: str) -> Stored | None:
        # Compared here, not in the query, whose language has no way to write every key.
        return next((r for r in self._search(f"tags.`{SWEEP}` != ''") if r.data.tags[SWEEP] == key), None)

    def _count_children(self, run: Stored) -> Counter[str]:
        children = self._search(f"tags.`{PARENT}` = '{run.info.run_id}'", [run.info.experiment_id])
        return Counter(child.info.status for child in children)

    def _end_parent(self, run: Stored, status: str = "") -> None:
        counts = self._count_children(run)
        Run(self._store, run.info.run_id).tags(
            {CHILDREN: counts.total()} | {f"{CHILDREN}.{word.lower()}": count for word, count in counts.items()}
        )
        finished = counts["FINISHED"] and counts["FINISHED"] == counts.total()
        with self._store.using() as client:
            client.set_terminated(run.info.run_id, status or ("FINISHED" if finished else "FAILED"))

    def _not_killed(self, run: Stored) -> None:
        if KILLED in run.data.tags:
            with self._store.using() as client:
                client.delete_tag(run.info.run_id, KILLED)


def _mlflow() -> str:
    """How a shell calls the `mlflow` of this Python, whether or not its environment is active."""
    program, on_path = Path(sys.executable).with_name("mlflow"), shutil.which("mlflow")
    if not program.exists():
        return f"{shlex.quote(sys.executable)} -m mlflow"
    if on_path and os.path.samefile(on_path, program):
        return "mlflow"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        return "unknown"


def _model(name: str) -> str:
    return name.replace("/", "-").replace(":", "-")

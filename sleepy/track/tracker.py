"""Runs, sweeps and promoted adapters in an open store. Every run has an id that is passed on; nothing is global."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sleepy.errors import SleepyError
from sleepy.track.process import is_alive, this_process
from sleepy.track.run import MAX_NAME, MAX_TAG, Run, as_tags, cut
from sleepy.track.store import ARTIFACTS, Store

if TYPE_CHECKING:
    from mlflow.entities import Run as Stored

PARENT, SWEEP, ERROR, KILLED = "mlflow.parentRunId", "sleepy.sweep", "sleepy.error", "sleepy.killed"
JOB = "sleepy.job"  # what a job is: runs of equal identity come to the same result
WORDS = "sleepy.words"  # a sweep's job as its sweep names it
TAKEN = (
    "sleepy.taken"  # of a sweep: finished runs of earlier ones that stand for jobs of it, in as many tags as it takes
)
SWEPT = "sleepy.swept"  # the keys that a sweep has several values for
REPEATS = "sleepy.repeats"  # the run that this one repeats, or the record
ALIAS = "promoted"
_TAG_RUNS = MAX_TAG // 40  # ids of 32 letters in one tag
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
        run = Run(self._store, self._create(name, {**(tags or {}), **({PARENT: parent} if parent else {})}))
        try:
            yield run
        except BaseException as error:
            try:
                self._end(run, error)
            except Exception as trouble:  # must not hide the first error
                error.add_note(f"(MLflow run {run.id} could not be ended: {trouble})")
            raise
        self._end(run)

    def name_of(self, words: Sequence[str], parent: str | None = None) -> str:
        """What a run is called: the words of its command line. Where MLflow has no room for all of them, those come
        first in which the jobs of the sweep `parent` differ, and the middle is left out."""
        name = " ".join(words) or "defaults"
        if len(name) <= MAX_NAME:
            return name
        sweep = self.find(parent) if parent else None
        swept = sweep.data.tags.get(SWEPT, "").split() if sweep else []
        name = " ".join(sorted(words, key=lambda word: word.partition("=")[0] not in swept))
        half = (MAX_NAME - 5) // 2
        return f"{name[:half]} ... {name[-half:]}"

    def find(self, run_id: str) -> Stored | None:
        """A run by its id, or None."""
        return next(iter(self._search(f"attributes.run_id = '{run_id}'")), None)

    def children(self, run: Stored) -> list[Stored]:
        """The runs that have `run` as their parent and are no repetitions of it, and those that a sweep took from
        earlier ones, oldest first."""
        below = self._search(f"tags.`{PARENT}` = '{run.info.run_id}'")
        own = [child for child in below if REPEATS not in child.data.tags]
        taken = {name for tag, names in run.data.tags.items() if tag.startswith(TAKEN) for name in names.split()}
        listed = ", ".join(f"'{name}'" for name in sorted(taken - {child.info.run_id for child in own}))
        elsewhere = self._search(f"attributes.run_id IN ({listed})") if listed else []
        return sorted([*own, *elsewhere], key=lambda child: child.info.start_time)

    def finished(self, job: str = "") -> dict[str, Stored]:
        """The newest finished run of each job, by the job's digest; with `job`, of that one. A run whose artifacts are
        gone does not count: its figures cannot be taken."""
        which = f"= '{job}'" if job else "!= ''"
        found = self._search(f"tags.`{JOB}` {which} AND attributes.status = 'FINISHED'")
        return {run.data.tags[JOB]: run for run in found if self._store.remote or self.files(run).is_dir()}

    def files(self, run: Stored, within: str = "") -> Path:
        """See Store.files."""
        return self._store.files(run, within)

    def attempted(self) -> dict[str, Stored]:
        """The newest run of each job, whatever became of it, by the job's digest."""
        return {run.data.tags[JOB]: run for run in self._search(f"tags.`{JOB}` != ''")}

    def history(self, run_id: str, metric: str) -> list[float]:
        """A metric's values at each of its steps."""
        with self._store.client() as client:
            found = client.get_metric_history(run_id, metric)
        return [m.value for m in sorted(found, key=lambda m: int(m.step))]

    def recent(self, count: int) -> list[Stored]:
        """The newest finished runs, the newest first."""
        with self._store.client() as client:
            everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
            where, order = "attributes.status = 'FINISHED'", ["start_time DESC"]
            return list(client.search_runs(everywhere, where, max_results=count, order_by=order))

    def parent(self, sweep_key: str, name: str, tags: Mapping[str, Any] | None = None) -> str:
        """The id of the run that the jobs of a sweep belong to. It is created if there is none with this key.

        A parent that has ended is running again; one whose process is gone now belongs to this process.
        """
        with self._store.locked() as client:
            found = self._sweep(sweep_key)
            if found is None:
                return self._create(name, {**(tags or {}), SWEEP: sweep_key})
            run_id = found.info.run_id
            client.update_run(run_id, status="RUNNING")
            self._not_killed(found)
            if not is_alive(found.data.tags):
                Run(self._store, run_id).tags(this_process())
        return run_id

    def close_parent(
        self, sweep_key: str, pages: Mapping[str, str], *, finished: bool, taken: Sequence[str] = ()
    ) -> None:
        """End a sweep's run, as FINISHED or FAILED. `pages` are texts to keep with it, by the artifact's name; `taken`
        are runs of earlier sweeps that count as its children."""
        with self._store.locked() as client:
            found = self._sweep(sweep_key)
            if found is not None:
                run_id = found.info.run_id
                for name, text in pages.items():
                    client.log_text(run_id, text, name)
                lines = [" ".join(taken[i : i + _TAG_RUNS]) for i in range(0, len(taken), _TAG_RUNS)]
                Run(self._store, run_id).tags({f"{TAKEN}.{number}": line for number, line in enumerate(lines)})
                client.set_terminated(run_id, "FINISHED" if finished else "FAILED")
                self._not_killed(found)

    def describe(self, run_id: str, text: str) -> None:
        """See Run.describe."""
        Run(self._store, run_id).describe(text)

    def jobs(self, sweep_key: str) -> dict[str, Stored]:
        """The newest run of each of a sweep's jobs, by the job's words."""
        found = self._sweep(sweep_key)
        return {run.data.tags[WORDS]: run for run in (self.children(found) if found else []) if WORDS in run.data.tags}

    def mark_killed(self) -> None:
        """Mark runs of this host as KILLED that still count as running although their process is gone."""
        with self._store.locked() as client:
            for run in reversed(self._search("attributes.status = 'RUNNING'")):  # children before parents
                run_id = run.info.run_id
                # The process that began a sweep may be one of its short jobs: a parent lives as long as a child does.
                if is_alive(run.data.tags) or "RUNNING" in {child.info.status for child in self.children(run)}:
                    continue
                if client.get_run(run_id).info.status == "RUNNING":  # else its process has ended it since the search
                    client.set_tag(run_id, KILLED, f"its process was gone at {datetime.now().astimezone():%F %T %z}")
                    client.set_terminated(run_id, "KILLED")

    def promote(self, run_id: str, model_name: str, folder: str = "adapter", *, replacing: int | None) -> int | None:
        """Register an artifact folder of a run as the next version of a model, and make that one the promoted one.

        Only if the version that is promoted now is `replacing` (None: there is none): of two processes that compared
        with the same version one wins. Returns the new version, or None if somebody else has promoted meanwhile: then
        nothing is registered, and the caller compares again. Raises SleepyError if the run has no such folder.
        """
        name = _registered(model_name)
        with self._store.locked() as client:
            if not client.list_artifacts(run_id, folder):
                raise SleepyError(f"run {run_id} has no artifacts in {folder!r}: record the adapter, then promote it")
            used = self.promoted(model_name)
            if (used.version if used else None) != replacing:
                return None
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
            version = client.create_model_version(name, source, run_id).version
            client.set_registered_model_alias(name, ALIAS, version)
        return int(version)

    def promoted(self, model_name: str) -> Promoted | None:
        """The version that was promoted last, or None."""
        name = _registered(model_name)
        with self._store.client() as client:
            for model in client.search_registered_models(f"name = '{name}'"):
                if ALIAS in model.aliases:
                    found = client.get_model_version(name, model.aliases[ALIAS])
                    run = client.get_run(found.run_id)
                    within = found.source.removeprefix(run.info.artifact_uri).strip("/")
                    return Promoted(int(found.version), found.run_id, self.files(run, within))
        return None

    def ui_line(self) -> str:
        """The shell command that opens the MLflow UI on this store, from the current folder, or a server's address."""
        if self._store.remote:
            return self._store.address
        program, here = Path(sys.executable).with_name("mlflow"), Path.cwd()
        inside = program.relative_to(here) if program.is_relative_to(here) else program
        line = "mlflow ui" if shutil.which("mlflow") == str(program) else f"{shlex.quote(str(inside))} ui"
        # A bare `mlflow ui` prefers this variable, and a folder of runs in MLflow's old format.
        elsewhere = "MLFLOW_BACKEND_STORE_URI" in os.environ or any((here / ARTIFACTS).glob("*/meta.yaml"))
        if self._store.folder == here and not elsewhere:
            return line
        return f"{line} --backend-store-uri {shlex.quote(self._store.address)}"

    def _create(self, name: str, tags: Mapping[str, Any]) -> str:
        about = as_tags({**this_process(), **tags})
        with self._store.client() as client:
            return client.create_run(self._store.experiment, run_name=cut(name, MAX_NAME), tags=about).info.run_id

    def _end(self, run: Run, error: BaseException | None = None) -> None:
        code = error.code if isinstance(error, SystemExit) else None
        if error is None or (isinstance(error, SystemExit) and not code):
            status = "FINISHED"
        elif isinstance(error, KeyboardInterrupt) or code in _KILLED_EXITS:
            status = "KILLED"
            run.tags({KILLED: f"stopped by {error!r}"})
        else:
            status = "FAILED"
            run.tags({ERROR: "".join(traceback.format_exception_only(error)).strip()})
            run.text("".join(traceback.format_exception(error)), "traceback.txt")
        with self._store.client() as client:
            client.set_terminated(run.id, status)

    def _not_killed(self, run: Stored) -> None:
        if KILLED in run.data.tags:
            with self._store.client() as client:
                client.delete_tag(run.info.run_id, KILLED)

    def _sweep(self, key: str) -> Stored | None:
        # Compared here, not in the query, whose language has no way to write every key.
        sweeps = (run for run in self._search(f"tags.`{SWEEP}` != ''") if run.data.tags[SWEEP] == key)
        return next((run for run in sweeps if run.info.experiment_id == self._store.experiment), None)

    def _search(self, where: str) -> list[Stored]:
        """Runs of all experiments, in the order in which they began."""
        with self._store.client() as client:
            everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
            return list(client.search_runs(everywhere, where, max_results=50_000, order_by=["start_time ASC"]))


def _registered(model_name: str) -> str:
    return re.sub(r"[^\w.-]", "-", model_name)

"""What a run was made with, as far as its result may depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sleepy.artifacts import digest_of
from sleepy.replay.lines import Line, line_of
from sleepy.settings import Settings
from sleepy.track.record import CUT, NO_DIGEST, NOT_IN_GIT, record
from sleepy.track.tracker import JOB

FACTS = (
    "code", "diff", "untracked files", "Python", "packages", "rustc", "CPU features", "threads", "model", "tasks",
    "pairs", "job",
)  # fmt: skip
MUST_BE_SAME = ("model", "tasks")  # else the run that is repeated is another one


def circumstances(tags: Mapping[str, str], params: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, str]:
    """The FACTS in what a run records; those that are not known are left out."""
    dirty, patch = tags.get("mlflow.source.git.dirty"), texts.get("record/changes.patch", "")
    untracked = texts.get("record/untracked.txt", None if dirty != "false" else "")
    changes = "".join(line for line in patch.splitlines(True) if not line.startswith(NOT_IN_GIT))
    found = {
        "code": tags.get("mlflow.source.git.commit"),
        "diff": (digest_of(changes) if changes else "none") if dirty and not changes.endswith(CUT) else None,
        "untracked files": None if untracked is None or NO_DIGEST in untracked else untracked or "none",
        "Python": params.get("env.python"),
        "packages": texts.get("record/packages.txt"),
        "rustc": params.get("env.rustc"),
        "CPU features": params.get("env.cpu_features"),
        "threads": params.get("env.threads"),
        "job": tags.get(JOB),
        **{name: tags.get(f"{name}.digest") for name in ("model", "tasks", "pairs")},
    }
    return {name: " ".join(text.split()) for name, text in found.items() if text is not None}


def todays(s: Settings, stages: tuple[str, ...]) -> dict[str, str]:
    """The FACTS as they are here and now for a run with these settings. It brings the model if the run would. Raises
    SleepyError for what cannot be had."""
    tags, pairs = {}, s.data.load()
    if "fetch" in stages:
        tags["model.digest"] = s.model.fetch(Path(s.cache).expanduser()).digest
    if "prove" in stages:
        tags["tasks.digest"] = s.stream.exam(s.tasks.load(), pairs, s.seed).digest
        tags["pairs.digest"] = pairs.digest
    made = record(Path(__file__).parent)
    return circumstances(made.tags | tags, made.params, made.texts)


def preflight(then: Mapping[str, str], now: Mapping[str, str]) -> list[Line]:
    """A line for each of the FACTS."""
    return [line_of(name, then.get(name), now.get(name)) for name in FACTS if name in then or name in now]

"""What a killed run resumes from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepy.files import read_json, whole, write_json
from sleepy.progress import say

_FILE, _RECORD = "state.pt", "record.json"
_SHORT = 24  # letters of a value that is shown


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`, which is whole at any time. Raises DiskError for a disk that is full."""
    import torch

    with whole(folder / _FILE) as partial:
        torch.save(state, partial)


@dataclass(frozen=True)
class Progress:
    """How far the training in a checkpoint's folder got, and everything that determines its result."""

    done: int
    steps: int
    record: Mapping[str, Any]


def note(folder: Path, progress: Progress) -> None:
    """Write how far the training is beside its checkpoint, for people and for `not_resumed`. Raises DiskError."""
    record = json.loads(json.dumps(progress.record, default=str))
    write_json(folder / _RECORD, {"done": progress.done, "steps": progress.steps, "record": record})


def progress_in(folder: Path) -> Progress | None:
    """What `note` wrote; None where there is no checkpoint or no note."""
    found = read_json(folder / _RECORD)
    return Progress(**found) if found.keys() == {"done", "steps", "record"} and (folder / _FILE).is_file() else None


def not_resumed(folder: Path, record: Mapping[str, Any], own: Collection[Path]) -> str:
    """Why a training with this `record` starts from step 1, in one line, where its own `folder` has no checkpoint, but
    there is one of an unfinished training of the same base and algorithm beside it: the fields that differ, for the
    most similar one. "" where there is none. `own` are the folders of the same run."""
    if any(folder.rglob(_FILE)) or not folder.parent.is_dir():  # of several trainings in one, each is further down
        return ""
    now, found = dict(_flat(json.loads(json.dumps(record, default=str)))), []
    for other in sorted(folder.parent.iterdir()):
        progress = progress_in(other) if other not in own else None
        if progress is None or progress.done >= progress.steps:
            continue
        then = dict(_flat(progress.record))
        if all(then.get(key) == now.get(key) for key in ("base", "algo")):
            differing = [key for key in {**then, **now} if then.get(key) != now.get(key)]
            shown = ", ".join(_shown(key, then.get(key), now.get(key)) for key in differing)
            found.append((len(differing), f"{other} (step {progress.done} of {progress.steps}), differs in {shown}"))
    # It may be that of another job that is running: so this does not say that it is given up.
    return f"Starting from step 1. The most similar unfinished checkpoint, {min(found)[1]}" if found else ""


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a record by the keys that a user knows."""
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key.removesuffix('_options')}.")
        else:
            yield f"{prefix}{key}", value


def _shown(key: str, then: object, now: object) -> str:
    return f"{key} ({then}, now {now})" if max(len(str(then)), len(str(now))) <= _SHORT else key


def load(folder: Path) -> dict[str, Any] | None:
    """The checkpoint in `folder`; None if there is none, or none that can be read."""
    import torch

    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError):
        say(f"Starting from step 1: the checkpoint {path} is damaged")
        return None
    return state


def drop(folder: Path) -> None:
    """Remove the checkpoint of a run that has ended well."""
    shutil.rmtree(folder, ignore_errors=True)

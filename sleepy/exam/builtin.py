"""The task sets that come with sleepy: frozen, versioned, digested."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import DataError
from sleepy.exam.read import read_tasks
from sleepy.options import CONF, ranged

SETS = ("koans", "koans_val", "koans_ladder", "patterns")
_FOLDER = Path(__file__).parent


def frozen(name: str) -> TaskSet:
    """The set that conf/tasks/<name>.yaml describes."""
    files = [OmegaConf.load(CONF / "tasks" / f"{n}.yaml") for n in ("koans", name)]
    values: Any = OmegaConf.to_container(OmegaConf.merge(*files))
    return Builtin(**{k: v for k, v in values.items() if k not in ("defaults", "_target_")}).load()


def every_koan() -> tuple[Task, ...]:
    """All koans that come with sleepy, of every set, as they are on the disk."""
    return tuple(t for folder in SETS for path in _files(folder) for t in read_tasks(path))


def _files(folder: str) -> list[Path]:
    return sorted((_FOLDER / folder).glob("*.jsonl"))


@dataclass(frozen=True, kw_only=True)
class Builtin:
    """A frozen set, with one JSONL file for each family.

    folder: which koans: "koans" (to report on), "koans_val" (to choose recipes by), "koans_ladder" (one
        difficulty at a time) or "patterns" (three held-out training pairs of each pattern).
    version: the version of the set, raised whenever a task changes.
    sha256: digest of the whole set in that version, 64 hex digits.
    per_level: how many tasks of each level and family to take, from the first on. 0 takes all (at least 0).
    families: take only these families; empty takes all.
    patterns: take only these patterns; empty takes all.
    """

    folder: str = "koans"
    version: str = ""
    sha256: str = ""
    per_level: int = ranged(0, at_least=0)
    families: list[str] | None = None
    patterns: list[str] | None = None

    def load(self) -> TaskSet:
        """The tasks. Raises DataError when the files are not those of this version."""
        whole = TaskSet(self.folder, self.version, tuple(t for path in _files(self.folder) for t in read_tasks(path)))
        if whole.digest != self.sha256:
            raise DataError(
                f"the frozen set {self.folder} was changed: its digest is {whole.digest}, but version {self.version} "
                f"has {self.sha256}. Restore its files, or give the changed set a new version and digest in conf/tasks/"
            )
        _require(self.families, "tasks.families", [t.family for t in whole])
        _require(self.patterns, "tasks.patterns", [t.pattern for t in whole])
        seen: dict[tuple[str, int], int] = {}
        chosen: list[Task] = []
        for task in whole:
            place = seen[task.family, task.level] = seen.get((task.family, task.level), 0) + 1
            ours = task.family in (self.families or [task.family]) and task.pattern in (self.patterns or [task.pattern])
            if ours and (not self.per_level or place <= self.per_level):
                chosen.append(task)
        if not chosen:
            raise DataError("tasks.families, tasks.patterns and tasks.per_level leave no koan. Leave one of them out")
        name = self.folder if len(chosen) == len(whole) else f"{self.folder}[{len(chosen)}]"
        return TaskSet(name, self.version, tuple(chosen))


def _require(asked: list[str] | None, option: str, there: list[str]) -> None:
    """Raises DataError for what is asked for and not there."""
    known = list(dict.fromkeys(there))
    if wrong := [word for word in asked or [] if word not in known]:
        raise DataError(f"{option}: there is no {', '.join(wrong)}. Choose from {', '.join(known)}")

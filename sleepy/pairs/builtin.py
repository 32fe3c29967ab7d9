"""The built-in training pairs, one JSONL file a family, and the sample of them that the baseline is asked."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from sleepy.artifacts import Task, TaskSet
from sleepy.exam.read import read_tasks
from sleepy.pairs.material import Pairs

FOLDER = Path(__file__).parent / "jsonl"


def load_pairs(folder: Path = FOLDER) -> Pairs:
    """Every pair of the folder's JSONL files, by file name. Raises DataError for a line that cannot be used."""
    files = sorted(folder.glob("*.jsonl"))
    return Pairs("pairs", "3", tuple(t for path in files for t in read_tasks(path, needs_tests=False)))


def sample(pairs: TaskSet, size: int, seed: int | str) -> TaskSet:
    """`size` pairs spread evenly over the patterns, the same for the same seed; all when there are no more. Where there
    are more patterns than `size`, the seed draws which."""
    groups: dict[str, list[Task]] = defaultdict(list)
    for task in pairs:
        groups[task.pattern].append(task)
    rng, names = random.Random(seed), sorted(groups)
    for name in names:
        rng.shuffle(groups[name])
    rng.shuffle(names)
    drawn: list[Task] = []
    for turn in range(max(map(len, groups.values()))):
        drawn += [groups[name][turn] for name in names if turn < len(groups[name])]
    return TaskSet(f"{pairs.name}[{size}]", pairs.version, _in_order(pairs, drawn[:size]))


def _in_order(pairs: TaskSet, chosen: Sequence[Task]) -> tuple[Task, ...]:
    ids = {t.id for t in chosen}
    return tuple(t for t in pairs if t.id in ids)

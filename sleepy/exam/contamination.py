"""Near-duplicates: programs so alike that training on one teaches the answer to the other."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from sleepy.artifacts import Task
from sleepy.exam.builtin import every_koan
from sleepy.rust.similarity import Fingerprint, edit_print, fingerprint, nearest

# Jaccard similarity of token 5-grams, as written and with names and literals anonymised, above which two programs count
# as near-duplicates
PROGRAMS = {"exact": 0.4, "shape": 0.6}
# The same change to much the same program (EditPrint.like). Either alone says little: many patterns are one edit, and
# short programs are alike.
LIMITS = {**PROGRAMS, "edit": 0.19}


@dataclass(frozen=True)
class Near:
    """The task most alike in one of the kinds of LIMITS, and the similarity ("" and 0: none)."""

    task: str = ""
    similarity: float = 0.0
    kind: str = ""

    @property
    def excess(self) -> float:
        """The similarity as a multiple of its limit: above 1 for a near-duplicate."""
        return self.similarity / LIMITS.get(self.kind, 1.0)


def most_alike(
    of: Sequence[Fingerprint], among: Sequence[Fingerprint], names: Sequence[str], same: bool = False
) -> list[tuple[Near, Near]]:
    """For each fingerprint of `of` the one of `among` that is most like it as written, and in shape. `names` are those
    of `among`. With `same`, `among` begins with `of`, and nothing is like itself."""
    found = []
    for kind in PROGRAMS:
        near = nearest([getattr(p, kind) for p in of], [getattr(p, kind) for p in among], same)
        found.append([Near(names[j], similarity, kind) if j >= 0 else Near() for j, similarity in near])
    return list(zip(*found, strict=True))


def most_alike_edits(of: Sequence[Task], among: Sequence[Task]) -> list[Near]:
    """For each task of `of` the one of `among` with the same error code in which most the same is changed: under
    another error the same change is another lesson."""
    theirs = defaultdict(list)
    for task in among:
        theirs[task.code].append((task.id, edit_print(task.broken, task.fix)))
    found = []
    for task in of:
        mine, best = edit_print(task.broken, task.fix), Near()
        for name, other in theirs[task.code]:
            if (alike := mine.like(other)) > best.similarity:
                best = Near(name, alike, "edit")
        found.append(best)
    return found


def contaminated(tasks: Sequence[Task]) -> list[bool]:
    """Whether each task's broken program or fix is a near-duplicate of one of any koan that comes with sleepy."""
    prints = _programs(tasks)
    near = [max(n.excess for n in both) > 1 for both in most_alike(prints, *_koans())]
    return [broken or fix for broken, fix in zip(near[::2], near[1::2], strict=True)]


def nearest_koans(groups: Sequence[Sequence[str]], koans: Sequence[tuple[str, str]]) -> list[Near]:
    """For each group of programs the nearest of `koans`, which are ids and programs, to any of them: the one of the
    largest excess."""
    flat = [fingerprint(program) for group in groups for program in group]
    both = iter(most_alike(flat, [fingerprint(program) for _, program in koans], [name for name, _ in koans]))
    found = ([near for _ in group for near in next(both)] for group in groups)
    return [max(near, key=attrgetter("excess"), default=Near()) for near in found]


@functools.cache  # the koans do not change while a process runs, and are asked for again and again
def _koans() -> tuple[list[Fingerprint], list[str]]:
    koans = every_koan()
    return _programs(koans), [koan.id for koan in koans for _ in ("broken", "fix")]


def _programs(tasks: Sequence[Task]) -> list[Fingerprint]:
    """Fingerprints of each task's broken program and its fix, in turn."""
    return [fingerprint(program) for task in tasks for program in (task.broken, task.fix)]

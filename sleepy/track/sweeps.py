"""What a sweep does of its jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep does what is not finished yet. A single run has no use for these keys.

    again: do every job anew, also those that an earlier sweep or run has finished.
    plan: show the jobs, what of each is done, and what time and disk the others may take, and run nothing.
    shard: which part of the jobs to do. "3/8" is every eighth, from the third on. "" is all of them.
    """

    again: bool = False
    plan: bool = False
    shard: str = ""

    def problems(self) -> list[str]:
        """What the fields' types do not say."""
        if not self.shard or self._shard():
            return []
        return [f"shard: got {self.shard!r}, must be n/m with n from 1 to m, such as 3/8"]

    def part(self, jobs: Sequence[T]) -> list[T]:
        """Those of a sweep's jobs that this shard does. Shards have no job in common, and together all of them."""
        number, count = self._shard() or (1, 1)
        return list(jobs[number - 1 :: count])

    def _shard(self) -> tuple[int, int] | None:
        found = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        return (number, count) if 1 <= number <= count else None

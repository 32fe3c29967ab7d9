"""The koan's own pattern: what no router can know, and the upper bound of what routing is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import TaskSet
from sleepy.routing.route import Route, Routing


@dataclass(frozen=True, kw_only=True)
class Oracle(Routing):
    """The adapter of the koan's pattern, the base model where there is none."""

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open."""
        return lambda task, broken: task.pattern if task.pattern in names else ""

    def identity(self) -> dict[str, object]:
        """See Routing.identity."""
        return {"routing": "oracle"}

"""No routing: there is one adapter, or several are merged into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sleepy.artifacts import TaskSet
from sleepy.routing.route import Route, Routing


@dataclass(frozen=True, kw_only=True)
class NoRouting(Routing):
    """One model answers everything."""

    routes: ClassVar[bool] = False

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open: no adapter is named."""
        return lambda task, broken: ""

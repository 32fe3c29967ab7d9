"""No adapter is chosen: one adapter is merged into the weights, or several into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sleepy.artifacts import TaskSet
from sleepy.routing.route import Route, Routing


@dataclass(frozen=True, kw_only=True)
class NoRouting(Routing):
    """The merged model answers everything."""

    routes: ClassVar[bool] = False

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open: always the model as it is."""
        return lambda task, broken: ""

    def identity(self) -> dict[str, object]:
        """See Routing.identity."""
        return {"routing": "none"}

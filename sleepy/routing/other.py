"""Routing to the adapter of another pattern: the control of what an adapter knows of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import TaskSet
from sleepy.errors import ConfigError
from sleepy.routing.route import Route, Routing


@dataclass(frozen=True, kw_only=True)
class Other(Routing):
    """Chooses the adapter that follows the one of the koan's pattern by name (after the last, the first), or the base
    model if the pattern has none. So every adapter answers as often as with `oracle`, and never for its own pattern."""

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open. Raises ConfigError for a single adapter."""
        ordered = sorted(names)
        if len(ordered) < 2:
            raise ConfigError("routing=other needs at least two adapters: with one there is no other")
        following = dict(zip(ordered, ordered[1:] + ordered[:1], strict=True))
        return lambda task, broken: following.get(task.pattern, "")

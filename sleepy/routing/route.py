"""What a routing is, how it refuses what it cannot use, and how often its routes are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

from sleepy.artifacts import Check, Task, TaskSet
from sleepy.errors import ConfigError

Route = Callable[[Task, Check], str]
"""A task and what rustc says of its broken program -> the name of the adapter that answers, "" for the base model."""


class Routing(Protocol):
    """Base of the options of the group `routing`, which are frozen dataclasses.

    routes: whether it chooses among adapters; if not, several are merged into one.
    """

    routes: ClassVar[bool] = True

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """The route over adapters of these names, each the pattern that its adapter was trained on. What can be learned
        is learned from all training pairs. Raises ConfigError when no adapter can ever be chosen."""
        ...

    @property
    def name(self) -> str:
        """The word that a user writes after `routing=`."""
        return type(self).__module__.rpartition(".")[2]

    def identity(self) -> dict[str, object]:
        """Everything besides pairs and adapters that may change a route: with the digests of those, part of the key of
        a cached evaluation."""
        option: Any = self
        return {"routing": self.name, **asdict(option)}

    def check(self, engine: str) -> None:
        """Raises ConfigError when the engine of this name cannot serve the route."""
        if self.routes and engine == "ollama":
            raise ConfigError(
                f"routing={self.name} needs an engine that puts adapters on a model, which Ollama no longer does: use "
                "engine=llama_cpp, or routing=none"
            )


def require_pairs(pairs: TaskSet, names: Sequence[str], routing: str) -> None:
    """Raises ConfigError when no adapter is named after a pattern of the pairs: none could ever be chosen."""
    known = sorted({t.pattern for t in pairs})
    if not set(names) & set(known):
        raise ConfigError(
            f"routing={routing}: none of the adapters ({', '.join(names) or 'there are none'}) is named after a "
            f"pattern of the training pairs ({', '.join(known)}): train them with stream=each, or name their folders "
            "after their patterns"
        )


def accuracy(route: Route, tasks: Sequence[Task], broken: Sequence[Check], names: Sequence[str]) -> dict[str, float]:
    """How a route compares with each koan's own pattern, as counts and as shares of all koans (0 to 1).

    right: to the adapter of the koan's pattern, or to the base model if there is none. wrong: to another adapter.
    missed: to the base model although there is an adapter. mixed: to all adapters at once, which is none of these.
    """
    counts = {"right": 0, "wrong": 0, "missed": 0, "mixed": 0}
    for task, check in zip(tasks, broken, strict=True):
        chosen, own = route(task, check), task.pattern if task.pattern in names else ""
        if chosen == own:
            counts["right"] += 1
        elif not chosen:
            counts["missed"] += 1
        else:
            counts["wrong" if chosen in names else "mixed"] += 1
    total = sum(counts.values())
    shares = {f"{key}_share": n / total for key, n in counts.items() if total}
    return {"koans": float(total), **{key: float(n) for key, n in counts.items()}, **shares}

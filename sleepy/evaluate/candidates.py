"""What can be measured, compared, promoted, repaired with and delivered: a candidate, one value with one digest.

Whoever passes a candidate on passes on what was measured. There is no second way to name a result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sleepy.artifacts import Adapter, BaseModel, Check, GgufFile, Task, TaskSet, digest_of
from sleepy.results import Scores
from sleepy.routing.route import Route, Routing


class Candidate(ABC):
    """A model as it may answer: a base model, and perhaps adapters on it."""

    model: BaseModel

    @property
    @abstractmethod
    def digest(self) -> str:
        """Identifies everything that may answer."""

    @property
    def adapters(self) -> dict[str, Adapter]:
        """Adapters that are put on the loaded model, by the name that a prompt calls them."""
        return {}

    def route(self) -> Route:
        """Which of the adapters answers a task."""
        return unrouted


def unrouted(task: Task, broken: Check) -> str:
    """The model as it is answers."""
    return ""


@dataclass(frozen=True)
class Base(Candidate):
    """The untouched model."""

    model: BaseModel

    @property
    def digest(self) -> str:
        """See Candidate.digest."""
        return self.model.digest


@dataclass(frozen=True)
class Adapted(Candidate):
    """The model with one adapter on it, hot: not merged, as training left it."""

    model: BaseModel
    adapter: Adapter

    @property
    def digest(self) -> str:
        """See Candidate.digest."""
        return digest_of([self.model.digest, self.adapter.digest])

    @property
    def adapters(self) -> dict[str, Adapter]:
        """See Candidate.adapters."""
        return {self.adapter.digest[:16]: self.adapter}

    def route(self) -> Route:
        """See Candidate.route."""
        (name,) = self.adapters
        return lambda task, broken: name


@dataclass(frozen=True)
class Routed(Candidate):
    """The model with several adapters, of which `routing` chooses one for each task. It learns from `pairs`."""

    model: BaseModel
    members: Mapping[str, Adapter]
    routing: Routing
    pairs: TaskSet

    @property
    def digest(self) -> str:
        """See Candidate.digest."""
        members = {name: adapter.digest for name, adapter in self.members.items()}
        return digest_of([self.model.digest, members, self.routing.identity(), self.pairs.digest])

    @property
    def adapters(self) -> dict[str, Adapter]:
        """See Candidate.adapters."""
        return dict(self.members)

    def route(self) -> Route:
        """See Candidate.route."""
        return self.routing.open(self.pairs, list(self.members))


@dataclass(frozen=True)
class Exported(Candidate):
    """A file made of another candidate: what a user takes away. Adapters are in its weights."""

    model: BaseModel
    file: GgufFile
    of: Base | Adapted

    @property
    def digest(self) -> str:
        """See Candidate.digest."""
        return self.file.digest


Live = Base | Adapted | Routed
"""What answers from the loaded base model, and so can be in use, combined and delivered."""

C = TypeVar("C", bound=Candidate)
C_co = TypeVar("C_co", bound=Candidate, covariant=True)


@dataclass(frozen=True)
class Measured(Generic[C_co]):
    """A candidate with its scores. `cached` says that an earlier run measured it."""

    candidate: C_co
    scores: Scores
    cached: bool = False

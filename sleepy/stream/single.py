"""One mix, learned once."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.algo._trainer import Past
from sleepy.artifacts import Adapter, Course, TaskSet
from sleepy.stream._learner import Learner


@dataclass(frozen=True, kw_only=True)
class Single:
    """The whole mix in one training. What an algorithm protects is what the base model can do already: the pairs that
    it passes."""

    def exam(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> TaskSet:
        """See Stream.exam: all of it."""
        return tasks

    def run(self, learner: Learner) -> tuple[Adapter, Course | None]:
        """See Stream.run."""
        mix, passed = learner.mix(learner.pairs, learner.root.seed)
        past = Past((tuple(learner.examples(passed)),)) if passed else Past()
        return learner.learn(mix, past), None

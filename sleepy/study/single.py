"""One mix, learned once."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.adapters.combine import Combine
from sleepy.artifacts import TaskSet
from sleepy.errors import ConfigError
from sleepy.evaluate.candidates import Adapted, Base
from sleepy.routing.route import Routing
from sleepy.study.lab import Lab
from sleepy.study.step import Step
from sleepy.study.stream import Stream
from sleepy.track.tracker import Tracker
from sleepy.train.algorithm import Algorithm


@dataclass(frozen=True, kw_only=True)
class Single(Stream):
    """The whole mix in one training. What an algorithm protects is what the base model can do already: the pairs that
    it passes. A method for several tasks (algo=share) finds them in the mix; `routing` then chooses among them."""

    def check(self, algo: Algorithm, merge: Combine, routing: Routing, tracker: Tracker, pairs: TaskSet) -> None:
        """See Stream.check."""
        if routing.routes and not algo.splits:
            raise ConfigError(
                "routing chooses among several adapters: use it with stream=each or stream=given, or with algo=share, "
                "which has a part for each task"
            )

    def run(self, lab: Lab) -> tuple[Step, ...]:
        """See Stream.run. Raises NothingToLearn when the mix is empty."""
        mix, passed = lab.mix(lab.pairs, lab.recipe.seed, Base(lab.base))
        adapter = lab.learn(mix, lab.past(passed), alone=True)
        return (Step(name="", candidate=Adapted(lab.base, adapter), mix=mix, adapter=adapter),)

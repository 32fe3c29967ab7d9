"""One mix, learned once."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.study.learned import Learned
from sleepy.study.learner import Learner
from sleepy.study.stream import Stream
from sleepy.train.trainer import Past


@dataclass(frozen=True, kw_only=True)
class Single(Stream):
    """The whole mix in one training. What an algorithm protects is what the base model can do already: the pairs that
    it passes."""

    def run(self, learner: Learner) -> Learned:
        """See Stream.run."""
        mix, passed = learner.mix(learner.pairs, learner.root.seed)
        past = Past((tuple(learner.examples(passed)),)) if passed else Past()
        return Learned(learner.learn(mix, past))

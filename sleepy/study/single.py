"""One mix, learned once."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.evaluate.candidates import Adapted, Base
from sleepy.study.lab import Lab
from sleepy.study.step import Step
from sleepy.study.stream import Stream


@dataclass(frozen=True, kw_only=True)
class Single(Stream):
    """The whole mix in one training. What an algorithm protects is what the base model can do already: the pairs that
    it passes."""

    def run(self, lab: Lab) -> tuple[Step, ...]:
        """See Stream.run. Raises NothingToLearn when the mix is empty."""
        mix, passed = lab.mix(lab.pairs, lab.recipe.seed, Base(lab.base))
        adapter = lab.learn(mix, lab.past(passed))
        return (Step(name="", candidate=Adapted(lab.base, adapter), mix=mix, adapter=adapter),)

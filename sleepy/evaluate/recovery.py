"""What an exported file says of held-out answers, beside the adapter that it was made of.

`export/kept` compares weights; this compares what they do. Nothing is generated: the reference answers of some koans
are given, and the model says how likely it finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sleepy.artifacts import Prompt
from sleepy.engines.engine import Engine
from sleepy.evaluate.candidates import Adapted, Base, Candidate, Exported
from sleepy.evaluate.examiner import Examiner
from sleepy.train.batches import Example

# Quantised weights and a file of other types round activations differently: with the same adapter the sums were 2.5 %
# apart (SmolLM2). A gain below this share of the base's sum is not told from that.
_ROUNDING = 0.05


@dataclass(frozen=True)
class Recovery:
    """Log-probabilities of the same answers, in nats, summed: under the base model, with the adapter on it, and under
    the exported file."""

    answers: int
    base: float
    hot: float
    file: float

    @property
    def share(self) -> float | None:
        """The part of the adapter's improvement that the file keeps: 1 is all. None where the adapter does not make
        these answers likelier, or by no more than rounding may."""
        gain = self.hot - self.base
        return (self.file - self.base) / gain if gain > _ROUNDING * abs(self.base) else None

    @property
    def line(self) -> str:
        """The figures in words."""
        found = f"log-probability of {self.answers} held-out answers: base {self.base:.1f}, adapter {self.hot:.1f}"
        told = f"{found}, file {self.file:.1f}"
        return told if self.share is None else f"{told}: it keeps {self.share:.0%} of what the adapter gains"


def can_recover(engine: Engine) -> bool:
    """Whether an engine can be asked: it loads both files and tells probabilities."""
    return engine.reads_gguf and engine.hot and engine.tells_chances


def recovery(
    examiner: Examiner, file: Exported, adapted: Adapted, examples: Sequence[Example], answers: int
) -> Recovery:
    """Ask how likely the answers of so many examples are, evenly spaced. An engine that cannot be asked raises
    EngineError."""
    chosen = examples[:: max(1, len(examples) // answers)][:answers]
    prompts = [_given(e) for e in chosen]

    def total(candidate: Candidate) -> float:
        return sum(c.chance or 0.0 for c in examiner.ask(candidate, prompts, "recovery"))

    return Recovery(len(chosen), total(Base(adapted.model)), total(adapted), total(file))


def _given(example: Example) -> Prompt:
    """The question, with the answer as what the model has written so far. One token more is made."""
    prompt = example.prompt
    text = example.answer.removesuffix(prompt.stop[0]) if prompt.stop else example.answer
    return replace(prompt, begun=text, scored=True, departures=0, least=None, max_tokens=1)

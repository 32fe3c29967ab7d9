"""Self-synthesized rehearsal (Huang et al., ACL 2024 long 77): the models write what is rehearsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from sleepy.artifacts import Task
from sleepy.errors import TrainingError
from sleepy.files import read_jsonl, write_jsonl
from sleepy.options import ranged
from sleepy.progress import say
from sleepy.train import _ssr
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Example
from sleepy.train.trainer import Trainer
from sleepy.train.training import Past, Tools, Training

_RECORD, _MEMORY = "asked.jsonl", "rehearsal.jsonl"
_ID = "ssr/"  # begins the id of every pair that was made here; the number of its step follows


@dataclass(frozen=True, kw_only=True)
class Ssr(Algorithm):
    """For each earlier step the base model sees two of its pairs and writes new broken programs, and the latest model
    repairs them. k-means chooses among the pairs that hold, and these are trained on beside the new ones. A pair holds
    when rustc rejects the broken program and accepts the repair, and no frozen koan resembles it. The pairs of a step
    are made once, at the beginning of the next step, and rehearsed in every later one. The authors let the base model
    write repairs too, and replace them by the latest model's; here it stops before them.

    asked: how many programs the base model is asked for, per earlier step (at least 1).
    kept: how many pairs are rehearsed, at most, per earlier step. It may not exceed `asked` (at least 1).
    """

    needs_past: ClassVar[bool] = True
    asks: ClassVar[bool] = True
    needs_programs: ClassVar[bool] = True

    asked: int = ranged(64, at_least=1)
    kept: int = ranged(8, at_least=1)

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        wrong = f"kept must be at most algo.asked={self.asked}, not {self.kept}"
        return [wrong] if self.kept > self.asked else []

    def material(self, training: Training) -> Sequence[Example]:
        """See Algorithm.material. Raises TrainingError when there is a past and no `tools` to ask."""
        past, tools = training.past, training.tools
        if not any(past.examples):
            say("ssr: no earlier pairs to rehearse, using plain fine-tuning")
            return training.examples
        if tools is None:
            raise TrainingError("ssr: there is a past, but neither a model nor a compiler to ask: use the pipeline")
        made = _remembered(past)
        for step in range(len(made), len(past.examples)):
            made.append(self._made(step, training, tools))
        pairs = [pair for step in made for pair in step]
        if not pairs:
            say("ssr: no usable pair was written, using plain fine-tuning")
        return [*training.examples, *tools.examples(pairs)]

    def _made(self, step: int, training: Training, tools: Tools) -> list[Task]:
        """The pairs rehearsed of one step of the past."""
        shown = [e.task for e in training.past.examples[step] if e.task]
        record = training.checkpoint / _RECORD
        requests = _ssr.requests(shown, self.asked, training.seed)
        texts = _ssr.asked(tools, [prompt for _, prompt in requests], False, record)
        drafts = [
            _ssr.written(text, like, f"{_ID}{step}/{i}")
            for i, (text, (like, _)) in enumerate(zip(texts, requests, strict=True))
        ]
        broken = _ssr.rejected(drafts, tools)
        fresh = _ssr.new(broken, shown)
        answers = _ssr.asked(tools, [e.prompt for e in tools.examples(fresh)], True, record)
        repaired = _ssr.repaired(fresh, answers, tools)
        kept = _ssr.diverse(_ssr.new(repaired, shown), self.kept)
        say(
            f"ssr: of {len(requests)} programs asked for rustc rejects {len(broken)}, of which {len(fresh)} are new; "
            f"{len(repaired)} are repaired, {len(kept)} kept"
        )
        return kept

    def end(self, trainer: Trainer) -> None:
        """Remember what was rehearsed, a line for each step that is past."""
        training = trainer.training
        made: list[list[Task]] = [[] for _ in training.past.examples]
        for example in training.examples:
            if example.task and example.task.id.startswith(_ID):
                made[int(example.task.id.split("/")[1])].append(example.task)
        write_jsonl(training.memory / _MEMORY, [{"pairs": [asdict(pair) for pair in step]} for step in made])


def _remembered(past: Past) -> list[list[Task]]:
    """The pairs made in earlier steps, by the step they stand for."""
    path = past.memory and past.memory / _MEMORY
    rows = read_jsonl(path) if path and path.is_file() else []
    return [[Task(**{**pair, "tests": tuple(pair["tests"])}) for pair in row["pairs"]] for _, row in rows]

"""What goes into a training: its inputs, what came before, and what an algorithm may ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import BaseModel, Check, CheckJob, Completion, Prompt, Task, digest_of, digest_of_file
from sleepy.train.batches import Example
from sleepy.train.lora import Lora
from sleepy.train.settings import Train

MEMORY, REWARDS = "memory", "rewards.jsonl"  # what may lie beside an adapter


@dataclass(frozen=True)
class Past:
    """What came before: the examples of each earlier step, and the folder of the adapter as it is now (None: a fresh
    one). What an algorithm remembers besides lies in that folder's `memory`. In a run without a stream the past is
    one step: the pairs that the baseline passes."""

    examples: tuple[tuple[Example, ...], ...] = ()
    adapter: Path | None = None

    @property
    def memory(self) -> Path | None:
        """The folder that the algorithm's `end` wrote in the last step, if any."""
        folder = self.adapter and self.adapter / MEMORY
        return folder if folder and folder.is_dir() else None

    def identity(self) -> dict[str, object]:
        """All of it that may change what comes next; part of the key of a checkpoint."""
        files = sorted(p for p in self.adapter.rglob("*") if p.is_file()) if self.adapter else []
        known = {"adapter_model.safetensors", "adapter_config.json"}
        return {
            "examples": [digest_of([(e.prompt.messages, e.answer) for e in step]) for step in self.examples],
            "files": [digest_of_file(p) for p in files if p.name in known or p.parent.name == MEMORY],
        }


NOTHING = Past()


@dataclass(frozen=True)
class Tools:
    """What an algorithm may ask beyond its examples.

    check: the sandbox's verdicts on programs, in order.
    ask: greedy answers to prompts by the base model, or (`latest` true) by it with the past's adapter on.
    program: the program in an answer.
    examples: tasks as the model sees them in training.
    """

    check: Callable[[Sequence[CheckJob]], list[Check]]
    ask: Callable[[Sequence[Prompt], bool], list[Completion]]
    program: Callable[[str], str]
    examples: Callable[[Sequence[Task]], list[Example]]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training: everything that `Algorithm.fit` needs.

    settings: with `epochs` already turned into steps.
    device: "auto", "cpu", "cuda" or "mps".
    folder: where the adapter is written, as PEFT does.
    checkpoint: folder of the checkpoint; one that is there is resumed.
    record: everything that determines the result; written beside the adapter.
    tools: None where nothing can be asked of compiler and model.
    alone: the examples are all that is ever learned, and no step of a stream.
    on_step: called with the number of each step, from 0, and its loss; also for the steps that a checkpoint brought.
        The step's learning rate follows where it is not that of `settings`.
    """

    base: BaseModel
    examples: Sequence[Example]
    lora: Lora
    settings: Train
    device: str
    seed: int
    folder: Path
    checkpoint: Path
    record: Mapping[str, object]
    past: Past = NOTHING
    tools: Tools | None = None
    alone: bool = False
    on_step: Callable[..., object] = lambda *_: None

    @property
    def memory(self) -> Path:
        """The folder for what the next step of a stream should remember."""
        return self.folder / MEMORY

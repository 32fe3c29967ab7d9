"""What an algorithm's methods work with: the past, and the model in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sleepy.artifacts import Check, CheckJob, Completion, Prompt, Task, digest_of, digest_of_file
from sleepy.train.batches import Batch, Encoded, Example, collate, encode
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


@dataclass
class Trainer:
    """What an algorithm's methods see. `model` is PEFT's; `parameters` are those that train, by name. `kept` holds
    tensors that a checkpoint must bring back besides them; `old` is for whatever `begin` prepares."""

    model: Any
    optimizer: Any
    parameters: dict[str, Any]
    train: Train
    device: str
    seed: int
    tokenizer: Any
    step: int = 0
    kept: dict[str, Any] = field(default_factory=dict)
    old: Any = None

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """Examples as tokens, without those that are too long."""
        return encode(examples, self.tokenizer, self.train.max_length)[0]

    def batch(self, rows: Sequence[Encoded]) -> Batch:
        """Encoded examples as one batch on the device."""
        pad = self.tokenizer.pad_token_id
        return collate(rows, self.tokenizer.eos_token_id if pad is None else pad, self.device)

    def nll(self, batch: Batch) -> Any:
        """Negative log-likelihood of each answer token, shape (tokens,), in float32. The head sees the positions that
        are learned and no others: it is a quarter of a small model's work."""
        from torch.nn.functional import cross_entropy

        inner = self.model.get_base_model()
        hidden = inner.get_decoder()(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
        logits = inner.get_output_embeddings()(hidden[batch.learn])
        return cross_entropy(logits.float(), batch.targets, reduction="none")

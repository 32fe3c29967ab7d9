"""Rehearsal of what surprises most, learned fast and kept slowly (Hazard et al. 2025, arXiv 2511.22367)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sleepy.files import write_tensors, write_text
from sleepy.options import ranged
from sleepy.progress import say
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Batch, Encoded, Example, encode, schedule
from sleepy.train.trainer import Trainer

_BUFFER, _FAST = "buffer.jsonl", "fast.safetensors"


@dataclass
class Rehearsal:
    """The buffer by task, the rows of it that each forward pass rehearses, and at the end the fast adapter."""

    tasks: list[list[Encoded]]
    passes: list[list[Encoded]]
    fast: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sure(Algorithm):
    """Surprise of an answer z of T tokens: s = -1/T sum_t log p(z_t | z_<t). The most surprising pairs of each task
    are kept and rehearsed with the new ones: L = (L_new + L_buffer) / 2. After each step the slow adapter moves towards
    the one that trains, slow = ema slow + (1 - ema) fast, and is the result; the fast one continues in the next task.

    buffer: how many pairs are kept, split equally over the tasks seen (at least 1).
    ema: the share of itself that the slow adapter keeps per step. At 0 it is the fast one (0 to below 1).
    """

    needs_past: ClassVar[bool] = True

    buffer: int = ranged(64, at_least=1)
    ema: float = ranged(0.99, at_least=0, below=1)

    def begin(self, trainer: Trainer) -> Rehearsal:
        """The buffer and the fast adapter of the last task; without one, the past's pairs are ranked now."""
        import torch
        from safetensors.torch import load_file

        past = trainer.training.past
        trainer.kept = {name: p.detach().clone() for name, p in trainer.parameters.items()}
        if past.memory and (past.memory / _BUFFER).is_file():
            lines = (past.memory / _BUFFER).read_text(encoding="utf-8").splitlines()
            tasks = [[Encoded(tuple(ids), start) for start, ids in json.loads(line)] for line in lines]
            with torch.no_grad():
                for name, fast in load_file(past.memory / _FAST).items():
                    trainer.parameters[name].copy_(fast)
        else:
            tasks = [ranked(trainer, examples) for examples in past.examples]
        tasks = split(tasks, self.buffer)
        rows, train = [row for task in tasks for row in task], trainer.settings
        plan = schedule(rows, train.batch_size, train.steps * train.grad_accum, trainer.training.seed) if rows else []
        if not rows:
            say("sure: no earlier pairs to rehearse, using plain fine-tuning and the slow average")
        if (taken := 1 - self.ema**train.steps) < 0.5:
            say(
                f"sure: in {train.steps} steps of algo.ema={self.ema} the slow adapter takes {taken:.0%} of what is "
                "learned; more train.steps or a lower algo.ema give it more"
            )
        return Rehearsal(tasks, [[rows[i] for i in indices] for indices in plan])

    def gradient(self, trainer: Trainer[Rehearsal], batches: Sequence[Batch]) -> float:
        """Gradient and loss of (L_new + L_buffer) / 2, each a mean over its own tokens."""
        at = trainer.step * len(batches)
        rehearsed = [trainer.batch(rows) for rows in trainer.state.passes[at : at + len(batches)]]
        if not rehearsed:
            return super().gradient(trainer, batches)
        loss = (super().gradient(trainer, batches) + super().gradient(trainer, rehearsed)) / 2
        for p in trainer.parameters.values():
            if p.grad is not None:
                p.grad /= 2
        return loss

    def after_step(self, trainer: Trainer) -> None:
        """slow = ema slow + (1 - ema) fast."""
        for name, p in trainer.parameters.items():  # a checkpoint brings them back on the CPU
            trainer.kept[name] = trainer.kept[name].to(p.device).lerp(p.detach(), 1 - self.ema)

    def write(self, trainer: Trainer[Rehearsal]) -> None:
        """The slow adapter, which takes the place of the fast one in the model."""
        import torch

        with torch.no_grad():
            for name, p in trainer.parameters.items():
                trainer.state.fast[name] = p.detach().clone()
                p.copy_(trainer.kept[name])
        super().write(trainer)

    def end(self, trainer: Trainer[Rehearsal]) -> None:
        """The buffer, with the pairs of this task that still surprise the slow adapter most, and the fast adapter."""
        memory = trainer.training.memory
        tasks = split([*trainer.state.tasks, ranked(trainer, trainer.training.examples)], self.buffer)
        lines = [json.dumps([(row.start, row.ids) for row in task]) + "\n" for task in tasks]
        write_text(memory / _BUFFER, "".join(lines))
        write_tensors(memory / _FAST, trainer.state.fast)


def split(tasks: Sequence[list[Encoded]], size: int) -> list[list[Encoded]]:
    """The first of each task, so that together they are at most `size`; shares differ by one, the earlier's larger."""
    share, rest = divmod(size, max(1, len(tasks)))
    return [task[: share + (i < rest)] for i, task in enumerate(tasks)]


def ranked(trainer: Trainer, examples: Sequence[Example]) -> list[Encoded]:
    """Examples by their surprise under the model as it is, the most surprising first, without those too long."""
    import torch

    everything = encode(examples, trainer.tokenizer, sys.maxsize)[0] if examples else []
    rows = sorted((r for r in everything if len(r.ids) <= trainer.settings.max_length), key=lambda r: len(r.ids))
    surprise: list[float] = []
    with trainer.evaluating(), torch.no_grad():
        size = trainer.settings.batch_size
        for start in range(0, len(rows), size):
            batch = trainer.batch(rows[start : start + size])
            parts = trainer.nll(batch).split(batch.learn.sum(1).tolist())
            surprise += [float(part.mean()) for part in parts]
    order = sorted(range(len(rows)), key=lambda i: -surprise[i])
    return [rows[i] for i in order]

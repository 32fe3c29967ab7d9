"""Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796), on the parameters of the LoRA."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepy.algo._batches import Batch, Example
from sleepy.algo._loop import Algorithm
from sleepy.algo._trainer import Past, Trainer
from sleepy.progress import say
from sleepy.schema import ranged

FISHER = "fisher.safetensors"


@dataclass(frozen=True, kw_only=True)
class Ewc(Algorithm):
    """L + (strength / 2) sum_i F_i (theta_i - theta*_i)^2: parameters that the past's answers depend on stay near
    theta*, their values at the start of this step. The Fishers F of the steps that are past add up (online EWC,
    Schwarz et al. 2018, arXiv 1805.06370, with gamma = 1).

    strength: lambda. L is a mean per token; half the weighted sum estimates by how many nats the log-likelihood of a
        whole past answer moves (at least 0).
    fisher_samples: at most so many past examples are drawn for a step's Fisher; each costs what training on one
        or two examples does (at least 1).
    """

    strength: float = ranged(100.0, at_least=0)
    fisher_samples: int = ranged(8, at_least=1)

    def begin(self, trainer: Trainer, past: Past) -> None:
        """Anchor the parameters. Those of now are those of the last step's end, so its Fisher is made here, only when
        it is needed; the sum of the earlier ones comes from the memory."""
        from safetensors.torch import load_file

        memory = past.memory
        known = memory is not None and (memory / FISHER).is_file()
        steps = [step for step in (past.examples[-1:] if known else past.examples) if step]
        fishers = [load_file(memory / FISHER, device=trainer.device)] if memory and known else []
        fishers += [self.fisher(trainer, step) for step in steps]
        if not fishers:
            say("ewc: nothing is past that could be forgotten: plain fine-tuning")
            return
        fisher = {name: sum(f[name] for f in fishers) for name in trainer.parameters}
        trainer.old = (fisher, {name: p.detach().clone() for name, p in trainer.parameters.items()})

    def fisher(self, trainer: Trainer, examples: Sequence[Example]) -> dict[str, Any]:
        """The empirical Fisher's diagonal by parameter: the mean over examples of (d log p(answer) / d theta_i)^2,
        where log p is the sum over the answer's tokens, without dropout."""
        import torch

        rows = trainer.encode(examples)
        rows = random.Random(f"{trainer.seed} fisher").sample(rows, min(self.fisher_samples, len(rows)))
        total = {name: torch.zeros_like(p) for name, p in trainer.parameters.items()}
        trainer.model.eval()
        for row in rows:
            nll = trainer.nll(trainer.batch([row])).sum()
            gradients = torch.autograd.grad(nll, list(trainer.parameters.values()))
            for square, gradient in zip(total.values(), gradients, strict=True):
                square.addcmul_(gradient, gradient, value=1 / len(rows))
        trainer.model.train()
        return total

    def penalty(self, trainer: Trainer) -> Any:
        """(strength / 2) sum_i F_i (theta_i - theta*_i)^2."""
        fisher, anchor = trainer.old
        terms = [(fisher[name] * (p - anchor[name]) ** 2).sum() for name, p in trainer.parameters.items()]
        return self.strength / 2 * sum(terms)

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        """That of the examples, and once a step that of the penalty."""
        loss = super().gradient(trainer, batches)
        if trainer.old is None:
            return loss
        penalty = self.penalty(trainer)
        penalty.backward()
        return loss + float(penalty.detach())

    def end(self, trainer: Trainer, past: Past, examples: Sequence[Example], memory: Path) -> None:
        """Remember the sum of the Fishers so far; the next step adds that of `examples`."""
        from safetensors.torch import save_file

        if trainer.old is not None:
            memory.mkdir(parents=True, exist_ok=True)
            save_file(trainer.old[0], memory / FISHER)

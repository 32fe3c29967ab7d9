"""Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796), on the parameters of the LoRA."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from sleepy.files import write_tensors
from sleepy.options import ranged
from sleepy.progress import say
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Batch, Example
from sleepy.train.trainer import Trainer

FISHER = "fisher.safetensors"


@dataclass(frozen=True)
class Anchor:
    """The Fisher's diagonal, and the values theta* that the parameters are held at, by parameter."""

    fisher: dict[str, Any]
    values: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ewc(Algorithm):
    """L + (strength / 2) sum_i F_i (theta_i - theta*_i)^2: parameters that the past's answers depend on stay near
    theta*, their values at the start of this step. The Fishers F of the earlier steps add up (online EWC,
    Schwarz et al. 2018, arXiv 1805.06370, with gamma = 1).

    strength: lambda, the weight of the penalty. L is a mean per token; half the weighted sum estimates by how many nats
        the log-likelihood of a whole past answer moves (at least 0).
    fisher_samples: how many past examples, at most, are drawn for the Fisher of a step. Each costs as much as training
        on one (at least 1).
    """

    needs_past: ClassVar[bool] = True

    strength: float = ranged(100.0, at_least=0)
    fisher_samples: int = ranged(8, at_least=1)

    def begin(self, trainer: Trainer) -> Anchor | None:
        """Anchor the parameters. Those of now are those of the last step's end, so its Fisher is made here, only when
        it is needed; the sum of the earlier ones comes from the memory."""
        from safetensors.torch import load_file

        past = trainer.training.past
        memory = past.memory
        known = memory is not None and (memory / FISHER).is_file()
        steps = [step for step in (past.examples[-1:] if known else past.examples) if step]
        fishers = [load_file(memory / FISHER, device=trainer.device)] if memory and known else []
        fishers += [self.fisher(trainer, step) for step in steps]
        if not fishers:
            say("ewc: no earlier task to protect, using plain fine-tuning")
            return None
        fisher = {name: sum(f[name] for f in fishers) for name in trainer.parameters}
        return Anchor(fisher, {name: p.detach().clone() for name, p in trainer.parameters.items()})

    def fisher(self, trainer: Trainer, examples: Sequence[Example]) -> dict[str, Any]:
        """The empirical Fisher's diagonal by parameter: the mean over examples of (d log p(answer) / d theta_i)^2,
        where log p is the sum over the answer's tokens, without dropout."""
        import torch

        rows = trainer.encode(examples)
        rows = random.Random(f"{trainer.training.seed} fisher").sample(rows, min(self.fisher_samples, len(rows)))
        rows.sort(key=lambda row: len(row.ids))
        linear = {name: m for name in trainer.parameters if (m := _linear(trainer.model, name)) is not None}
        size = trainer.settings.batch_size if len(linear) == len(trainer.parameters) else 1
        total = {name: torch.zeros_like(p) for name, p in trainer.parameters.items()}
        for start in range(0, len(rows), size):
            batch = trainer.batch(rows[start : start + size])
            with trainer.evaluating(), _squared_gradients(linear) as squares:
                gradients = torch.autograd.grad(trainer.nll(batch).sum(), list(trainer.parameters.values()))
            for (name, square), gradient in zip(total.items(), gradients, strict=True):
                square.add_(squares[name] if name in squares else gradient**2, alpha=1 / len(rows))
        return total

    def penalty(self, trainer: Trainer[Anchor]) -> Any:
        """(strength / 2) sum_i F_i (theta_i - theta*_i)^2."""
        anchor = trainer.state
        terms = [(anchor.fisher[name] * (p - anchor.values[name]) ** 2).sum() for name, p in trainer.parameters.items()]
        return self.strength / 2 * sum(terms)

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        """That of the examples, and once a step that of the penalty."""
        loss = super().gradient(trainer, batches)
        if trainer.state is None:
            return loss
        penalty = self.penalty(trainer)
        penalty.backward()
        return loss + float(penalty.detach())

    def end(self, trainer: Trainer[Anchor | None]) -> None:
        """Remember the sum of the Fishers so far; the next step adds that of this one's examples."""
        if trainer.state is not None:
            write_tensors(trainer.training.memory / FISHER, trainer.state.fisher)


def _linear(model: Any, parameter: str) -> Any:
    """The linear layer of which `parameter` is the weight, or None."""
    import torch

    place, _, kind = parameter.rpartition(".")
    module = model.get_submodule(place) if kind == "weight" else None
    return module if isinstance(module, torch.nn.Linear) else None


@contextmanager
def _squared_gradients(linear: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """While this is entered a backward pass leaves here, for the weight of each linear layer, the sum over the batch's
    examples of the squared gradient of each alone: one example's gradient is g^T x, with x (tokens, in) what goes into
    the layer and g (tokens, out) what comes back (Goodfellow 2015, arXiv 1510.01799)."""
    squares: dict[str, Any] = {}

    def watch(name: str, module: Any, inputs: Any, output: Any) -> None:
        def back(gradient: Any) -> None:
            squares[name] = (gradient.mT @ inputs[0].detach()).square_().sum(0)

        output.register_hook(back)

    hooks = [module.register_forward_hook(partial(watch, name)) for name, module in linear.items()]
    try:
        yield squares
    finally:
        for hook in hooks:
            hook.remove()

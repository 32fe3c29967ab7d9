"""Fine-tuning towards flat minima, which forget less (Li et al., EMNLP 2024 findings 249)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sleepy.options import ranged
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Batch
from sleepy.train.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Sam(Algorithm):
    """Sharpness-aware minimisation over the adapter's weights w: min over w of max over |e| <= rho of L(w + e), with
    e = rho g / |g| (Foret et al. 2021, arXiv 2010.01412, equation 2). A step takes two gradients instead of one.

    rho: length of the step to the worst point nearby, in the units of w. 0 is plain fine-tuning (at least 0).
    """

    mixed_precision: ClassVar[bool] = False  # the way to w + e is shorter than a step of bf16

    rho: float = ranged(0.05, at_least=0)

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        """The gradient at w + rho g / |g|, for a step from w; returns the loss at w."""
        import torch

        with torch.random.fork_rng():  # both passes draw the same dropout
            loss = super().gradient(trainer, batches)
        parameters = [p for p in trainer.parameters.values() if p.grad is not None]
        before = [p.detach().clone() for p in parameters]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        with torch.no_grad():
            for p in parameters:
                p += p.grad * (self.rho / (norm + 1e-12))
                p.grad = None
        super().gradient(trainer, batches)
        with torch.no_grad():
            for p, w in zip(parameters, before, strict=True):
                p.copy_(w)
        return loss

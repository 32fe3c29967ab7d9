"""O-LoRA (Wang et al. 2023, arXiv 2310.14152): every step learns in directions orthogonal to those of the earlier
ones. PEFT's `init_lora_weights="olora"` is another method of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sleepy.errors import TrainingError
from sleepy.options import ranged
from sleepy.progress import say
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Batch
from sleepy.train.trainer import Trainer
from sleepy.train.training import Training

Pairs = list[tuple[Any, Any]]
"""Each adapted layer's new A, which trains, and its old one."""


@dataclass(frozen=True, kw_only=True)
class OLora(Algorithm):
    """L + lambda1 sum |A_new A_old^T| + lambda2 sum norm(new). The old A and B are frozen and active, and a new A and
    B of rank `lora.r` train beside them. The result is one LoRA of both, whose rank grows by `lora.r` with each step.

    lambda1: weight of the overlap between new and old directions, summed over ranks and layers (at least 0).
    lambda2: weight of the 2-norms of the new matrices (at least 0).
    """

    lambda1: float = ranged(0.5, at_least=0)
    lambda2: float = ranged(0.0, at_least=0)

    def adapt(self, model: Any, training: Training) -> tuple[Any, Pairs]:
        """One LoRA of the old ranks and the new, with the same alpha / r; only the new ones are parameters."""
        lora, past = training.lora, training.past
        if past.adapter is None:
            say("olora: no earlier adapter to protect, using plain fine-tuning")
            return lora.wrap(model), []
        from peft import PeftConfig, load_peft_weights
        from torch.nn.utils.parametrize import register_parametrization

        old = PeftConfig.from_pretrained(str(past.adapter))
        weights = load_peft_weights(str(past.adapter), device="cpu")
        scale = lora.alpha / lora.r
        wide = replace(lora, r=old.r + lora.r, alpha=scale * (old.r + lora.r)).wrap(model)
        linears = {name: m for name, m in wide.named_modules() if name.endswith((".lora_A.default", ".lora_B.default"))}
        if {name.removesuffix("default") + "weight" for name in linears} != set(weights):
            raise TrainingError(
                f"{past.adapter}: its layers are not those of lora.target_modules. algo=olora needs the same layers in "
                "every step: keep lora.target_modules as it was"
            )
        pairs = []
        for name, linear in linears.items():
            frozen = weights[name.removesuffix("default") + "weight"].to(linear.weight)
            if ".lora_B." in name:
                frozen = frozen * (old.lora_alpha / old.r / scale)  # 1 unless lora.alpha / lora.r has changed
            register_parametrization(linear, "weight", _beside(frozen, dim=1 if ".lora_B." in name else 0))
            if ".lora_A." in name:
                pairs.append((linear.parametrizations.weight.original, frozen))
        return wide, pairs

    def penalty(self, trainer: Trainer[Pairs]) -> Any:
        """lambda1 sum |A_new A_old^T| + lambda2 sum norm(new), as in the authors' code."""
        overlap = sum((new @ old.T).abs().sum() for new, old in trainer.state)
        return self.lambda1 * overlap + self.lambda2 * sum(p.norm() for p in trainer.parameters.values())

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        """That of the examples, and once a step that of the penalty."""
        loss = super().gradient(trainer, batches)
        if not trainer.state:
            return loss
        penalty = self.penalty(trainer)
        penalty.backward()
        return loss + float(penalty.detach())

    def write(self, trainer: Trainer) -> None:
        """An ordinary LoRA, the old ranks first."""
        from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

        for linear in [m for m in trainer.model.modules() if is_parametrized(m, "weight")]:
            remove_parametrizations(linear, "weight")
        super().write(trainer)


def _beside(frozen: Any, dim: int) -> Any:
    """A parametrization for torch: a weight is the `frozen` ranks followed, along `dim`, by those that train."""
    import torch

    class Beside(torch.nn.Module):
        old: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("old", frozen)

        def forward(self, new: torch.Tensor) -> torch.Tensor:
            return torch.cat((self.old, new), dim)

        def right_inverse(self, whole: torch.Tensor) -> torch.Tensor:
            first = self.old.shape[dim]
            return whole.narrow(dim, first, whole.shape[dim] - first).clone()

    return Beside()

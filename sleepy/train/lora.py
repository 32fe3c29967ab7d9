"""LoRA on the linear layers (Hu et al. 2021, arXiv 2106.09685): W + (alpha / r) B A."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sleepy.options import ranged


@dataclass(frozen=True, kw_only=True)
class Lora:
    """The adapter's shape.

    r: the rank. A higher one can learn more, and forget more (1 to 1024).
    alpha: the scale. The update is multiplied by alpha / r (above 0).
    dropout: share of the inputs dropped in training (0 to below 1).
    target_modules: names of the layers to adapt, or "all-linear" (every linear layer except the head).
    """

    r: int = ranged(8, at_least=1, at_most=1024)
    alpha: float = ranged(16.0, above=0)
    dropout: float = ranged(0.0, at_least=0, below=1)
    target_modules: list[str] = field(default_factory=lambda: ["all-linear"])

    def problems(self) -> list[str]:
        """What the field's own bounds cannot say."""
        return (
            [] if self.target_modules else ["target_modules: found an empty list, expected layer names or all-linear"]
        )

    def wrap(self, model: Any) -> Any:
        """`model` with a fresh adapter, through PEFT; its weights are frozen. Raises ValueError for unknown layers."""
        from peft import LoraConfig, get_peft_model

        targets: Any = "all-linear" if list(self.target_modules) == ["all-linear"] else list(self.target_modules)
        config = LoraConfig(
            r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=targets, task_type="CAUSAL_LM"
        )
        return get_peft_model(model, config)

"""LoRA on the linear layers (Hu et al. 2021, arXiv 2106.09685): W + (alpha / r) B A."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from sleepy.artifacts import BaseModel
from sleepy.errors import ConfigError
from sleepy.options import ranged
from sleepy.tensors import WEIGHTS, mapped

_ALL = "all-linear"
_EMBEDDING, _HEAD = "embed_tokens.weight", "lm_head"


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
        if not self.target_modules:
            return ["target_modules must be all-linear or layer names, not an empty list"]
        if _ALL in self.target_modules and len(self.target_modules) > 1:
            return [f"target_modules must be {_ALL} alone or layer names, not {', '.join(self.target_modules)}"]
        return []

    def check(self, base: BaseModel) -> None:
        """Raises ConfigError for target modules that are no linear layers of `base`. PEFT says nothing of them as long
        as another one is there."""
        if list(self.target_modules) == [_ALL]:
            return
        weights = mapped(base.weights / WEIGHTS).items()
        layers = [n.removesuffix(".weight") for n, w in weights if w.ndim == 2 and not n.endswith(_EMBEDDING)]
        names = sorted({layer.rpartition(".")[2] for layer in layers})
        for target in self.target_modules:
            if any(f".{layer}".endswith(f".{target}") for layer in layers):
                continue
            near = get_close_matches(target, names, 3, 0.5)
            tied = " (a head that is tied to the embedding cannot be adapted)" if target == _HEAD else ""
            raise ConfigError(
                f"lora.target_modules: {base.name} has no linear layer called {target}{tied}. "
                + (f"Did you mean {' or '.join(near)}?" if near else f"It has {', '.join(names)}")
            )

    def wrap(self, model: Any) -> Any:
        """`model` with a fresh adapter, through PEFT; its weights are frozen. Raises ValueError for unknown layers."""
        from peft import LoraConfig, get_peft_model

        targets: Any = _ALL if list(self.target_modules) == [_ALL] else list(self.target_modules)
        whole = int(self.alpha)  # Ollama reads a whole number, and not 16.0
        config = LoraConfig(
            r=self.r,
            lora_alpha=whole if whole == self.alpha else self.alpha,
            lora_dropout=self.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, config)

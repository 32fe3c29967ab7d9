"""All adapters at once through Arrow (Ostapenko et al. 2024, arXiv 2405.11157), as PEFT implements it: in every layer
each token is given to the few adapters whose update reacts most to it."""

from __future__ import annotations

import re
from typing import Any

from sleepy.errors import EngineError

_NAME = re.compile(r"arrow:(\d+):([\d.e+-]+)")
_ROUTER = "arrow_router"  # PEFT takes every adapter of another name for one to be routed to


def arrow_name(top_k: int, temperature: float) -> str:
    """What a prompt names for an adapter when Arrow is to weigh all of them: the `top_k` nearest of each token, by a
    softmax at `temperature`. Patterns have no colon in their names."""
    return f"arrow:{top_k}:{temperature}"


def arrow_settings(name: str) -> tuple[int, float] | None:
    """`top_k` and `temperature` of a name that `arrow_name` made, None for that of one adapter."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), float(match[2])) if match else None


def add_arrow(model: Any, adapters: dict[str, str], top_k: int, temperature: float) -> str:
    """Put a router over adapters that `model`, a PeftModel, has loaded (name -> PEFT's name); PEFT's name for it.

    Raises EngineError when the adapters are not of equal rank in the same layers, or a router of other settings is
    there already.
    """
    from peft import ArrowConfig, LoraConfig

    if _ROUTER in model.peft_config:
        raise EngineError("found prompts with other settings of Arrow than the ones before, expected one for all")
    settings = ArrowConfig(top_k=min(top_k, len(adapters)), router_temperature=temperature, rng_seed=0)
    settings.task_adapter_names, settings.gks_adapter_names = list(adapters.values()), []
    # r is that of A and B, which PEFT makes for every adapter and a router does not use
    model.add_adapter(_ROUTER, LoraConfig(r=1, target_modules=_layers(model, adapters), arrow_config=settings))
    return _ROUTER


def _layers(model: Any, adapters: dict[str, str]) -> list[str]:
    """The names of all layers that the adapters are in, after a look at their ranks there."""
    found = []
    for path, layer in model.named_modules():
        here = getattr(layer, "lora_A", {})
        ranks = {name: here[inner].out_features if inner in here else 0 for name, inner in adapters.items()}
        if len(set(ranks.values())) > 1:
            said = ", ".join(f"{rank} ({name})" for rank, name in {r: n for n, r in ranks.items()}.items())
            raise EngineError(
                f"Arrow needs adapters of equal rank in the same layers, found the ranks {said} in {path}: train all "
                "with one lora.r and lora.target_modules, or choose another routing"
            )
        if any(ranks.values()):
            found.append(path.removeprefix("base_model.model."))
    return found

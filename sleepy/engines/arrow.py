"""Mixing all adapters with Arrow (Ostapenko et al. 2024, arXiv 2405.11157), as PEFT implements it: in every layer, each
token goes to the few adapters whose update reacts most to it."""

from __future__ import annotations

import re
from typing import Any

from sleepy.errors import EngineError

_NAME = re.compile(r"arrow:(\d+):([\d.e+-]+)")
_ROUTER = "arrow_router"  # the name by which PEFT tells the router from the adapters


def arrow_name(top_k: int, temperature: float) -> str:
    """What a prompt names instead of one adapter when Arrow is to mix all of them: for each token the `top_k` nearest,
    weighted by a softmax at `temperature`. Names of patterns have no colon."""
    return f"arrow:{top_k}:{temperature}"


def arrow_settings(name: str) -> tuple[int, float] | None:
    """`top_k` and `temperature` of a name made by `arrow_name`, None for the name of one adapter."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), float(match[2])) if match else None


def add_arrow(model: Any, adapters: dict[str, str], top_k: int, temperature: float) -> str:
    """Add a router over the adapters that `model`, a PeftModel, has loaded (name -> PEFT's name); returns PEFT's name
    for the router.

    Raises EngineError when the adapters do not have equal rank in the same layers, or the model has a router with other
    settings already.
    """
    from peft import ArrowConfig, LoraConfig

    if _ROUTER in model.peft_config:
        raise EngineError("All prompts must have the same Arrow settings: the model has a router with others already")
    settings = ArrowConfig(top_k=min(top_k, len(adapters)), router_temperature=temperature, rng_seed=0)
    settings.task_adapter_names, settings.gks_adapter_names = list(adapters.values()), []
    # PEFT makes an A and a B of rank r for the router as well, which does not use them
    model.add_adapter(_ROUTER, LoraConfig(r=1, target_modules=_layers(model, adapters), arrow_config=settings))
    return _ROUTER


def _layers(model: Any, adapters: dict[str, str]) -> list[str]:
    """The names of the layers that the adapters are in. Raises EngineError when their ranks differ in one."""
    found = []
    for path, layer in model.named_modules():
        here = getattr(layer, "lora_A", {})
        ranks = {name: here[inner].out_features if inner in here else 0 for name, inner in adapters.items()}
        if len(set(ranks.values())) > 1:
            listed = ", ".join(f"{rank} ({name})" for rank, name in {r: n for n, r in ranks.items()}.items())
            raise EngineError(
                f"Arrow needs adapters of equal rank in the same layers, but {path} has the ranks {listed}: train all "
                "with the same lora.r and lora.target_modules, or choose another routing"
            )
        if any(ranks.values()):
            found.append(path.removeprefix("base_model.model."))
    return found

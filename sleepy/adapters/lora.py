"""LoRA adapters as B and A by layer, read from PEFT folders, written to them, and found in a PEFT model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sleepy.adapters.factors import Factors, Pair
from sleepy.errors import ModelError

_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def find_adapters(places: Sequence[str | Path]) -> dict[str, Path]:
    """PEFT folders in and below `places`, under the shortest ends of their paths that tell them apart."""
    found = sorted({c.parent.resolve() for place in places for c in Path(place).rglob("adapter_config.json")})
    length = next((n for n in range(1, 99) if len({f.parts[-n:] for f in found}) == len(found)), 99)
    return {"/".join(folder.parts[-length:]): folder for folder in found}


def read_all(folders: Mapping[str, Path]) -> dict[str, dict[str, Pair]]:
    """Adapters by name. Raises ModelError for one that is no plain LoRA, or adapts other layers than the first."""
    adapters = {name: read_lora(folder) for name, folder in folders.items()}
    first = next(iter(adapters.values()))
    shapes = {layer: (len(b), a.shape[1]) for layer, (b, a) in first.items()}
    for name, adapter in adapters.items():
        other = {layer: (len(b), a.shape[1]) for layer, (b, a) in adapter.items()}
        if differing := sorted(shapes.items() ^ other.items()):
            raise ModelError(
                f"{folders[name]}: found other layers than in {next(iter(folders.values()))} (as {differing[0][0]}), "
                "expected adapters of one base model and of the same lora.target_modules"
            )
    return adapters


def read_lora(folder: Path) -> dict[str, Pair]:
    """A PEFT folder's B and A by layer, with half of the scale in each. Raises ModelError for what is no plain LoRA."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder}: found no PEFT adapter that can be read ({error}): train it again") from error
    layers = {key.removesuffix(_A) for key in tensors if key.endswith(_A)}
    plain = config.get("peft_type") == "LORA" and not any(config.get(k) for k in ("alpha_pattern", "use_dora"))
    if not plain or not layers or tensors.keys() != {layer + end for layer in layers for end in (_A, _B)}:
        raise ModelError(f"{folder}: found more or other than plain LoRA, which alone has a basis to share")
    found = {}
    for layer in sorted(layers):
        b, a = tensors[layer + _B].float(), tensors[layer + _A].float()
        half = (config["lora_alpha"] / (math.sqrt(len(a)) if config.get("use_rslora") else len(a))) ** 0.5
        found[layer.removeprefix(_PREFIX)] = b * half, a * half
    return found


def write_lora(factors: Factors, folder: Path, base: str) -> None:
    """An adapter as a PEFT folder of scale 1; `base` is the base model's name."""
    from peft import LoraConfig
    from safetensors.torch import save_file

    rank = len(next(iter(factors.values()))[1])
    modules = sorted({name.rpartition(".")[2] for name in factors})
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=modules, task_type="CAUSAL_LM", base_model_name_or_path=base
    )
    config.inference_mode = True
    config.target_modules = modules  # PEFT made a set of it, which would be written in another order every time
    config.save_pretrained(folder)
    tensors = {f"{_PREFIX}{name}{_B}": b.contiguous() for name, (b, _) in factors.items()}
    tensors |= {f"{_PREFIX}{name}{_A}": a.contiguous() for name, (_, a) in factors.items()}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def lora_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """(name in the base model, PEFT's layer) of everything adapted."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            yield name, module

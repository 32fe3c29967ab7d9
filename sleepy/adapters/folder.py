"""A PEFT adapter folder, read and held against the base model it claims to belong to."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ModelError
from sleepy.tensors import WEIGHTS, digest_of_tensors, mapped

_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Update:
    """What an adapter adds to the weight `name` of shape (out, in): scale · b @ a (Hu et al. 2021, arXiv 2106.09685).

    `a` has shape (r, in), `b` (out, r): float32 tensors. `scale` is alpha / r, or alpha / sqrt(r) with rsLoRA.
    """

    name: str
    a: Any
    b: Any
    scale: float


def read_updates(adapter: Adapter, base: BaseModel) -> list[Update]:
    """All that `adapter` adds to the weights of `base`, by name in alphabetical order.

    Raises ModelError for an adapter that is missing, damaged, of another base model, or more than plain LoRA.
    """
    config = _config(adapter.folder, base)
    tensors = _tensors(adapter.folder)
    found = digest_of_tensors(tensors)
    if found != adapter.digest:
        raise ModelError(
            f"{adapter.folder}: found tensors of digest {found[:12]}, expected {adapter.digest[:12]}: the file was "
            f"changed since it was trained"
        )
    shapes = {name: weight.shape for name, weight in mapped(base.weights / WEIGHTS).items()}
    updates = []
    for key in sorted(tensors):
        name = key.removeprefix(_PREFIX).removesuffix(_A) + ".weight"
        if key.endswith(_B) and key.removesuffix(_B) + _A in tensors:
            continue
        if not key.endswith(_A) or key.removesuffix(_A) + _B not in tensors:
            raise ModelError(
                f"{adapter.folder}: found {key}, expected pairs of {_A[1:]} and {_B[1:]} alone: adapters "
                f"that are more than plain LoRA cannot be merged here"
            )
        a, b = tensors[key].float(), tensors[key.removesuffix(_A) + _B].float()
        if shapes.get(name) != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1]:
            shape = f"({b.shape[0]}, {b.shape[1]}) x ({a.shape[0]}, {a.shape[1]})"
            raise ModelError(
                f"{adapter.folder}: found an update of {name} of shape {shape}, but {base.name} has "
                f"{shapes.get(name, 'no such weight')} there: this adapter is of another base model, or "
                f"adapts a head that is tied to the embedding"
            )
        root = math.sqrt if config.get("use_rslora") else float
        updates.append(Update(name, a, b, config["lora_alpha"] / root(a.shape[0])))
    if not updates:
        raise ModelError(f"{adapter.folder}: found no tensors, expected a trained adapter: train again")
    return updates


def adapter_in(folder: Path, base: BaseModel) -> Adapter:
    """The adapter in a PEFT folder from elsewhere. Raises ModelError as `read_updates`."""
    _config(folder, base)
    tensors = _tensors(folder)
    size = sum(tensor.numel() for tensor in tensors.values())
    return Adapter(folder, digest_of_tensors(tensors), base.name, (), 0.0, size, 0)


def _config(folder: Path, base: BaseModel) -> dict[str, Any]:
    """adapter_config.json, when the adapter is plain LoRA and was trained on `base`."""
    missing = [name for name in ("adapter_config.json", "adapter_model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder}: found no {' and no '.join(missing)}, expected a PEFT adapter: train again")
    record = folder / "sleepy.json"
    try:
        config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        made = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    except ValueError as error:
        raise ModelError(f"{folder}: found damaged JSON ({error}): train again") from error
    if made.get("base_digest", base.digest) != base.digest:
        raise ModelError(
            f"{folder}: this adapter was trained on {made.get('base')} (SHA-256 "
            f"{made['base_digest'][:12]}), expected one of {base.name} ({base.digest[:12]}): choose its "
            f"model, or train anew"
        )
    other = [key for key in ("alpha_pattern", "fan_in_fan_out", "use_dora") if config.get(key)]
    if config.get("peft_type") != "LORA" or other:
        raise ModelError(
            f"{folder}: found {config.get('peft_type')} with {', '.join(other) or 'its settings'},"
            f" expected plain LoRA: other adapters cannot be merged here"
        )
    return config


def _tensors(folder: Path) -> dict[str, Any]:
    """The adapter's tensors, when they are whole and finite."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    try:
        tensors: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path}: found a truncated or damaged file ({error}), expected safetensors: train again; a "
            f"checkpoint is gone on with"
        ) from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} holds values that are not finite: train again with a lower train.lr")
    return tensors

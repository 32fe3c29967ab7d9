"""A PEFT adapter folder: the one reader, the one digest and the one writer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepy.adapters._plain import names_another_model, not_plain
from sleepy.adapters.factors import Factors, Pair
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ModelError
from sleepy.files import whole, write_json, write_tensors
from sleepy.tensors import WEIGHTS, digest_of_tensors, mapped

_CONFIG, _TENSORS, _RECORD = "adapter_config.json", "adapter_model.safetensors", "sleepy.json"
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
    """Everything that `adapter` adds to the weights of `base`, sorted by name.

    Raises ModelError for an adapter that is missing, damaged, changed, of another base model, or not plain LoRA.
    """
    config = _config(adapter.folder, base)
    tensors = _tensors(adapter.folder)
    updates = _updates(adapter.folder, config, tensors)
    if (found := digest_of_tensors(tensors)) != adapter.digest:
        raise ModelError(
            f"{adapter.folder}: the tensors have digest {found[:12]} instead of {adapter.digest[:12]}: the file was "
            "changed after training. Train again"
        )
    shapes = {name: weight.shape for name, weight in mapped(base.weights / WEIGHTS).items()}
    for u in updates:
        if shapes.get(u.name) != (len(u.b), u.a.shape[1]):
            raise ModelError(
                f"{adapter.folder}: the update of {u.name} has shape ({len(u.b)}, {u.a.shape[1]}), but {base.name} "
                f"has {shapes.get(u.name, 'no such weight')} there: this adapter is of another base model, or adapts "
                f"a head that is tied to the embedding"
            )
    return updates


def read_lora(folder: Path) -> dict[str, Pair]:
    """A PEFT folder's B (n x r) and A (r x d) by layer, with half of the scale in each, so that B A is dW. Raises
    ModelError for an adapter that is missing, damaged or not plain LoRA."""
    found = {}
    for update in _updates(folder, _config(folder), _tensors(folder)):
        half = update.scale**0.5
        found[update.name.removesuffix(".weight")] = update.b * half, update.a * half
    return found


def read_all(folders: Mapping[str, Path]) -> dict[str, dict[str, Pair]]:
    """`read_lora` of several adapters, by name. Raises ModelError also for one that adapts other layers than the
    first."""
    adapters = {name: read_lora(folder) for name, folder in folders.items()}
    first = next(iter(adapters.values()))
    shapes = {layer: (len(b), a.shape[1]) for layer, (b, a) in first.items()}
    for name, adapter in adapters.items():
        other = {layer: (len(b), a.shape[1]) for layer, (b, a) in adapter.items()}
        if differing := sorted(shapes.items() ^ other.items()):
            raise ModelError(
                f"{folders[name]}: its layers are not those of {next(iter(folders.values()))} (for example "
                f"{differing[0][0]}). Use adapters of one base model and of the same lora.target_modules"
            )
    return adapters


def adapter_in(folder: Path, base: BaseModel) -> Adapter:
    """The adapter in a PEFT folder from elsewhere. Raises ModelError as `read_lora`, and for another base model."""
    _config(folder, base)
    tensors = _tensors(folder)
    size = sum(tensor.numel() for tensor in tensors.values())
    return Adapter(folder, digest_of_tensors(tensors), base.name, (), 0.0, size, 0)


def digest_in(folder: Path) -> str:
    """The digest of the tensors in a PEFT folder. Raises ModelError for a file that is missing or damaged."""
    return digest_of_tensors(_tensors(folder))


def write_lora(factors: Factors, folder: Path, base: str) -> None:
    """Write `factors`, all of one rank, as a PEFT folder of scale 1; `base` is the base model's name."""
    from peft import LoraConfig

    rank = len(next(iter(factors.values()))[1])
    modules = sorted({name.rpartition(".")[2] for name in factors})
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=modules, task_type="CAUSAL_LM", base_model_name_or_path=base
    )
    config.inference_mode = True
    config.target_modules = modules  # PEFT made a set of it, which would be written in another order every time
    tensors = {f"{_PREFIX}{name}{_B}": b.contiguous() for name, (b, _) in factors.items()}
    tensors |= {f"{_PREFIX}{name}{_A}": a.contiguous() for name, (_, a) in factors.items()}
    with whole(folder) as partial:
        config.save_pretrained(partial)
        write_tensors(partial / _TENSORS, tensors, {"format": "pt"})


def seal(folder: Path, base: BaseModel, record: Mapping[str, object]) -> str:
    """Write the `record` of how the adapter in `folder` was made beside it, and return the digest of its tensors."""
    write_json(folder / _RECORD, {"base": base.name, "base_digest": base.digest, **record})
    return digest_of_tensors(_tensors(folder))


def _config(folder: Path, base: BaseModel | None = None) -> dict[str, Any]:
    """adapter_config.json, if the adapter is plain LoRA and, where it says of which model it is, of `base`."""
    missing = [name for name in (_CONFIG, _TENSORS) if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} is not a complete PEFT adapter: {' and '.join(missing)} missing. Train again")
    record = folder / _RECORD
    try:
        config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        made = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    except ValueError as error:
        raise ModelError(f"{folder}: damaged JSON ({error}). Train again") from error
    if other := not_plain(config):
        raise ModelError(f"{folder}: this adapter is not plain LoRA, the only kind that can be used here: {other}")
    if base is None:
        return config
    if "base_digest" in made:
        if made["base_digest"] != base.digest:
            raise ModelError(
                f"{folder}: this adapter was trained on {made.get('base')} (SHA-256 {made['base_digest'][:12]}), not "
                f"on {base.name} ({base.digest[:12]}). Choose its model with model=, or train again"
            )
    elif names_another_model(named := str(config.get("base_model_name_or_path") or ""), base.name):
        raise ModelError(
            f"{folder}: this adapter was trained on {named}, not on {base.name}. Choose that model, or, if they are "
            f"the same, write {base.name} as base_model_name_or_path into {_CONFIG}"
        )
    return config


def _tensors(folder: Path) -> dict[str, Any]:
    """The adapter's tensors, if the file is whole and they are finite."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / _TENSORS
    try:
        tensors: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is missing, truncated or damaged ({error}). Train again; the same command resumes from a "
            "checkpoint if there is one"
        ) from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} has values that are not finite. Train again with a lower train.lr")
    return tensors


def _updates(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Any]) -> list[Update]:
    """The tensors in pairs, sorted by name. A layer's rank is that of its tensors, which `rank_pattern` may change."""
    layers = sorted(key.removesuffix(_A) for key in tensors if key.endswith(_A))
    odd = sorted(tensors.keys() ^ {layer + side for layer in layers for side in (_A, _B)})
    if odd or not layers:
        raise ModelError(
            f"{folder}: {f'unexpected tensor {odd[0]}' if odd else 'no tensors'}. An adapter must consist of pairs of "
            f"{_A[1:]} and {_B[1:]}: only plain LoRA can be used here"
        )
    found = []
    for layer in layers:
        a, b = tensors[layer + _A].float(), tensors[layer + _B].float()
        if a.dim() != 2 or b.dim() != 2 or len(a) != b.shape[1]:
            raise ModelError(f"{folder}: A and B of {layer} have shapes {tuple(a.shape)} and {tuple(b.shape)}")
        scale = config["lora_alpha"] / (math.sqrt if config.get("use_rslora") else float)(len(a))
        found.append(Update(f"{layer.removeprefix(_PREFIX)}.weight", a, b, scale))
    return found

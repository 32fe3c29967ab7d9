"""Models and adapters of random numbers, in the formats that training leaves them in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sleepy.artifacts import Adapter, BaseModel
from sleepy.models.derive import derive_from_gguf
from sleepy.tensors import digest_of_tensors
from tests.models.places import write_gguf


def tiny_base(folder: Path, arch: str = "qwen2", head: str = "none") -> BaseModel:
    """A model of two layers, as `model=` would leave it below `folder`."""
    folder.mkdir(parents=True)
    source = write_gguf(folder / "tiny.gguf", arch, head)
    derive_from_gguf(source, folder)
    return BaseModel(f"tiny-{arch}", source, folder / "f16.gguf", folder / "weights", f"{arch}-{head}" * 8)


def random_adapter(
    base: BaseModel, folder: Path, size: float = 0.02, *, rslora: bool = False, seed: int = 7, rank: int = 4
) -> Adapter:
    """An adapter of all linear layers, alpha 6; `size` is the deviation of its B matrices."""
    import torch
    from peft import LoraConfig
    from safetensors import safe_open

    random, tensors = torch.Generator().manual_seed(seed), {}
    with safe_open(base.weights / "model.safetensors", "pt") as weights:
        for name in list(weights.keys()):
            if name.endswith("_proj.weight"):
                rows, columns = weights.get_slice(name).get_shape()
                prefix = "base_model.model." + name.removesuffix(".weight")
                tensors[f"{prefix}.lora_A.weight"] = torch.randn(rank, columns, generator=random) / columns**0.5
                tensors[f"{prefix}.lora_B.weight"] = torch.randn(rows, rank, generator=random) * size
    LoraConfig(r=rank, lora_alpha=6, use_rslora=rslora, target_modules="all-linear").save_pretrained(folder)
    (folder / "sleepy.json").write_text(json.dumps({"base": base.name, "base_digest": base.digest}))
    return written(folder, tensors, base)


def written(folder: Path, tensors: dict, base: BaseModel) -> Adapter:
    """The adapter in `folder` when it has these tensors."""
    from safetensors.torch import save_file

    save_file(tensors, folder / "adapter_model.safetensors")
    return Adapter(folder, digest_of_tensors(tensors), base.name, (2.0, 1.0), 1.0, 100, 100)


def changed(adapter: Adapter, base: BaseModel, change: Callable[[dict], dict]) -> Adapter:
    """`adapter` with other tensors in its folder."""
    from safetensors.torch import load_file

    return written(adapter.folder, change(load_file(adapter.folder / "adapter_model.safetensors")), base)

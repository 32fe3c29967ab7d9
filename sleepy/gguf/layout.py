"""Where the weights of a Hugging Face folder stand in GGUF.

llama.cpp's converter gives tensors other names, and for architectures of the llama kind another order to the rows of
q and k. Instead of a list of such architectures, the base model is looked at: it is there in both forms.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sleepy.artifacts import BaseModel
from sleepy.errors import ModelError
from sleepy.gguf.header import Header, read_header, tensor
from sleepy.tensors import WEIGHTS, mapped


@dataclass(frozen=True)
class Place:
    """The name of a weight in GGUF. With `heads`, its rows are reordered head by head."""

    name: str
    heads: int

    def rows(self, array: Any) -> Any:
        """`array` of shape (out, ...) with its rows as GGUF has them: the two halves of each head interleaved, since
        llama.cpp rotates neighbouring pairs where transformers rotates halves (LlamaModel.permute of its converter)."""
        if not self.heads:
            return array
        pairs = array.reshape(self.heads, 2, array.shape[0] // self.heads // 2, *array.shape[1:])
        return pairs.swapaxes(1, 2).reshape(array.shape)


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays of one dtype are equal bit by bit; compared as integers, far faster than halves."""
    import numpy as np

    integers = f"i{one.dtype.itemsize}"
    return bool(np.array_equal(one.view(integers), other.view(integers)))


def places(base: BaseModel, names: Iterable[str]) -> dict[str, Place]:
    """The place in GGUF of each of these weights of `base`, proven bit by bit on its f16 GGUF file.

    Raises ModelError when one is not found there, or not in an order that is known.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    header, weights = read_header(base.gguf_f16), mapped(base.weights / WEIGHTS)
    name = header.text("general.architecture")
    architecture = next((arch for arch, known in MODEL_ARCH_NAMES.items() if known == name), None)
    if architecture is None:
        raise ModelError(
            f"{base.gguf_f16}: the package gguf does not know the architecture {name!r}. Update the package"
        )
    name_map = get_tensor_name_map(architecture, header.number(f"{name}.block_count"))
    config = json.loads((base.weights / "config.json").read_text(encoding="utf-8"))
    heads = [config.get(key) or 0 for key in ("num_attention_heads", "num_key_value_heads")]
    return {
        name: _place(base, header, name_map.get_name(name, (".weight", ".bias")), name, weights[name], heads)
        for name in names
    }


def _place(base: BaseModel, header: Header, found: str | None, name: str, weight: Any, heads: list[int]) -> Place:
    if found not in header.tensors:
        raise ModelError(
            f"{base.gguf_f16} has no tensor {found} for {name}, so adapters of this model cannot be exported"
            if found
            else f"{name} has no known name in GGUF, so adapters of this model cannot be exported"
        )
    there = tensor(base.gguf_f16, header, found)
    fitting = [count for count in (0, *heads) if not count or weight.shape[0] % (2 * count) == 0]
    for candidate in (Place(found, count) for count in fitting):
        if same_bits(candidate.rows(weight).astype(there.dtype, copy=False), there):
            return candidate
    raise ModelError(
        f"{base.gguf_f16}: {found} does not hold the values of {name} in any known order: this model's "
        f"adapters cannot be exported"
    )

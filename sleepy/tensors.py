"""Safetensors: seen as arrays in place, and digested."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sleepy.errors import ModelError

if TYPE_CHECKING:
    import numpy as np


WEIGHTS = "model.safetensors"


_TYPES = {"F16": "<f2", "F32": "<f4"}


def mapped(path: Path, mode: Literal["r", "r+"] = "r") -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by name, as views of the file itself; with mode "r+" changing them changes it.

    Raises ModelError if the file is missing, shorter than it says, or of other types than f16 and f32.
    """
    import numpy as np

    try:
        raw = np.memmap(path, np.uint8, mode)
        (length,) = struct.unpack("<Q", raw[:8].tobytes())
        header = json.loads(bytes(raw[8 : 8 + length]))
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            data = raw[8 + length + start : 8 + length + end]
            tensors[name] = data.view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(
            f"{path} is missing, truncated, damaged, or not f16 safetensors ({type(error).__name__}: {error}). Delete "
            "it and run again"
        ) from error
    return tensors


def digest_of_tensors(tensors: dict[str, Any]) -> str:
    """SHA-256 over names, shapes, types and bytes of tensors, whatever their order."""
    import torch

    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()

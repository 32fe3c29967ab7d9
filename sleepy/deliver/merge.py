"""W + (alpha / r) B A: an adapter added to the weights."""

from __future__ import annotations

import shutil
from pathlib import Path

from sleepy.adapters.folder import read_updates
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ModelError
from sleepy.files import need_space, whole
from sleepy.tensors import WEIGHTS, mapped

_LARGEST = 65504.0  # of f16


def merge(adapter: Adapter, base: BaseModel, folder: Path) -> Path:
    """Write `base` with `adapter` merged to `folder`, which transformers loads as it is, and return it.

    Sums are float32; the result is stored as f16, which keeps a small update that bf16, with three bits less, would
    round away. Raises ModelError for an adapter that is missing, damaged or of another base model, and DiskError for
    want of space.
    """
    import torch

    updates = read_updates(adapter, base)
    folder.parent.mkdir(parents=True, exist_ok=True)
    need_space(folder.parent, (base.weights / WEIGHTS).stat().st_size, "the merged weights")
    with whole(folder) as partial:
        partial.mkdir()
        for path in base.weights.iterdir():
            shutil.copyfile(path, partial / path.name)
        weights = mapped(partial / WEIGHTS, "r+")  # what is not adapted stays as it was copied, a tied head too
        for update in updates:
            weight = torch.from_numpy(weights[update.name])
            total = weight.float().addmm_(update.b, update.a, alpha=update.scale)
            low, high = torch.aminmax(total)
            if not -_LARGEST <= low <= high <= _LARGEST:  # nor when they are NaN
                raise ModelError(
                    f"{adapter.folder}: with this adapter {update.name} ranges from {low:g} to {high:g}, more than f16 "
                    f"can hold ({_LARGEST:g}). Train again with a lower train.lr"
                )
            weight.copy_(total)
    return folder

"""W + (alpha / r) B A: the adapter added to the weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from sleepy.algo._share import Pair
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ConfigError, ModelError
from sleepy.merge._files import WEIGHTS, mapped, whole
from sleepy.merge._lora import read_updates
from sleepy.merge._several import write_combined
from sleepy.models._files import need_space

_LARGEST = 65504.0


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Adds the adapter at full strength. Sums are float32; the result is stored as f16, which keeps a small update
    that bf16, with three bits less, would round away.

    keep: leave the merged weights in the run's folder (as large as the model in f16) when the run is over.
    """

    combines: ClassVar[bool] = False  # whether it makes one adapter of several

    keep: bool = False

    def combine(self, adapters: Sequence[Adapter], base: BaseModel, folder: Path, seed: int) -> Adapter:
        """One adapter of several: a single one is left as it is, else what `factors` makes is written to `folder`."""
        if len(adapters) == 1:
            return adapters[0]
        made = {f.name: getattr(self, f.name) for f in fields(self)} | {"seed": seed}
        return write_combined(self.factors(adapters, base, seed), adapters, base, folder, made)

    def factors(self, adapters: Sequence[Adapter], base: BaseModel, seed: int) -> dict[str, Pair]:
        """The B (out x r) and A (r x in) that several adapters of `base` come to, by layer; B A is the update."""
        raise ConfigError(
            f"merge: found default, which takes one adapter, but there are {len(adapters)}: use merge=average, linear, "
            "cat, svd, ties or dare_ties"
        )

    def clean(self, merged: Path, base: BaseModel) -> None:
        """Remove what `merge` wrote, unless it is to be kept; the base's own folder is never touched."""
        if not self.keep and merged != base.weights:
            shutil.rmtree(merged)

    def merge(self, adapter: Adapter | None, base: BaseModel, folder: Path) -> Path:
        """Write `base` with `adapter` merged to `folder`, which transformers loads as it is, and return it.

        Without an adapter there is nothing to merge: it is the base's own folder then. Raises ModelError for an
        adapter that is missing, damaged or of another base model, and for want of disk space.
        """
        if adapter is None:
            return base.weights
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
                        f"{adapter.folder}: {update.name} with this adapter goes from {low:g} to {high:g},"
                        f" expected what f16 can hold, {_LARGEST:g}: train again with a lower train.lr"
                    )
                weight.copy_(total)
        return folder

"""One adapter made of several: what every option of the group `merge` is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from sleepy.adapters.factors import Factors, Pair
from sleepy.adapters.folder import seal, write_lora
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Combine:
    """Takes one adapter as it is. Several must be combined by another option, or routed.

    keep: keep the merged weights, from which the export is made, in the run's folder. They are as large as the model in
        f16.
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
            f"merge=none takes one adapter, but there are {len(adapters)}. Use merge=average, linear, cat, svd, ties "
            "or dare_ties"
        )


def write_combined(
    factors: Factors, adapters: Sequence[Adapter], base: BaseModel, folder: Path, made: Mapping[str, Any]
) -> Adapter:
    """Write `factors`, `made` of `adapters`, to `folder`. It cost what all of them cost. Layers of a lower rank than
    the others are filled up with zeros."""
    from torch.nn.functional import pad

    rank = max(len(a) for _, a in factors.values())
    filled = {name: (pad(b, (0, rank - len(a))), pad(a, (0, 0, 0, rank - len(a)))) for name, (b, a) in factors.items()}
    write_lora(filled, folder, base.name)
    return Adapter(
        folder,
        seal(folder, base, {"merge": made, "of": [a.digest for a in adapters]}),
        base.name,
        (),
        sum(a.seconds for a in adapters),
        sum(a.trainable for a in adapters),
        sum(a.tokens for a in adapters),
    )

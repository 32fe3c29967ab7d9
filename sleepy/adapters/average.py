"""The mean of several adapters' updates, as one adapter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.adapters.combine import Combine
from sleepy.adapters.factors import Pair, truncate
from sleepy.adapters.folder import Update, read_updates
from sleepy.artifacts import Adapter, BaseModel
from sleepy.options import ranged
from sleepy.progress import say

_NOISE = 1e-6  # singular values below this share of the largest are float32's rounding


@dataclass(frozen=True, kw_only=True)
class Average(Combine):
    """The mean of dW = (alpha / r) B A over the adapters, best approximated at a rank (Eckart and Young 1936). Adapters
    that Share made from one basis are averaged within it, so that the result needs no more ranks than the basis has
    directions.

    rank: the rank of the result. 0 is as high as needed to lose nothing (at least 0).
    """

    combines = True

    rank: int = ranged(0, at_least=0)

    def factors(self, adapters: Sequence[Adapter], base: BaseModel, seed: int) -> dict[str, Pair]:
        """See Combine.factors."""
        import torch

        layers = defaultdict[str, list[Update]](list)
        for adapter in adapters:
            for update in read_updates(adapter, base):
                layers[update.name.removesuffix(".weight")].append(update)
        found: dict[str, Pair] = {}
        for name, updates in layers.items():
            left = torch.cat([u.b * (u.scale / len(adapters)) for u in updates], 1)
            right = torch.cat([u.a.T for u in updates], 1)
            found[name] = truncate(left, right, min(left.shape[1], len(left), len(right)))
        values = {name: left.double().square().sum(0) for name, (left, _) in found.items()}  # singular values of dW
        rank = self.rank or max(max(1, int((s > _NOISE * s[0]).sum())) for s in values.values())
        lost = sum(float(s[rank:].square().sum()) for s in values.values())
        whole = sum(float(s.square().sum()) for s in values.values())
        share = (lost / whole) ** 0.5 if self.rank and whole else 0.0
        say(f"the mean of {len(adapters)} adapters has rank {rank} and loses {share:.1%} of itself")
        return {name: (left[:, :rank], right[:, :rank].T) for name, (left, right) in found.items()}

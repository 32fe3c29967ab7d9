"""Several adapters made one by PEFT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sleepy.adapters.combine import Combine
from sleepy.adapters.factors import Pair, lora_layers
from sleepy.adapters.folder import read_updates
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ConfigError, ModelError
from sleepy.options import choice, ranged

_DENSE = ("ties", "dare_ties")
_MERGED = "merged"


@dataclass(frozen=True, kw_only=True)
class Weighted(Combine):
    """PEFT's `add_weighted_adapter` with equal weights w that add up to one.

    how: "cat" stacks all ranks and gives the mean of dW without loss; "svd" truncates that mean to `rank`; "linear"
        adds sqrt(w) A and sqrt(w) B apart, so that its dW also holds each B times every other A; "ties" (Yadav et al.
        2023, arXiv 2306.01708) and "dare_ties" (Yu et al. 2023, arXiv 2311.03099) do so after trimming and a vote on
        signs. All but cat and svd need adapters of one rank.
    density: share of the numbers that ties and dare_ties keep (above 0 for these two, 0 for the others; at most 1).
    rank: the rank of svd's result. 0 is that of the largest adapter; for the others it is always 0 (at least 0).
    """

    combines = True

    how: str = choice("linear", "cat", "svd", *_DENSE)
    density: float = ranged(0.0, at_least=0, at_most=1)
    rank: int = ranged(0, at_least=0)

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        found = []
        if bool(self.density) != (self.how in _DENSE):
            must = "above 0" if self.how in _DENSE else f"0, since merge={self.how} drops nothing"
            found.append(f"density must be {must}, not {self.density:g}")
        if self.rank and self.how != "svd":
            found.append(f"rank must be 0, not {self.rank}: merge={self.how} cannot choose its rank. Use merge=svd")
        return found

    def factors(self, adapters: Sequence[Adapter], base: BaseModel, seed: int) -> dict[str, Pair]:
        """See Combine.factors. `seed` is of what dare_ties drops."""
        import torch
        from peft import PeftModel

        ranks = sorted({len(update.a) for adapter in adapters for update in read_updates(adapter, base)})
        if len(ranks) > 1 and self.how not in ("cat", "svd"):
            raise ConfigError(
                f"merge={self.how} needs adapters of equal rank, but these have the ranks "
                f"{', '.join(map(str, ranks))}. Use merge=average, cat or svd"
            )
        names = [f"adapter_{i}" for i in range(len(adapters))]
        try:
            model = PeftModel.from_pretrained(_hollow(base), str(adapters[0].folder), names[0], torch_device="cpu")
            for name, adapter in zip(names[1:], adapters[1:], strict=True):
                model.load_adapter(str(adapter.folder), name, torch_device="cpu")
            torch.manual_seed(seed)
            model.add_weighted_adapter(
                names,
                [1 / len(names)] * len(names),
                _MERGED,
                combination_type=self.how,
                density=self.density,
                svd_rank=self.rank or None,
                svd_full_matrices=False,
            )
        except ValueError as error:
            raise ModelError(f"PEFT cannot merge these adapters with {self.how}: {error}") from error
        return {  # PEFT puts the scales into the tensors
            name: tuple(side[_MERGED].weight.detach().float() for side in (layer.lora_B, layer.lora_A))
            for name, layer in lora_layers(model)
        }


def _hollow(base: BaseModel) -> Any:
    """The base model with its shapes alone: one zero in memory for each of its weights, which no merge looks at."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base.weights))
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            zero = torch.zeros(1, dtype=torch.float32).expand(weight.shape)
            setattr(module, name, torch.nn.Parameter(zero, requires_grad=False))
    return model

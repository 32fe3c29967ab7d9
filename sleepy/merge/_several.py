"""One adapter made of several, as a PEFT folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sleepy.algo._checkpoint import digest_of_tensors
from sleepy.algo._share import Factors
from sleepy.algo._share_lora import write_lora
from sleepy.artifacts import Adapter, BaseModel


def write_combined(
    factors: Factors, adapters: Sequence[Adapter], base: BaseModel, folder: Path, made: Mapping[str, Any]
) -> Adapter:
    """Write `factors`, `made` of `adapters`, to `folder`. It cost what all of them cost. Layers of a lower rank than
    the others are filled up with zeros."""
    from safetensors.torch import load_file
    from torch.nn.functional import pad

    rank = max(len(a) for _, a in factors.values())
    filled = {name: (pad(b, (0, rank - len(a))), pad(a, (0, 0, 0, rank - len(a)))) for name, (b, a) in factors.items()}
    write_lora(filled, folder, base.name)
    record = {"base": base.name, "base_digest": base.digest, "merge": made, "of": [a.digest for a in adapters]}
    (folder / "sleepy.json").write_text(json.dumps(record))
    return Adapter(
        folder,
        digest_of_tensors(load_file(folder / "adapter_model.safetensors")),
        base.name,
        (),
        sum(a.seconds for a in adapters),
        sum(a.trainable for a in adapters),
        sum(a.tokens for a in adapters),
    )

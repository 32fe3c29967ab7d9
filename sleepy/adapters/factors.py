"""An adapter as matrices: B and A of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Pair = tuple[Any, Any]
"""B (n x r) and A (r x d) of one layer: float32, their product is dW."""


Factors = Mapping[str, Pair]
"""An adapter: its layers by name."""


def truncate(left: Any, right: Any, p: int) -> Pair:
    """The factors of rank p, (a, p) and (b, p), whose product is nearest to left (a, r) @ right (b, r)^T in Frobenius'
    norm (Eckart and Young 1936); singular values go to both alike. Zero columns fill up what has a lower rank."""
    import torch
    from torch.nn.functional import pad

    (q_left, r_left), (q_right, r_right) = torch.linalg.qr(left.double()), torch.linalg.qr(right.double())
    u, s, vh = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
    root, fill = s[:p].sqrt(), (0, max(0, p - len(s)))
    return pad(q_left @ u[:, :p] * root, fill).float(), pad(q_right @ vh[:p].T * root, fill).float()


def lora_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """(name in the base model, PEFT's layer) of everything that a PEFT model adapts with LoRA."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def size_of(adapter: Factors) -> int:
    """Numbers in an adapter."""
    return sum(b.numel() + a.numel() for b, a in adapter.values())

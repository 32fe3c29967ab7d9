"""Share's meeting with PEFT: adapter folders read and written, the memory on disk, and the layer of phase 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sleepy.adapters.factors import Pair, lora_layers
from sleepy.errors import ModelError
from sleepy.files import write_tensors
from sleepy.train.shared_basis import Layer, Shared

_FILE, _TENSORS = "share.safetensors", ("beta", "alpha", "eps_beta", "eps_alpha")
_START = 1e-3  # of eps_beta: small, but at zero nothing that it multiplies would have a gradient
_BESIDE = 0.01  # of the temporary factors' coefficients beside those of a task that goes on, for the same reason


def save(shared: Shared, folder: Path) -> None:
    """The shared model as one safetensors file in `folder`."""
    tensors = {f"{n}/{t}": getattr(layer, t) for n, layer in shared.layers.items() for t in _TENSORS}
    write_tensors(folder / _FILE, tensors, {"tasks": json.dumps(shared.tasks)})


def load(folder: Path) -> Shared:
    """The shared model that `save` wrote. Raises ModelError when there is none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / _FILE, "pt") as file:
            names = dict.fromkeys(key.rpartition("/")[0] for key in list(file.keys()))
            layers = {n: Layer(*(file.get_tensor(f"{n}/{t}") for t in _TENSORS)) for n in names}
            return Shared(layers, json.loads(file.metadata()["tasks"]))
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / _FILE}: the shared basis cannot be read ({error}). Train again") from error


def factors_of(model: Any) -> dict[str, Pair]:
    """The adapter in training, as `read_lora` would give it."""
    found = {}
    for name, layer in lora_layers(model):
        half = layer.scaling["default"] ** 0.5
        b, a = (side["default"].weight.detach().cpu().float() * half for side in (layer.lora_B, layer.lora_A))
        found[name] = b, a
    return found


def factorise(model: Any, shared: Shared, phi: int, task: str = "") -> None:
    """Phase 2: in PEFT's `model` of rank p, B becomes [beta, temporary factors] times coefficients, and A^T likewise;
    the bases are frozen. The coefficients are new ones, or those that `shared` has of `task`. Raises ModelError for a
    basis of other layers."""
    layers = dict(lora_layers(model))
    shapes = {name: (m.out_features, m.in_features) for name, m in layers.items()}
    known = {name: (len(layer.beta), len(layer.alpha)) for name, layer in shared.layers.items()}
    if differing := sorted(shapes.items() ^ known.items()):
        raise ModelError(
            f"the shared basis and lora.target_modules differ in {len(differing)} layers (for example "
            f"{differing[0][0]}). Use a basis of adapters of this base model and of the same lora.target_modules"
        )
    number = list(shared.tasks).index(task) if task else None
    for name, module in layers.items():
        layer, fresh = shared.layers[name], (3 * module.in_features) ** -0.5
        _factor(module.lora_B["default"], layer.beta, phi, shared.p, _START, transposed=False)
        _factor(module.lora_A["default"], layer.alpha, phi, shared.p, fresh, transposed=True)
        if number is not None:
            half = module.scaling["default"] ** 0.5  # PEFT keeps the scale apart, `factors_of` puts half into each
            _go_on(module.lora_B["default"], layer.eps_beta[number] / half)
            _go_on(module.lora_A["default"], layer.eps_alpha[number] / half)


def _go_on(linear: Any, eps: Any) -> None:
    """Give a layer that `_factor` made a task's coefficients (k x p), and the temporary factors' rows little beside."""
    import torch

    product, rows = linear.parametrizations.weight[0], linear.parametrizations.weight.original
    n, k = product.basis.shape
    with torch.no_grad():
        rows[:k] = (eps * (k / n) ** 0.5).to(rows.device)
        rows[k:] *= _BESIDE * rows[:k].square().mean().sqrt() / rows[k:].square().mean().sqrt().clamp(min=1e-12)


def _factor(linear: Any, basis: Any, phi: int, p: int, start: float, *, transposed: bool) -> None:
    """Parametrise a linear layer's weight (n x p, or its transpose) as frozen `basis` (n x k) and temporary factors
    (n x phi) times (k + phi) x p coefficients drawn from N(0, start^2).

    Columns are scaled to norm sqrt(n / k): then a step of Adam is as long, in the weight's Frobenius norm, as one on an
    ordinary LoRA, and one learning rate serves both; `start` is the weight's root mean square."""
    import torch
    from torch.nn.utils import parametrize

    n, k = basis.shape
    device = linear.weight.device

    class Product(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("basis", (basis * (n / k) ** 0.5).to(device), persistent=False)
            self.temporary = torch.nn.Parameter((torch.randn(n, phi) * k**-0.5).to(device)) if phi else None

        def forward(self, coefficients: Any) -> Any:
            weight = self.basis @ coefficients[:k]
            if self.temporary is not None:
                weight = weight + self.temporary @ coefficients[k:]
            return weight.T if transposed else weight

    phi = min(phi, max(1, k // 4))
    linear.weight = torch.nn.Parameter((torch.randn(k + phi, p) * start).to(device))
    parametrize.register_parametrization(linear, "weight", Product(), unsafe=True)  # unsafe: its shape changes

"""Orthogonal subspace fine-tuning (Nayak et al. 2025, arXiv 2504.07097): what a weight does most is left as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sleepy.adapters.factors import Factors, Pair
from sleepy.adapters.folder import read_lora, write_lora
from sleepy.errors import ConfigError, TrainingError
from sleepy.options import ranged
from sleepy.train.algorithm import Algorithm
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.trainer import Trainer
from sleepy.train.training import Training


@dataclass(frozen=True, kw_only=True)
class Osf(Algorithm):
    """The singular value decomposition of a weight is split in two: W = U_high S_high V_high + U_low S_low V_low. The
    low part, of the `rank` smallest singular values, trains and stays orthogonal to the high part, which is frozen. In
    a stream W is the base model's weight with the earlier adapter added, decomposed again in each step.

    One side of the low part can only turn within `rank` directions, so what a step adds to W has rank `rank`: a LoRA
    of that rank holds it, after the ranks of the earlier adapter. `lora.target_modules` says which layers train;
    lora.alpha and lora.dropout have no effect here, and train.weight_decay would shrink the weights themselves.

    rank: number of singular values that train in each layer. 0 takes lora.r; it must be below the smaller side of every
        layer (at least 0).
    """

    keeps_base = False  # forward hooks stay on it
    mixed_precision = False  # whole weights train, in float32

    rank: int = ranged(0, at_least=0)

    def check_machine(self, train: Train, device: str) -> None:
        """See Algorithm.check_machine."""
        super().check_machine(train, device)
        if train.quantization != "none":
            raise ConfigError(
                f"train.quantization={train.quantization} cannot be used with algo=osf, which decomposes the weights. "
                "Use train.quantization=none"
            )

    def adapt(self, model: Any, training: Training) -> tuple[Any, Factors]:
        """PEFT's layers, made from the weights with the past added, in float32. What they are then put on are the
        base's own weights, with the past beside them: bf16 would round it away."""
        from peft import OSFConfig, get_peft_model

        past, rank = training.past, self.rank or training.lora.r
        layers = _chosen(model, training.lora)
        before = read_lora(past.adapter) if past.adapter else {}
        if before and before.keys() != layers.keys():
            raise TrainingError(
                f"{past.adapter}: its layers are not those of lora.target_modules. algo=osf needs the same layers in "
                "every step: keep lora.target_modules as it was"
            )
        sizes = {name: min(linear.weight.shape) for name, linear in layers.items()}
        if narrow := [name for name, size in sizes.items() if size <= rank]:
            raise TrainingError(
                f"algo.rank must be below the {sizes[narrow[0]]} singular values of {narrow[0]}, not {rank}. Lower "
                "algo.rank (or lora.r), or leave that layer out of lora.target_modules"
            )
        config = OSFConfig(
            target_modules=list(layers),
            rank_pattern={f"^{name.replace('.', '[.]')}$": size - rank for name, size in sizes.items()},
            task_type="CAUSAL_LM",
        )
        plain = {name: linear.weight.data for name, linear in layers.items()}
        for name, linear in layers.items():
            linear.weight.data = plain[name].float()
            if name in before:
                b, a = before[name]
                linear.weight.data = linear.weight.data + (b @ a).to(linear.weight.device)
        wrapped = get_peft_model(model, config)
        for name, linear in layers.items():
            linear.weight.data = plain[name]
            if name in before:
                linear.register_forward_hook(_beside(*(side.to(linear.weight.device) for side in before[name])))
        return wrapped, before

    def after_step(self, trainer: Trainer) -> None:
        """Take out of the low part what lies in the frozen directions. PEFT projects the gradients, but Adam's step is
        not their multiple."""
        import torch

        with torch.no_grad():
            for _, layer in _layers(trainer.model):
                low = layer.osf_svd_params["default"]
                for name, project in _projections(layer).items():
                    low[name].copy_(project(low[name]))

    def write(self, trainer: Trainer[Factors]) -> None:
        """All that was added to the base's weights, as one LoRA: the earlier adapter's ranks, then this step's."""
        import torch

        factors: dict[str, Pair] = {}
        for name, layer in _layers(trainer.model):
            low = {key: p.detach().cpu().double() for key, p in layer.osf_svd_params["default"].items()}
            u, s, v = (getattr(layer, f"_osf_{key}_low_init")["default"].cpu().double() for key in "USV")
            # U_low S_low V_low - U S V as a product of 2 ranks, whose singular value decomposition has half of them
            left, upper = torch.linalg.qr(torch.cat([low["U_low"] * low["S_low"], -u * s], 1))
            right, lower = torch.linalg.qr(torch.cat([low["V_low"], v]).T)
            x, root, y = torch.linalg.svd(upper @ lower.T)
            x, root, y = x[:, : len(s)], root[: len(s)].sqrt(), y[: len(s)]
            b, a = (left @ (x * root)).float(), ((right @ y.T) * root).T.float()
            earlier = trainer.state.get(name, (b[:, :0], a[:0]))
            factors[name] = torch.cat([earlier[0], b], 1), torch.cat([earlier[1], a])
        write_lora(factors, trainer.training.folder, trainer.training.base.name)


def _chosen(model: Any, lora: Lora) -> dict[str, Any]:
    """The linear layers that lora.target_modules names, as PEFT understands it. Raises ValueError for one not there."""
    import torch

    linears = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    if list(lora.target_modules) == ["all-linear"]:
        return {name: m for name, m in linears.items() if m is not model.get_output_embeddings()}
    found = {t: [name for name in linears if f".{name}".endswith(f".{t}")] for t in lora.target_modules}
    if missing := [t for t, names in found.items() if not names]:
        raise ValueError(f"no linear layer is called {', '.join(missing)}")
    chosen = {name for names in found.values() for name in names}
    return {name: m for name, m in linears.items() if name in chosen}


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    """(name in the base model, PEFT's layer) of everything that trains."""
    from peft.tuners.osf import OSFLayer

    for name, module in model.get_base_model().named_modules():
        if isinstance(module, OSFLayer):
            yield name, module


def _projections(layer: Any) -> dict[str, Callable[[Any], Any]]:
    """For U_low and V_low the projection on what is orthogonal to the frozen directions. PEFT keeps those of the longer
    side; on the other the low part's own first directions are all that is left."""
    high_u, high_v = layer._osf_U_high, layer._osf_V_high
    u, v = layer._osf_U_low_init["default"], layer._osf_V_low_init["default"]
    return {
        "U_low": (lambda x: x - high_u["default"] @ (high_u["default"].T @ x))
        if "default" in high_u
        else (lambda x: u @ (u.T @ x)),
        "V_low": (lambda x: x - (x @ high_v["default"].T) @ high_v["default"])
        if "default" in high_v
        else (lambda x: (x @ v.T) @ v),
    }


def _beside(b: Any, a: Any) -> Callable[[Any, Any, Any], Any]:
    """A forward hook that adds x (b a)^T to a linear layer's output."""

    def add(layer: Any, inputs: Any, output: Any) -> Any:
        return output + ((inputs[0].to(a.dtype) @ a.T) @ b.T).to(output.dtype)

    return add

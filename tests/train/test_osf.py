"""Orthogonal subspace fine-tuning on a real model: what stays as it is, and the LoRA that holds the difference."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sleepy.adapters.folder import read_lora
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ConfigError, TrainingError
from sleepy.train.lora import Lora
from sleepy.train.osf import Osf
from sleepy.train.settings import Train
from sleepy.train.trainer import Trainer
from sleepy.train.training import Past
from tests.train import fitting
from tests.train.fitting import EXAMPLES

RANK = 4
LAYERS = ["self_attn.q_proj", "k_proj", "up_proj", "down_proj"]  # square, broad, tall, broad
fit = partial(fitting.fit, lora=Lora(r=RANK, target_modules=LAYERS), lr=1e-2, precision="fp32")
TOKENS = range(100, 140)

logits: list[Any] = []


class Watched(Osf):
    """Asks the trained model itself for its logits."""

    def write(self, trainer: Trainer) -> None:
        import torch

        super().write(trainer)
        trainer.model.eval()
        with torch.no_grad():
            logits.append(trainer.model(input_ids=torch.tensor([list(TOKENS)])).logits)


@pytest.fixture(scope="module")
def first(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    logits.clear()
    return fit(tiny, tmp_path_factory.mktemp("first"), Watched())


@pytest.fixture(scope="module")
def second(tiny: BaseModel, first: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return fit(tiny, tmp_path_factory.mktemp("second"), Watched(rank=3), after(first))


def after(adapter: Adapter) -> Past:
    return Past((tuple(EXAMPLES),), adapter.folder)


def weights(base: BaseModel) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors = load_file(base.weights / "model.safetensors")
    return {n.removesuffix(".weight"): t.double() for n, t in tensors.items() if n.endswith("proj.weight")}


def difference(adapter: Adapter) -> dict[str, Any]:
    return {name: b.double() @ a.double() for name, (b, a) in read_lora(adapter.folder).items()}


def unmoved(before: dict[str, Any], added: dict[str, Any], rank: int) -> None:
    """Every layer of `added` is of that rank, and without a part in the high directions of `before`, on either side."""
    import torch

    assert len(added) == 8
    for name, delta in added.items():
        u, _, v = torch.linalg.svd(before[name], full_matrices=False)
        size = len(v) - rank
        spectrum = torch.linalg.svdvals(delta)
        norm = float(spectrum[0])
        assert norm > 1e-4 and int((spectrum > 1e-4 * norm).sum()) == rank, name
        assert float((u[:, :size].T @ delta).norm()) < 1e-3 * norm, name
        assert float((delta @ v[:size].T).norm()) < 1e-3 * norm, name


def test_the_high_directions_stay_as_they_are(tiny: BaseModel, first: Adapter) -> None:
    unmoved(weights(tiny), difference(first), RANK)
    assert {b.shape[1] for b, _ in read_lora(first.folder).values()} == {RANK}
    shapes = [weights(tiny)[name].shape for name in difference(first)]
    assert first.trainable == sum(RANK * (n + d + 1) for n, d in shapes)


def test_a_second_step_decomposes_what_the_first_left(tiny: BaseModel, first: Adapter, second: Adapter) -> None:
    import torch

    before = {name: w + difference(first).get(name, 0) for name, w in weights(tiny).items()}
    unmoved(before, {name: d - difference(first)[name] for name, d in difference(second).items()}, 3)
    old = read_lora(first.folder)
    for name, (b, a) in read_lora(second.folder).items():
        assert b.shape[1] == RANK + 3 and torch.equal(b[:, :RANK], old[name][0]) and torch.equal(a[:RANK], old[name][1])


@pytest.mark.parametrize("step", [0, 1])
def test_the_lora_computes_what_the_trained_model_does(
    tiny: BaseModel, first: Adapter, second: Adapter, step: int
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny.weights, dtype="float32").eval()
    ids = torch.tensor([list(TOKENS)])
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        found = PeftModel.from_pretrained(base, (first, second)[step].folder).eval()(input_ids=ids).logits
    torch.testing.assert_close(found, logits[step], rtol=1e-4, atol=1e-3)
    assert float((found - plain).abs().max()) > 0.1
    assert float((logits[1] - logits[0]).abs().max()) > 0.1


def test_bf16_keeps_an_earlier_adapter_too_small_for_it(tiny: BaseModel, tmp_path: Path, first: Adapter) -> None:
    import torch

    third = fit(tiny, tmp_path, Osf(), after(first), precision="bf16", lr=1e-9, steps=1)
    for name, delta in difference(third).items():
        torch.testing.assert_close(delta, difference(first)[name], rtol=1e-3, atol=1e-6)


def test_it_learns(tiny: BaseModel, tmp_path: Path) -> None:
    losses = fit(tiny, tmp_path, Osf(), steps=10, warmup=0.0).losses
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


@pytest.mark.parametrize(
    ("lora", "rank", "words"),
    [
        (Lora(target_modules=["q_proj"]), 0, "its layers are not those of lora.target_modules"),
        (Lora(target_modules=LAYERS), 32, "must be below the 32 singular values of .*k_proj"),
        (Lora(target_modules=["z_proj"]), 0, "lora.target_modules: no linear layer is called z_proj"),
    ],
)
def test_what_cannot_be_is_said(
    tiny: BaseModel, tmp_path: Path, first: Adapter, lora: Lora, rank: int, words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        fit(tiny, tmp_path, Osf(rank=rank), after(first), lora=lora)


def test_quantised_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("quantization=nf4 cannot be used with algo=osf")):
        Osf().check_machine(Train(quantization="nf4"), "cpu")


def test_all_linear_leaves_out_the_head(tiny: BaseModel, tmp_path: Path) -> None:
    assert len(difference(fit(tiny, tmp_path, Osf(), lora=Lora(r=2), steps=1))) == 14

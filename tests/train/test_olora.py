"""O-LoRA on a real model: what is frozen, what is orthogonal, and one ordinary LoRA as the result."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from sleepy.adapters.folder import read_updates
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import TrainingError
from sleepy.tensors import digest_of_tensors
from sleepy.train.lora import Lora
from sleepy.train.olora import OLora
from sleepy.train.sft import Sft
from sleepy.train.training import Past
from tests.train import fitting
from tests.train.fitting import EXAMPLES

OLD, NEW = 4, 2  # ranks
LAYERS = ["q_proj", "down_proj"]
LORA = Lora(r=NEW, alpha=3.0, dropout=0.1, target_modules=LAYERS)
fit = partial(fitting.fit, lora=LORA, precision="fp32")


def tensors(folder: Path | None) -> dict[str, Any]:
    assert folder is not None
    return load_file(folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def first(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Past:
    """The past of a second step: an adapter of another rank and the same alpha / r."""
    lora = Lora(r=OLD, alpha=6.0, target_modules=LAYERS)
    return Past((tuple(EXAMPLES),), fit(tiny, tmp_path_factory.mktemp("first"), OLora(), lora=lora).folder)


@pytest.fixture(scope="module")
def second(tiny: BaseModel, first: Past, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return fit(tiny, tmp_path_factory.mktemp("second"), OLora(), first, weight_decay=0.1)


def test_the_old_part_is_bit_identical_and_the_new_one_trains(tiny: BaseModel, first: Past, second: Adapter) -> None:
    import torch

    old, both = tensors(first.adapter), tensors(second.folder)
    assert set(old) == set(both)
    for name, before in old.items():
        dim = 0 if "lora_A" in name else 1
        kept, new = both[name].split([OLD, NEW], dim)
        assert torch.equal(kept, before) and float(new.abs().max()) > 0, name
    config = json.loads((second.folder / "adapter_config.json").read_text())
    assert config["r"] == OLD + NEW and config["lora_alpha"] / config["r"] == 1.5
    assert second.trainable == NEW * sum(t.numel() // OLD for t in old.values())
    assert {u.scale for u in read_updates(second, tiny)} == {1.5}


def test_the_result_computes_what_old_and_new_compute_together(
    tiny: BaseModel, tmp_path: Path, first: Past, second: Adapter
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert first.adapter is not None
    alone = tmp_path / "new"
    alone.mkdir()
    config = json.loads((second.folder / "adapter_config.json").read_text())
    (alone / "adapter_config.json").write_text(json.dumps({**config, "r": NEW, "lora_alpha": 3.0}))
    parts = {n: t.split([OLD, NEW], 0 if "lora_A" in n else 1)[1] for n, t in tensors(second.folder).items()}
    save_file({n: t.contiguous() for n, t in parts.items()}, alone / "adapter_model.safetensors")

    def logits(*folders: Path) -> Any:
        base = AutoModelForCausalLM.from_pretrained(tiny.weights, dtype="float32")
        model = PeftModel.from_pretrained(base, folders[0])
        for folder in folders[1:]:
            model.load_adapter(folder, "other")
            model.base_model.set_adapter(["default", "other"])
        with torch.no_grad():
            return model.eval()(input_ids=torch.arange(100, 140)[None]).logits

    whole, old, two = logits(second.folder), logits(first.adapter), logits(first.adapter, alone)
    torch.testing.assert_close(whole, two, rtol=1e-4, atol=1e-4)
    assert float((whole - old).abs().max()) > 1e-2


def overlap(adapter: Adapter) -> float:
    """The largest cosine between a new direction and an old one."""
    from torch.nn.functional import normalize

    directions = [t.split([OLD, NEW]) for n, t in tensors(adapter.folder).items() if "lora_A" in n]
    return max(float((normalize(new) @ normalize(old).T).abs().max()) for old, new in directions)


def test_with_a_large_lambda_new_directions_are_orthogonal_to_old_ones(
    tiny: BaseModel, tmp_path: Path, first: Past
) -> None:
    free, held = (
        overlap(fit(tiny, tmp_path / str(weight), OLora(lambda1=weight), first, steps=80, batch_size=1, lr=4e-3))
        for weight in (0.0, 100.0)
    )
    assert held < 1e-2 < 5e-2 < free  # the L1 norm leaves what a step of the optimiser moves


def test_the_penalty_is_the_formula_once_a_step(tiny: BaseModel, tmp_path: Path, first: Past) -> None:
    import torch

    olora, lora = OLora(lambda1=2.0, lambda2=0.5), Lora(r=NEW, alpha=3.0, target_modules=LAYERS)
    trainer = olora.start(fitting.training(tiny, tmp_path, first, lora=lora, precision="fp32"))
    old = {name: t for name, t in tensors(first.adapter).items() if "lora_A" in name}
    new = {n: p.detach() for n, p in trainer.parameters.items()}
    assert all(float(p.abs().max()) == 0 for n, p in new.items() if "lora_B" in n) and len(new) == 2 * len(old)
    expected = 0.5 * sum(float((p**2).sum() ** 0.5) for p in new.values())
    for name, a in old.items():
        fresh = new[name.replace(".weight", ".default.parametrizations.weight.original")]
        expected += 2.0 * sum(abs(float(row @ column)) for row in fresh for column in a)
    batches = [trainer.batch(trainer.encode([example])) for example in EXAMPLES[:2]]
    plain = Sft().gradient(trainer, batches)
    assert olora.gradient(trainer, batches) - plain == pytest.approx(expected, rel=1e-4)
    assert all(torch.isfinite(p.grad).all() for p in trainer.parameters.values())


def test_steps_in_a_row_repeat(tiny: BaseModel, tmp_path: Path, first: Past, second: Adapter) -> None:
    import torch

    after = Past((*first.examples, tuple(EXAMPLES)), second.folder)
    third, same = (fit(tiny, tmp_path / name, OLora(), after) for name in ("third", "same"))
    assert third.digest == same.digest and third.losses == same.losses
    a = tensors(third.folder)
    assert all(torch.equal(a[n][: OLD + NEW], t) for n, t in tensors(second.folder).items() if "lora_A" in n)
    assert all(t.shape[0] == OLD + 2 * NEW for n, t in a.items() if "lora_A" in n)


def test_the_first_step_is_naive(
    tiny: BaseModel, tmp_path: Path, first: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = Lora(r=OLD, alpha=6.0, target_modules=LAYERS)
    naive = fit(tiny, tmp_path / "a", Sft(), lora=lora)
    assert naive.digest == digest_of_tensors(tensors(first.adapter))
    capsys.readouterr()
    fit(tiny, tmp_path / "b", OLora(), Past(first.examples), lora=lora, steps=1)
    assert "olora: no earlier adapter to protect" in capsys.readouterr().err


def test_an_adapter_of_other_layers_is_an_error(tiny: BaseModel, tmp_path: Path, first: Past) -> None:
    with pytest.raises(TrainingError, match=r"its layers are not those of lora\.target_modules"):
        fit(tiny, tmp_path, OLora(), first, lora=Lora(target_modules=["q_proj"]))


def test_another_scale_keeps_what_the_old_part_adds(tiny: BaseModel, tmp_path: Path, first: Past) -> None:
    import torch

    lora = Lora(r=NEW, alpha=6.0, target_modules=LAYERS)  # alpha / r is 3, the old one's 1.5
    old, both = tensors(first.adapter), tensors(fit(tiny, tmp_path, OLora(), first, lora=lora, steps=1).folder)
    for name in (n for n in old if "lora_B" in n):
        torch.testing.assert_close(3.0 * both[name][:, :OLD], 1.5 * old[name])

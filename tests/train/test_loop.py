"""The training loop: repeatable, resumable, and the loss that Hugging Face computes."""

from __future__ import annotations

import ctypes
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import BaseModel
from sleepy.errors import ConfigError, TrainingError
from sleepy.train import device
from sleepy.train.batches import Encoded, Example, collate, encode, schedule
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.sft import Sft
from sleepy.train.trainer import Trainer
from tests.train.fitting import EXAMPLES, fit, training


def test_same_seed_same_digest_and_the_loss_falls(tiny: BaseModel, tmp_path: Path) -> None:
    one, same, other = (fit(tiny, tmp_path / n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert one.digest == same.digest != other.digest
    assert one.losses == same.losses and len(one.losses) == 3
    long = fit(tiny, tmp_path / "d", steps=12, warmup=0.0, lr=1e-2)
    assert sum(long.losses[-3:]) < 0.9 * sum(long.losses[:3])
    linear = (64 + 64) * 2 + (64 + 32) * 2 + (64 + 128) * 3  # q and o, k and v, gate, up and down: inputs and outputs
    assert long.trainable == 4 * 2 * linear


def test_the_adapter_is_what_peft_loads(tiny: BaseModel, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = fit(tiny, tmp_path)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny.weights), adapter.folder)
    values = [p.abs().sum().item() for n, p in loaded.named_parameters() if "lora_B" in n]
    assert values and all(v > 0 for v in values)
    config = (adapter.folder / "adapter_config.json").read_text()
    assert str(tiny.weights) not in config
    modules = json.loads(config)["target_modules"]
    assert len(modules) == 14 and modules == sorted(modules)  # the file's digest is part of the next checkpoint's key
    assert json.loads((adapter.folder / "sleepy.json").read_text()) == {"base": tiny.name, "base_digest": tiny.digest}


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("Qwen2", {}),
        ("Llama", {"tie_word_embeddings": True}),
        ("Gemma2", {"final_logit_softcapping": 2.0, "head_dim": 16}),
        ("Granite", {"logits_scaling": 3.0}),
        ("Cohere", {"logit_scale": 0.2}),
    ],
)
def test_the_loss_is_that_of_transformers(tiny: BaseModel, tmp_path: Path, family: str, more: dict[str, Any]) -> None:
    import torch
    import transformers

    config = getattr(transformers, f"{family}Config")(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=0, eos_token_id=1, pad_token_id=2, **more,
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).float()
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_(0, 0.5)  # logits far enough from 0 for a cap to bite
    model = Lora().wrap(model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.weights)
    encoded, left_out = encode(EXAMPLES, tokenizer, 512)
    batch = collate(encoded, tokenizer.eos_token_id, "cpu")
    labels = batch.ids.clone()
    for row, e in zip(labels, encoded, strict=True):
        row[: e.start] = -100
        row[len(e.ids) :] = -100
    theirs = model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
    seen: list[Any] = []
    model.get_base_model().get_output_embeddings().register_forward_hook(lambda m, i, o: seen.append(o.shape))
    ours = Trainer(training(tiny, tmp_path), model, tokenizer, None, {}, "cpu", None).nll(batch)
    assert left_out == 0 and len(ours) == int((labels != -100).sum())
    assert float(ours.mean()) == pytest.approx(float(theirs), rel=1e-5)
    assert seen == [(1, len(ours), 300)]  # the head's work is that of the positions that are learned
    assert all(
        tokenizer.decode(e.ids[e.start :]) == x.answer + tokenizer.eos_token
        for e, x in zip(encoded, EXAMPLES, strict=True)
    )


def test_an_interrupted_run_resumes_to_the_same_adapter(
    tiny: BaseModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(step: int, loss: float) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    unbroken = fit(tiny, tmp_path / "whole", steps=6)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny, tmp_path / "cut", steps=6, checkpoint_every=10, on_step=interrupt)
    assert not (tmp_path / "cut" / "adapter").exists()
    seen: list[float] = []
    again = fit(tiny, tmp_path / "cut", steps=6, on_step=lambda step, loss: seen.append(loss))
    assert "Resuming after step 3 (checkpoint " in capsys.readouterr().err
    assert again.digest == unbroken.digest and again.losses == unbroken.losses == tuple(seen)


class Exploding(Sft):
    """Loses its head at the third step."""

    def loss(self, trainer: Trainer, batch: Any) -> Any:
        return trainer.nll(batch).sum() * (float("nan") if trainer.step == 2 else 1.0)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tiny: BaseModel, tmp_path: Path) -> None:
    import torch

    with pytest.raises(TrainingError, match=r"loss of step 3 is nan.*Lower train\.lr"):
        fit(tiny, tmp_path, algorithm=Exploding(), steps=5)
    state = torch.load(tmp_path / "checkpoint" / "state.pt", weights_only=True)
    assert len(state["losses"]) == 2 and all(torch.isfinite(p).all() for p in state["parameters"].values())


def test_a_damaged_checkpoint_starts_over(tiny: BaseModel, tmp_path: Path) -> None:
    whole = fit(tiny, tmp_path / "a")
    place = tmp_path / "b" / "checkpoint"
    place.mkdir(parents=True)
    (place / "state.pt").write_bytes((tmp_path / "a" / "checkpoint" / "state.pt").read_bytes()[:1000])
    assert fit(tiny, tmp_path / "b").digest == whole.digest


def test_unknown_target_modules_are_an_error(tiny: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"lora\.target_modules"):
        fit(tiny, tmp_path, lora=Lora(target_modules=["nothing_proj"]))


def test_pairs_that_are_too_long_are_an_error_when_none_is_left(tiny: BaseModel, tmp_path: Path) -> None:
    long = [Example(EXAMPLES[0].prompt, "x " * 400)]
    with pytest.raises(TrainingError, match=r"all of 1 training pairs are longer than train\.max_length=64"):
        fit(tiny, tmp_path, examples=long, max_length=64)


def test_qlora_trains_on_a_cpu(tiny: BaseModel, tmp_path: Path) -> None:
    adapter = fit(tiny, tmp_path, quantization="nf4", steps=2)
    assert len(adapter.losses) == 2 and adapter.digest != fit(tiny, tmp_path / "plain", steps=2).digest


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_evaluating_switches_dropout_off_and_leaves_later_gradients_as_they_were(
    tiny: BaseModel, tmp_path: Path, quantization: str
) -> None:
    import torch

    given = training(tiny, tmp_path, lora=Lora(r=4, dropout=0.5), quantization=quantization)
    trainer = Sft().start(given)
    batch = trainer.batch(trainer.encode(EXAMPLES))
    with torch.no_grad():
        for p in trainer.parameters.values():
            p.add_(0.1)

    def gradients() -> tuple[Any, ...]:
        torch.manual_seed(0)
        return torch.autograd.grad(trainer.nll(batch).sum(), list(trainer.parameters.values()))

    before = gradients()
    with trainer.evaluating(), torch.no_grad():
        assert torch.equal(trainer.nll(batch), trainer.nll(batch))
    assert not torch.equal(trainer.nll(batch), trainer.nll(batch))
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(), strict=True))


def test_gradient_checkpointing_and_accumulation_change_memory_not_the_result(tiny: BaseModel, tmp_path: Path) -> None:
    more: dict[str, Any] = {"lora": Lora(r=4), "precision": "fp32", "batch_size": 2, "grad_accum": 2}
    plain = fit(tiny, tmp_path / "a", **more)
    spared = fit(tiny, tmp_path / "b", gradient_checkpointing=True, **more)
    assert spared.losses == pytest.approx(plain.losses, rel=1e-4)


def test_flash_attention_on_a_cpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"needs a CUDA device.*train\.attention=auto"):
        Sft().check_machine(Train(attention="flash_attention_2"), "cpu")
    Sft().check_machine(Train(attention="auto"), "cpu")


@given(st.lists(st.integers(2, 50), min_size=1, max_size=60), st.integers(1, 7), st.integers(1, 40), st.integers(0, 9))
def test_every_epoch_draws_every_example_once(lengths: list[int], batch: int, passes: int, seed: int) -> None:
    rows = [Encoded(tuple(range(n)), 1) for n in lengths]
    order = schedule(rows, batch, passes, seed)
    assert order == schedule(rows, batch, passes, seed) and len(order) == passes
    assert schedule(rows, batch, passes + 5, seed)[:passes] == order  # more steps do not change the first ones
    windows = [len(lengths[i : i + 8 * batch]) for i in range(0, len(lengths), 8 * batch)]
    epoch = sum(-(-w // batch) for w in windows)
    for start in range(0, passes - epoch + 1, epoch):
        assert sorted(i for b in order[start : start + epoch] for i in b) == list(range(len(lengths)))


@given(st.integers(1, 300), st.floats(0, 1), st.sampled_from(["linear", "cosine", "constant"]))
def test_the_rate_rises_to_its_peak_and_never_above(steps: int, warmup: float, decay: str) -> None:
    train = Train(steps=steps, warmup=warmup, decay=decay, lr=0.5)
    rates = [train.rate(s) for s in range(steps)]
    rising = round(warmup * steps)
    assert all(0 < r <= 0.5 for r in rates)
    assert rates[:rising] == sorted(rates[:rising]) and rates[rising:] == sorted(rates[rising:], reverse=True)
    if rising < steps:
        assert rates[rising] == pytest.approx(0.5)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_memory_of_a_training_is_given_back(tiny: BaseModel, tmp_path: Path) -> None:
    long = [replace(e, answer=e.answer * 20) for e in EXAMPLES] * 4
    fit(tiny, tmp_path / "before", steps=1)  # what is loaded once and for all
    device.release_base()
    device.give_back_memory()
    before = psutil.Process().memory_info().rss
    fit(tiny, tmp_path / "long", examples=long, steps=1, batch_size=20)
    used = psutil.Process().memory_info().rss - before
    device.release_base()
    device.give_back_memory()
    assert used > 20e6 and psutil.Process().memory_info().rss - before < used / 2

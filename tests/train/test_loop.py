"""Training on a real small model: repeatable, resumable, and the loss that Hugging Face computes."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
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
from sleepy.train.naive import Naive
from sleepy.train.settings import Train
from tests.train.fitting import EXAMPLES, fit


@pytest.mark.slow
def test_same_seed_same_digest_and_the_loss_falls(smollm2: BaseModel, tmp_path: Path) -> None:
    one, same, other = (fit(smollm2, tmp_path / n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert one.digest == same.digest != other.digest
    assert one.losses == same.losses and len(one.losses) == 3
    long = fit(smollm2, tmp_path / "d", steps=8, warmup=0.0)
    assert sum(long.losses[-3:]) < 0.8 * sum(long.losses[:3])
    assert long.trainable == 4 * sum(n for n in _sizes(smollm2))


def _sizes(base: BaseModel) -> list[int]:
    """Inputs plus outputs of every linear layer but the head: what a rank costs."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.weights)
    return [
        m.in_features + m.out_features
        for n, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and "lm_head" not in n
    ]


def test_the_adapter_is_what_peft_loads(smollm2: BaseModel, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = fit(smollm2, tmp_path)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(smollm2.weights), adapter.folder)
    values = [p.abs().sum().item() for n, p in loaded.named_parameters() if "lora_B" in n]
    assert values and all(v > 0 for v in values)
    config = (adapter.folder / "adapter_config.json").read_text()
    assert str(smollm2.weights) not in config
    modules = json.loads(config)["target_modules"]
    assert len(modules) == 7 and modules == sorted(modules)  # the file's digest is part of the next checkpoint's key


def test_the_loss_is_that_of_transformers(smollm2: BaseModel) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from sleepy.train.algorithm import Trainer

    tokenizer = AutoTokenizer.from_pretrained(smollm2.weights)
    encoded, left_out = encode(EXAMPLES, tokenizer, 512)
    batch = collate(encoded, tokenizer.eos_token_id, "cpu")
    model = Lora().wrap(AutoModelForCausalLM.from_pretrained(smollm2.weights))
    labels = batch.ids.clone()
    for row, e in zip(labels, encoded, strict=True):
        row[: e.start] = -100
        row[len(e.ids) :] = -100
    theirs = model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
    ours = Trainer(model, None, {}, Train(), "cpu", 0, tokenizer).nll(batch)
    assert left_out == 0 and len(ours) == int((labels != -100).sum())
    assert float(ours.mean()) == pytest.approx(float(theirs), rel=1e-5)
    assert all(
        tokenizer.decode(e.ids[e.start :]) == x.answer + tokenizer.eos_token
        for e, x in zip(encoded, EXAMPLES, strict=True)
    )


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.train.fitting import fit
from sleepy.artifacts import BaseModel
base = BaseModel("smollm2-135m", Path(), Path(), Path({weights!r}), "x")
print("ready", flush=True)
print(fit(base, Path({folder!r}), steps=6, **{more!r}).digest)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_goes_on_to_the_same_adapter(
    smollm2: BaseModel, tmp_path: Path, number: signal.Signals
) -> None:
    unbroken = fit(smollm2, tmp_path / "whole", steps=6)
    script = CHILD.format(
        root=str(Path(__file__).parents[2]), weights=str(smollm2.weights), folder=str(tmp_path / "cut"), more={}
    )
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    state = tmp_path / "cut" / "checkpoint" / "state.pt"
    deadline = time.monotonic() + 120
    while not state.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, number)
    out, _ = child.communicate()
    assert child.returncode != 0 and not (tmp_path / "cut" / "adapter").exists(), out
    import torch

    done = len(torch.load(state, weights_only=True)["losses"])
    assert 1 <= done < 6
    again = fit(smollm2, tmp_path / "cut", steps=6)
    assert again.digest == unbroken.digest and again.losses == unbroken.losses


class Exploding(Naive):
    """Loses its head at the third step."""

    def loss(self, trainer: Any, batch: Any) -> Any:
        return trainer.nll(batch).sum() * (float("nan") if trainer.step == 2 else 1.0)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(smollm2: BaseModel, tmp_path: Path) -> None:
    import torch

    with pytest.raises(TrainingError, match=r"loss of step 3 is nan.*Lower train\.lr"):
        fit(smollm2, tmp_path, algorithm=Exploding(), steps=5)
    state = torch.load(tmp_path / "checkpoint" / "state.pt", weights_only=True)
    assert len(state["losses"]) == 2 and all(torch.isfinite(p).all() for p in state["parameters"].values())


def test_a_damaged_checkpoint_starts_over(smollm2: BaseModel, tmp_path: Path) -> None:
    whole = fit(smollm2, tmp_path / "a")
    place = tmp_path / "b" / "checkpoint"
    place.mkdir(parents=True)
    (place / "state.pt").write_bytes((tmp_path / "a" / "checkpoint" / "state.pt").read_bytes()[:1000])
    assert fit(smollm2, tmp_path / "b").digest == whole.digest


def test_unknown_target_modules_are_an_error(smollm2: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"lora\.target_modules"):
        fit(smollm2, tmp_path, lora=Lora(target_modules=["nothing_proj"]))


def test_pairs_that_are_too_long_are_an_error_when_none_is_left(smollm2: BaseModel, tmp_path: Path) -> None:
    long = [Example(EXAMPLES[0].prompt, "x " * 400)]
    with pytest.raises(TrainingError, match=r"all of 1 training pairs are longer than train\.max_length=64"):
        Naive().fit(
            smollm2,
            long,
            lora=Lora(),
            train=Train(max_length=64),
            device="cpu",
            seed=0,
            folder=tmp_path / "a",
            place=tmp_path / "c",
            record={},
        )


def test_qlora_trains_on_a_cpu(smollm2: BaseModel, tmp_path: Path) -> None:
    adapter = fit(smollm2, tmp_path, quantization="nf4", steps=2)
    assert len(adapter.losses) == 2 and adapter.digest != fit(smollm2, tmp_path / "plain", steps=2).digest


@pytest.mark.slow
def test_gradient_checkpointing_and_accumulation_change_memory_not_the_result(
    smollm2: BaseModel, tmp_path: Path
) -> None:
    plain = fit(smollm2, tmp_path / "a", lora=Lora(r=4), precision="fp32", batch_size=2, grad_accum=2)
    spared = fit(
        smollm2,
        tmp_path / "b",
        lora=Lora(r=4),
        precision="fp32",
        batch_size=2,
        grad_accum=2,
        gradient_checkpointing=True,
    )
    assert spared.losses == pytest.approx(plain.losses, rel=1e-4)


def test_flash_attention_on_a_cpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"needs a CUDA device.*train\.attention=auto"):
        Naive().check_machine(Train(attention="flash_attention_2"), "cpu")
    Naive().check_machine(Train(attention="auto"), "cpu")


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
def test_memory_of_a_training_is_given_back(shallow: BaseModel, tmp_path: Path) -> None:
    long = [replace(e, answer=e.answer * 40) for e in EXAMPLES]
    device.release_base()
    device.give_back_memory()
    before = psutil.Process().memory_info().rss
    fit(shallow, tmp_path, examples=long, steps=1, batch_size=5)
    used = psutil.Process().memory_info().rss - before
    device.release_base()
    device.give_back_memory()
    assert psutil.Process().memory_info().rss - before < used / 2

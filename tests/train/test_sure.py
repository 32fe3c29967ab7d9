"""What surprises most is kept and rehearsed; the slow adapter is the exact average of the fast one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepy.adapters.folder import read_updates
from sleepy.artifacts import Adapter, BaseModel, Prompt
from sleepy.train.batches import Batch, Encoded, Example, encode
from sleepy.train.lora import Lora
from sleepy.train.sft import Sft
from sleepy.train.sure import Rehearsal, Sure, split
from sleepy.train.trainer import Trainer
from sleepy.train.training import Past
from tests.train.fitting import EXAMPLES, fit

OTHERS = tuple(
    Example(Prompt(({"role": "user", "content": f"Mend {i}."},), "```rust\n", ()), answer)
    for i, answer in enumerate(
        ["use std::fmt;", "let mut x = 0;", "qua zebra 9 ;;;", "impl Copy for Point {}", "pub fn f() {}"]
    )
)
TOO_LONG = Example(OTHERS[0].prompt, " ".join(str(i * 7919 % 10007) for i in range(300)))


def slowly_ranked(base: BaseModel, adapter: Path | None, examples: Sequence[Example]) -> list[tuple[int, ...]]:
    """Token ids of examples, the most surprising first, from transformers' own loss, one at a time."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base.weights, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter) if adapter else model
    model.eval()
    surprise = {}
    for row in encode(examples, AutoTokenizer.from_pretrained(base.weights), 1024)[0]:
        ids = torch.tensor([row.ids])
        labels = ids.clone()
        labels[0, : row.start] = -100
        surprise[row.ids] = model(input_ids=ids, labels=labels).loss.item()
    return sorted(surprise, key=lambda ids: -surprise[ids])


def kept(adapter: Adapter) -> list[list[tuple[int, ...]]]:
    lines = (adapter.folder / "memory" / "buffer.jsonl").read_text().splitlines()
    return [[tuple(ids) for _, ids in json.loads(line)] for line in lines]


@dataclass(frozen=True, kw_only=True)
class Watched(Sure):
    """Writes down the buffer, and the fast adapter at the beginning and after each step."""

    def begin(self, trainer: Trainer) -> Rehearsal:
        state = super().begin(trainer)
        buffer[:] = [[row.ids for row in task] for task in state.tasks]
        fast[:] = [{name: p.detach().clone() for name, p in trainer.parameters.items()}]
        return state

    def after_step(self, trainer: Trainer) -> None:
        assert trainer.model.training  # ranking has no dropout, training has
        super().after_step(trainer)
        fast.append({name: p.detach().clone() for name, p in trainer.parameters.items()})


buffer: list[list[tuple[int, ...]]] = []
fast: list[dict[str, Any]] = []


def test_two_steps_keep_what_surprises_most_and_split_the_buffer(tiny: BaseModel, tmp_path: Path) -> None:
    import torch

    strong: dict[str, Any] = {
        "lora": Lora(r=4, dropout=0.8),
        "lr": 1e-2,
        "precision": "fp32",
    }  # dropout in the ranking would show
    first = fit(tiny, tmp_path / "1", Watched(buffer=4, ema=0.5), **strong)
    assert kept(first) == [slowly_ranked(tiny, first.folder, EXAMPLES)[:4]]
    last = fast[-1]
    past = Past((tuple(EXAMPLES),), first.folder)
    second = fit(tiny, tmp_path / "2", Watched(buffer=4, ema=0.5), examples=OTHERS, past=past, **strong)
    assert buffer == kept(first)
    assert all(torch.equal(fast[0][name], last[name]) for name in last)  # the fast adapter goes on where it was
    assert kept(second) == [kept(first)[0][:2], slowly_ranked(tiny, second.folder, OTHERS)[:2]]
    assert len(read_updates(second, tiny)) == 14


@dataclass(frozen=True, kw_only=True)
class Checked(Watched):
    """Computes each step's gradient a second time, the slow way."""

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        import torch

        loss = super().gradient(trainer, batches)
        rehearsed = trainer.state.passes[2 * trainer.step : 2 * trainer.step + 2]
        rows.extend(row.ids for pair in rehearsed for row in pair)
        means = [
            torch.cat([trainer.nll(b) for b in some]).mean()
            for some in (batches, [trainer.batch(r) for r in rehearsed])
        ]
        expected = torch.autograd.grad((means[0] + means[1]) / 2, list(trainer.parameters.values()))
        assert loss == pytest.approx((means[0] + means[1]).item() / 2, rel=1e-5)
        for p, wanted in zip(trainer.parameters.values(), expected, strict=True):
            torch.testing.assert_close(p.grad, wanted, rtol=1e-3, atol=1e-6)
        return loss


rows: list[tuple[int, ...]] = []


def test_a_single_run_rehearses_the_most_surprising_of_the_past(tiny: BaseModel, tmp_path: Path) -> None:
    rows.clear()
    past = Past((OTHERS,))
    fit(tiny, tmp_path, Checked(buffer=3), past=past, lora=Lora(r=4), precision="fp32", grad_accum=2)
    assert buffer == [slowly_ranked(tiny, None, OTHERS)[:3]]
    assert set(rows) == set(buffer[0]) and len(rows) == 9  # six batches of the three, by twos, three times over


def test_the_slow_adapter_is_the_average(tiny: BaseModel, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    past = Past((OTHERS,))
    unbroken = fit(tiny, tmp_path / "whole", Watched(ema=0.9), past=past)
    slow = {name: p.double() for name, p in fast[0].items()}
    for values in fast[1:]:
        slow = {name: 0.9 * p + 0.1 * values[name].double() for name, p in slow.items()}
    written = load_file(unbroken.folder / "adapter_model.safetensors")
    assert len(fast) == 4 and len(written) == len(slow) == 28
    for name, p in slow.items():
        difference = (written[name.replace(".default", "")] - p).abs().max()
        assert difference <= 1e-7 * max(1.0, float(p.abs().max())) < float((fast[-1][name] - p).abs().max())


def test_without_a_past_and_an_average_it_is_naive_and_says_so(
    tiny: BaseModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = fit(tiny, tmp_path / "naive", Sft())
    capsys.readouterr()
    assert fit(tiny, tmp_path / "sure", Sure(ema=0.0)).digest == plain.digest
    told = capsys.readouterr().err
    assert "no earlier pairs to rehearse" in told and "slow adapter takes" not in told
    fit(tiny, tmp_path / "slow", Sure(ema=0.99), past=Past(((), (TOO_LONG,))))
    told = capsys.readouterr().err
    assert "no earlier pairs" in told and "takes 3% of what is learned" in told


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.integers(0, 30), max_size=9), st.integers(1, 40))
def test_the_buffer_is_split_equally(lengths: list[int], size: int) -> None:
    tasks = [[Encoded((t, i), 1) for i in range(n)] for t, n in enumerate(lengths)]
    shares = split(tasks, size)
    assert len(shares) == len(tasks) and sum(map(len, shares)) <= size
    assert all(share == task[: len(share)] for share, task in zip(shares, tasks, strict=True))
    full = [[Encoded((t, i), 1) for i in range(40)] for t in range(len(lengths))]
    counts = [len(share) for share in split(full, size)]
    assert not counts or (sum(counts) == size and max(counts) - min(counts) <= 1)
    for share, task, most in zip(shares, tasks, counts, strict=True):
        assert len(share) == min(len(task), most)
    grown = split([*full, full[0] if full else [Encoded((9, 9), 1)]], size)
    assert all(len(after) <= before for after, before in zip(grown, counts, strict=False))  # what is dropped is gone

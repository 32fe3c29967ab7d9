"""The loss of a preference against its formula, and what it does to the copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import BaseModel
from sleepy.errors import TrainingError
from sleepy.pairs.builtin import load_pairs
from sleepy.train.batches import Batch, encode
from sleepy.train.dpo import Dpo
from sleepy.train.lora import Lora
from sleepy.train.sft import Sft
from sleepy.train.trainer import Trainer
from tests.train.fitting import EXAMPLES, fit

PAIRS = [
    replace(e, task=replace(pair, fix=e.answer.removesuffix("```"), broken=f"pub fn broken{i}() {{}}\n"))
    for i, (e, pair) in enumerate(zip(EXAMPLES, load_pairs(), strict=False))
]
told: list[float] = []


@dataclass(frozen=True, kw_only=True)
class Watched(Dpo):
    """Holds each step's loss against the formula, computed row by row and without sleepy's batches."""

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        import torch

        def chance(ids: Sequence[int], start: int) -> Any:
            logits = trainer.model(input_ids=torch.tensor([ids])).logits[0].float()
            return logits[start - 1 : -1].log_softmax(-1).gather(1, torch.tensor(ids[start:])[:, None])[:, 0]

        def margin() -> list[Any]:
            return [chance(*good).sum() - chance(*bad).sum() for good, bad in rows]

        known = {}
        for example in PAIRS:
            answers = (example.answer, example.task.broken.rstrip("\n") + "\n```")
            good, bad = (encode([replace(example, answer=a)], trainer.tokenizer, 4096)[0][0] for a in answers)
            known[good.ids] = ((good.ids, good.start), (bad.ids, bad.start))
        expected = 0.0
        for batch in batches:
            rows = [
                known[tuple(ids[: int(mask.sum())].tolist())] for ids, mask in zip(batch.ids, batch.mask, strict=True)
            ]
            with torch.no_grad():
                now = margin()
                values = {name: p.detach().clone() for name, p in trainer.parameters.items()}
                for name, p in trainer.parameters.items():
                    p.copy_(trainer.state.parameters[name])
                before = margin()
                for name, p in trainer.parameters.items():
                    p.copy_(values[name])
                nll = -torch.cat([chance(*good) for good, _ in rows]).mean()
            gains = [self.beta * float(a - b) for a, b in zip(now, before, strict=True)]
            expected += sum(math.log1p(math.exp(-g)) for g in gains) / len(gains) + self.sft * float(nll)
        loss = super().gradient(trainer, batches)
        assert loss == pytest.approx(expected / len(batches), rel=1e-3)
        told.append(sum(gains))
        return loss


def test_the_loss_is_the_formula_and_the_repair_gains_on_the_copy(tiny: BaseModel, tmp_path: Path) -> None:
    told.clear()
    fit(tiny, tmp_path, Watched(beta=0.5), examples=PAIRS, lora=Lora(r=4), precision="fp32", grad_accum=2, lr=1e-2)
    assert told[0] == pytest.approx(0, abs=1e-4) and told[-1] > 0.01  # at first the model is what it was before


def test_without_the_second_term_a_first_step_costs_log_2(tiny: BaseModel, tmp_path: Path) -> None:
    adapter = fit(tiny, tmp_path / "dpo", Dpo(sft=0.0), examples=PAIRS)
    assert adapter.losses[0] == pytest.approx(math.log(2), abs=1e-4) and adapter.losses[-1] < adapter.losses[0]
    assert adapter.digest != fit(tiny, tmp_path / "naive", Sft(), examples=PAIRS).digest


def test_examples_without_a_broken_program_are_refused(tiny: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="algo=dpo needs pairs with a broken program"):
        fit(tiny, tmp_path, Dpo())

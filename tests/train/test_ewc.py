"""EWC on a real model: the Fisher made the slow way, the penalty, and what it holds."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sleepy.artifacts import Adapter, BaseModel
from sleepy.tensors import digest_of_tensors
from sleepy.train.ewc import FISHER, Ewc
from sleepy.train.sft import Sft
from sleepy.train.trainer import Trainer
from sleepy.train.training import Past
from tests.train import fitting
from tests.train.fitting import EXAMPLES

OLD, NEW = tuple(EXAMPLES[:3]), tuple(EXAMPLES[3:])
fit = partial(fitting.fit, examples=NEW, precision="fp32")


@pytest.fixture(scope="module")
def first(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Past:
    """The past of a second step: an adapter that has learned, and from what."""
    return Past((OLD,), fit(tiny, tmp_path_factory.mktemp("first"), Sft()).folder)


@pytest.fixture
def trainer(tiny: BaseModel, first: Past, tmp_path: Path) -> Trainer:
    """A trainer as `fit` makes it, at the start of the second step."""
    return Ewc().start(fitting.training(tiny, tmp_path, first, precision="fp32"))


def moved(adapter: Adapter, past: Past) -> float:
    """sum F (theta - theta*)^2 of an adapter trained after `past`, F from what `Ewc.end` wrote."""
    assert past.adapter is not None
    fisher = load_file(adapter.folder / "memory" / FISHER)
    new, old = (load_file(folder / "adapter_model.safetensors") for folder in (adapter.folder, past.adapter))
    assert {n.replace(".default", "") for n in fisher} == set(new)
    return float(
        sum((f * (new[k] - old[k]) ** 2).sum() for n, f in fisher.items() for k in [n.replace(".default", "")])
    )


def test_the_fisher_is_the_mean_of_each_examples_squared_gradient(trainer: Trainer) -> None:
    import torch

    rows = trainer.encode(OLD)
    slow = {name: torch.zeros_like(p) for name, p in trainer.parameters.items()}
    trainer.model.eval()
    for row in rows:  # the loss of transformers, which is a mean over the answer's tokens, one example at a time
        labels = torch.tensor([[-100] * row.start + list(row.ids[row.start :])])
        loss = trainer.model(input_ids=torch.tensor([row.ids]), labels=labels).loss * (len(row.ids) - row.start)
        trainer.model.zero_grad()
        loss.backward()
        for name, p in trainer.parameters.items():
            slow[name] += p.grad**2 / len(rows)
    trainer.model.train()
    fisher = Ewc().fisher(trainer, OLD)
    assert trainer.model.training and set(fisher) == set(slow)
    for name, expected in slow.items():
        assert expected.max() > 0
        torch.testing.assert_close(fisher[name], expected, rtol=1e-3, atol=1e-6 * float(expected.max()))
    one = Ewc(fisher_samples=1).fisher(trainer, OLD)
    alone = [Ewc().fisher(trainer, [example]) for example in OLD]
    assert sum(all(torch.equal(one[n], a[n]) for n in one) for a in alone) == 1


def test_the_penalty_is_zero_at_the_anchor_and_the_formula_elsewhere(trainer: Trainer) -> None:
    import torch

    ewc = Ewc(strength=3.0)
    trainer.state = ewc.begin(trainer)
    assert float(ewc.penalty(trainer).detach()) == 0.0
    fisher, anchor = trainer.state.fisher, trainer.state.values
    with torch.no_grad():
        for p in trainer.parameters.values():
            p.add_(0.01 * torch.randn_like(p))
    batches = [trainer.batch(trainer.encode(NEW))]
    torch.manual_seed(1)
    plain = Sft().gradient(trainer, batches)
    without = {name: p.grad.clone() for name, p in trainer.parameters.items()}
    trainer.model.zero_grad()
    torch.manual_seed(1)
    total = ewc.gradient(trainer, batches)
    by_hand = sum(1.5 * float((fisher[n] * (p.detach() - anchor[n]) ** 2).sum()) for n, p in trainer.parameters.items())
    assert by_hand > 0 and total - plain == pytest.approx(by_hand, rel=1e-4)
    for name, p in trainer.parameters.items():
        pull = 3.0 * fisher[name] * (p.detach() - anchor[name])
        torch.testing.assert_close(p.grad - without[name], pull, rtol=1e-3, atol=1e-5 * float(p.grad.abs().max()))


def test_a_large_lambda_keeps_the_parameters_near_the_anchor(tiny: BaseModel, tmp_path: Path, first: Past) -> None:
    free, held = (moved(fit(tiny, tmp_path / str(s), Ewc(strength=s), first, steps=10), first) for s in (0.0, 1e5))
    assert held < free / 30


def test_without_a_past_it_is_naive(
    tiny: BaseModel, tmp_path: Path, first: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = fit(tiny, tmp_path / "a", Ewc(), Past(((),)))  # a baseline that passes nothing
    assert "ewc: no earlier task to protect" in capsys.readouterr().err and not (alone.folder / "memory").exists()
    assert first.adapter is not None and alone.digest == digest_of_tensors(
        load_file(first.adapter / "adapter_model.safetensors")
    )


def test_steps_in_a_row_add_their_fishers_and_repeat(
    tiny: BaseModel, tmp_path: Path, first: Past, trainer: Trainer
) -> None:
    import torch

    second = fit(tiny, tmp_path / "second", Ewc(), first)
    after = Past((OLD, NEW), second.folder)
    third, same = (fit(tiny, tmp_path / name, Ewc(), after) for name in ("third", "same"))
    assert third.digest == same.digest != second.digest and third.losses == same.losses

    sums = load_file(third.folder / "memory" / FISHER)
    before = load_file(second.folder / "memory" / FISHER)
    model, learned = trainer.model, load_file(second.folder / "adapter_model.safetensors")
    model.load_state_dict({k.replace(".weight", ".default.weight"): v for k, v in learned.items()}, strict=False)
    own = Ewc().fisher(trainer, NEW)
    for name, total in sums.items():
        torch.testing.assert_close(total, before[name] + own[name], rtol=1e-4, atol=1e-6 * float(total.max()))

    shutil.rmtree(after.adapter / "memory")  # made anew from all that is past
    assert fit(tiny, tmp_path / "lost", Ewc(), after).digest != third.digest


def test_a_single_run_protects_the_pairs_that_the_baseline_passes(tiny: BaseModel, tmp_path: Path) -> None:
    run = fit(tiny, tmp_path / "a", Ewc(strength=1e3), Past((OLD,)))
    fisher = load_file(run.folder / "memory" / FISHER)
    assert all((float(f.max()) > 0) == ("lora_B" in name) for name, f in fisher.items())  # B is zero: A has no effect

"""The gradient where the loss is worst nearby, the step from where the weights are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepy.adapters.folder import read_updates
from sleepy.artifacts import BaseModel
from sleepy.train.batches import Batch
from sleepy.train.lora import Lora
from sleepy.train.sam import Sam
from sleepy.train.sft import Sft
from sleepy.train.trainer import Trainer
from sleepy.train.training import Past
from tests.train.fitting import EXAMPLES, fit


def test_without_rho_it_is_naive_bit_for_bit(tiny: BaseModel, tmp_path: Path) -> None:
    plain = fit(tiny, tmp_path / "naive", Sft(), precision="fp32")
    none, some = (fit(tiny, tmp_path / f"{rho}", Sam(rho=rho), precision="fp32") for rho in (0.0, 0.5))
    assert none.digest == plain.digest and none.losses == plain.losses
    assert some.digest != plain.digest and some.losses[0] == plain.losses[0]  # the loss told is that at w


@dataclass(frozen=True, kw_only=True)
class Watched(Sam):
    """Computes each step's gradient a second time, the slow way, and holds it against what the optimiser gets."""

    def gradient(self, trainer: Trainer, batches: Sequence[Batch]) -> float:
        import torch

        names, parameters = list(trainer.parameters), list(trainer.parameters.values())
        w = [p.detach().clone() for p in parameters]
        tokens = sum(len(b.targets) for b in batches)

        def slow_gradient() -> Any:
            return torch.autograd.grad(sum(trainer.nll(b).sum() for b in batches) / tokens, parameters)

        def put(values: Sequence[Any]) -> None:
            with torch.no_grad():
                for p, value in zip(parameters, values, strict=True):
                    p.copy_(value)

        g = slow_gradient()
        length = torch.cat([x.flatten().double() for x in g]).norm()
        worst = [x + self.rho * y.double() / length for x, y in zip(w, g, strict=True)]
        put(worst)
        expected = slow_gradient()
        put(w)
        points.clear()
        loss = super().gradient(trainer, batches)
        assert len(points) == 2 * len(batches)  # twice the cost of a plain step, and no more
        for name, before, there in zip(names, w, worst, strict=True):
            assert all(torch.equal(point[name], before) for point in points[: len(batches)])
            for point in points[len(batches) :]:
                torch.testing.assert_close(point[name], there.float(), rtol=1e-5, atol=1e-7)
            assert torch.equal(trainer.parameters[name], before)  # exact when the optimiser steps
        for p, wanted in zip(parameters, expected, strict=True):
            torch.testing.assert_close(p.grad, wanted, rtol=1e-2, atol=1e-5)
        assert any(not torch.allclose(x, y, rtol=0.1) for x, y in zip(expected, g, strict=True))  # rho matters here
        checked.append(trainer.step)
        return loss

    def loss(self, trainer: Trainer, batch: Batch) -> Any:
        points.append({name: p.detach().clone() for name, p in trainer.parameters.items()})
        return super().loss(trainer, batch)


points: list[dict[str, Any]] = []
checked: list[int] = []


def test_the_gradient_is_that_at_the_perturbed_point_and_the_weights_come_back(tiny: BaseModel, tmp_path: Path) -> None:
    checked.clear()
    fit(tiny, tmp_path, Watched(rho=0.3), lora=Lora(r=4), precision="fp32", grad_accum=2)
    assert checked == [0, 1, 2]


def test_both_passes_of_a_step_draw_the_same_dropout(tiny: BaseModel, tmp_path: Path) -> None:
    import torch

    drawn: list[Any] = []

    @dataclass(frozen=True, kw_only=True)
    class Drawing(Sam):
        def loss(self, trainer: Trainer, batch: Batch) -> Any:
            drawn.append(torch.get_rng_state())
            return super().loss(trainer, batch)

    fit(tiny, tmp_path, Drawing(), steps=1, grad_accum=2)
    assert torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1], drawn[3])
    assert not torch.equal(drawn[0], drawn[1])


def test_a_second_step_goes_on_from_the_first(tiny: BaseModel, tmp_path: Path) -> None:
    unbroken = fit(tiny, tmp_path / "whole", Sam())
    past = Past((tuple(EXAMPLES),), unbroken.folder)
    second = fit(tiny, tmp_path / "second", Sam(), past=past)
    assert second.losses[0] < unbroken.losses[0] and len(read_updates(second, tiny)) == 14

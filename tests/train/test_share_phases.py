"""Share in a single run: phases 1 to 3 over the tasks of one mix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sleepy.adapters.folder import read_lora
from sleepy.artifacts import Adapter, BaseModel, Task
from sleepy.errors import DataError
from sleepy.pairs.material import Chat
from sleepy.train import _share_lora as files
from sleepy.train._share_phases import Phases
from sleepy.train.batches import Example
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.share import Share
from sleepy.train.shared_basis import Rule, build
from sleepy.train.training import Training
from tests.train import fitting
from tests.train.fitting import EXAMPLES

FAMILIES = ("lifetimes", "lifetimes", "trait_bounds", "type_mismatch", "type_mismatch")
TASKS = sorted(set(FAMILIES))


class Killed(Exception):
    """What ends a run between a step and its checkpoint."""


def pair(family: str, pattern: str) -> Task:
    return Task(
        id=f"{family}/{pattern}", family=family, pattern=pattern, level=1, code="E0382", edition="2021",
        description="", broken="", fix="", tests=(),
    )  # fmt: skip


PAIRS = [pair(family, f"p{i}") for i, family in enumerate(FAMILIES)]
MIX = [Example(e.prompt, e.answer, own) for e, own in zip(EXAMPLES, PAIRS, strict=True)]


def training(base: BaseModel, folder: Path, **more: Any) -> Training:
    settings = {"steps": 10, "warmup": 0.0, "decay": "constant", "precision": "fp32", **more.pop("settings", {})}
    made = fitting.training(base, folder, examples=MIX, lora=Lora(r=4), **settings)
    return replace(made, alone=True, **more)


def fit(base: BaseModel, folder: Path, algorithm: Share, **more: Any) -> Adapter:
    return algorithm.fit(training(base, folder, **more))


@pytest.fixture(scope="module")
def whole(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adapter, Path, list[tuple[int, float]]]:
    """All phases, the folder, and the steps that were reported with their learning rates."""
    folder, seen = tmp_path_factory.mktemp("whole"), list[tuple[int, float]]()
    adapter = fit(
        tiny, folder, Share(), on_step=lambda step, loss, rate: seen.append((step, rate)), settings={"decay": "linear"}
    )
    return adapter, folder, seen


def test_the_tasks_are_the_families_of_the_mix_and_the_result_is_their_mean(
    whole: tuple[Adapter, Path, list[tuple[int, float]]],
) -> None:
    adapter, _, seen = whole
    shared = files.load(adapter.folder / "memory")
    assert list(shared.tasks) == TASKS and shared.p == 4
    assert [step for step, _ in seen] == list(range(10)) and len(adapter.losses) == 10
    rates = [rate for _, rate in seen]
    assert all(rate > 0 for rate in rates) and rates[0] == rates[5] == 1e-3  # each training has its own schedule
    mean, written = shared.average(), read_lora(adapter.folder)
    assert mean.keys() == written.keys()
    parts = [shared.adapter(task) for task in TASKS]
    for name, (b, a) in written.items():
        wanted = sum(part[name][0] @ part[name][1] for part in parts) / len(parts)
        assert (b @ a - wanted).norm() < 1e-4 * wanted.norm()
    lengths = {task: float(part[name][0].norm()) for task, part in zip(TASKS, parts, strict=True)}
    assert len(set(lengths.values())) == len(TASKS)


def test_the_default_basis_keeps_nine_tenths_and_the_papers_does_not(
    whole: tuple[Adapter, Path, list[tuple[int, float]]],
) -> None:
    _, folder, _ = whole
    plain = {task: read_lora(folder / "checkpoint/phase_1" / task / "adapter") for task in TASKS}
    kept = {
        name: min(1 - build(plain, rule, p).error(task, own) ** 2 for task, own in plain.items())
        for name, rule, p in (("default", Share()._rule, 0), ("paper", Rule(variance=0.6), 1))
    }
    assert kept["default"] > 0.85 and kept["paper"] < 0.6


def test_phase_2_goes_on_from_the_coefficients_of_phase_1(tiny: BaseModel, tmp_path: Path) -> None:
    fit(tiny, tmp_path, Share(by="family"), settings={"steps": 6})
    plain = {task: read_lora(tmp_path / "checkpoint/phase_1" / task / "adapter") for task in TASKS}
    shared = build(plain, Rule())
    from transformers import AutoModelForCausalLM

    for phi, near in ((0, 1e-5), (1, 0.05)):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(tiny.weights, dtype=torch.float32)
        wrapped = Lora(r=4, alpha=32).wrap(model)
        files.factorise(wrapped, shared, phi, TASKS[1])
        begun, known = files.factors_of(wrapped), shared.adapter(TASKS[1])
        for name, (b, a) in known.items():
            far = (begun[name][0] @ begun[name][1] - b @ a).norm() / (b @ a).norm()
            assert far < near and (phi == 0 or far > 0)


def test_coefficients_alone_leave_the_basis_of_phase_1(tiny: BaseModel, tmp_path: Path) -> None:
    adapter = fit(tiny, tmp_path, Share(phi=0))
    plain = {task: read_lora(tmp_path / "checkpoint/phase_1" / task / "adapter") for task in TASKS}
    before, after = build(plain, Rule()), files.load(adapter.folder / "memory")
    for name, layer in after.layers.items():
        assert torch.equal(layer.beta, before.layers[name].beta)
        assert not torch.allclose(layer.eps_beta, before.layers[name].eps_beta)  # but every task has learned
    for task in TASKS:
        own = read_lora(tmp_path / "checkpoint/phase_2" / task / "adapter")
        assert after.error(task, own) < 1e-3


@pytest.mark.parametrize("ended", [2, 7])
def test_killed_in_either_phase_it_resumes_to_the_same_adapter(
    tiny: BaseModel, whole: tuple[Adapter, Path, list[tuple[int, float]]], tmp_path: Path, ended: int
) -> None:
    def kill(step: int, loss: float, rate: float) -> None:
        if step == ended:
            raise Killed

    with pytest.raises(Killed):
        fit(tiny, tmp_path, Share(), on_step=kill, settings={"decay": "linear"})
    assert not (tmp_path / "adapter").exists()
    seen: list[int] = []
    resumed = fit(
        tiny, tmp_path, Share(), on_step=lambda step, loss, rate: seen.append(step), settings={"decay": "linear"}
    )
    assert resumed.digest == whole[0].digest and resumed.losses == whole[0].losses and seen == list(range(10))
    assert resumed.resumed == ended
    (one, other) = (files.load(folder / "adapter/memory") for folder in (tmp_path, whole[1]))
    assert all(torch.equal(layer.eps_alpha, other.layers[name].eps_alpha) for name, layer in one.layers.items())


def test_steps_are_divided_by_the_number_of_examples(tiny: BaseModel, tmp_path: Path) -> None:
    tasks = {"a": MIX[:1], "b": MIX[:3], "c": MIX[:5]}
    phases = Phases(training(tiny, tmp_path), tasks, Rule(), 0, 1)
    assert phases._divided(3) == {"a": 1, "b": 1, "c": 1}
    assert phases._divided(12) == {"a": 2, "b": 4, "c": 6}


def test_a_mix_of_one_task_is_refused_and_says_what_to_do() -> None:
    train, one = Train(steps=2), PAIRS[:2]
    with pytest.raises(DataError, match=r"families, but all 2 pairs of the mix are of the family lifetimes\. Use data"):
        Share(by="family").planned(train, one, alone=True)
    for by in ("auto", "pattern"):
        with pytest.raises(
            DataError, match=r"several patterns, but all 1 pairs of the mix are of the pattern p0\. Use"
        ):
            Share(by=by).planned(train, one[:1], alone=True)
    with pytest.raises(DataError, match=r"several patterns, but chats have none\. Use data"):
        Share().planned(train, [Chat(id="c", messages=(), answer="")], alone=True)
    assert Share().planned(train, one, alone=False) == train  # a step of a stream is one task
    assert Share().planned(train, one, alone=True).steps == 4  # one family, so its two patterns
    assert Share().planned(Train(steps=9), PAIRS, alone=True).steps == 9
    assert Share().planned(Train(epochs=8, batch_size=4), PAIRS, alone=True).steps == 10

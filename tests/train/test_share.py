"""Share on a real model: what trains, what stays, what is written, and what a stream remembers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sleepy.adapters.factors import Pair, lora_layers
from sleepy.adapters.find import find_adapters
from sleepy.adapters.folder import read_all, read_lora, write_lora
from sleepy.artifacts import Adapter, BaseModel
from sleepy.errors import ModelError
from sleepy.options import CONF
from sleepy.train._share_lora import load
from sleepy.train.algorithm import Algorithm
from sleepy.train.lora import Lora
from sleepy.train.share import Share
from sleepy.train.shared_basis import Shared
from sleepy.train.trainer import Trainer
from sleepy.train.training import NOTHING, Past
from tests.train import fitting
from tests.train.fitting import EXAMPLES

OLD, NEW = tuple(EXAMPLES[:3]), tuple(EXAMPLES[3:])
FULL = {"variance": 0.9, "p": 2}


def fit(base: BaseModel, folder: Path, algorithm: Algorithm, past: Past = NOTHING, **train: Any) -> Adapter:
    settings = {"steps": 2, "warmup": 0.0, "decay": "constant", "precision": "fp32", **train}
    examples = NEW if past.examples else OLD
    return fitting.fit(base, folder, algorithm, past, examples=examples, lora=Lora(r=6, dropout=0.1), **settings)


@pytest.fixture(scope="module")
def first(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """The first step of a stream."""
    return fit(tiny, tmp_path_factory.mktemp("first"), Share(**FULL))


@pytest.fixture(scope="module")
def past(first: Adapter) -> Past:
    return Past((OLD,), first.folder)


def remembered(adapter: Adapter) -> Shared:
    return load(adapter.folder / "memory")


def distance(one: dict[str, Pair], other: dict[str, Pair]) -> float:
    """Relative distance of two adapters."""
    assert one.keys() == other.keys()
    lost = sum(float((b @ a - other[n][0] @ other[n][1]).norm() ** 2) for n, (b, a) in one.items())
    return (lost / sum(float((b @ a).norm() ** 2) for b, a in other.values())) ** 0.5


def test_the_first_step_is_an_ordinary_lora_and_phase_1(first: Adapter) -> None:
    own, shared = read_lora(first.folder), remembered(first)
    assert json.loads((first.folder / "adapter_config.json").read_text())["r"] == 6
    assert list(shared.tasks) == ["task_1"] and shared.p == 2
    assert first.trainable == shared.tasks["task_1"] == sum(b.numel() + a.numel() for b, a in own.values())
    assert distance(shared.adapter("task_1"), own) == pytest.approx(shared.error("task_1", own), abs=1e-5)
    assert 0 < shared.error("task_1", own) < 1


class Watched(Share):
    """Notes every parameter and the bases before the first step, and holds the model for a look afterwards."""

    def begin(self, trainer: Trainer) -> Any:
        start[:] = [{n: p.detach().clone() for n, p in trainer.parameters.items()}, bases(trainer.model)]
        return super().begin(trainer)

    def after_step(self, trainer: Trainer) -> None:
        before, frozen = start
        assert all((p != before[n]).all() for n, p in trainer.parameters.items())
        assert all(torch.equal(basis, frozen[n]) for n, basis in bases(trainer.model).items())

    def end(self, trainer: Trainer) -> None:
        written = read_lora(trainer.training.folder)
        for name, layer in lora_layers(trainer.model):
            b, a = written.pop(name)
            assert torch.allclose(layer.get_delta_weight("default"), b @ a, rtol=1e-3, atol=1e-7)  # what PEFT trained
            assert layer.scaling["default"] == pytest.approx(Lora().alpha / 6)  # as an ordinary LoRA's of lora.r
        assert not written
        super().end(trainer)


start: list[dict[str, torch.Tensor]] = []


def bases(model: Any) -> dict[str, torch.Tensor]:
    found = {name: b.clone() for name, b in model.named_buffers() if name.endswith("parametrizations.weight.0.basis")}
    assert found and all(not b.requires_grad for b in found.values())
    return found


@pytest.mark.parametrize("phi", [2, 0])
def test_phase_2_moves_all_that_trains_and_nothing_else(tiny: BaseModel, past: Past, tmp_path: Path, phi: int) -> None:
    before, adapter = load(past.memory or Path()), fit(tiny, tmp_path, Watched(phi=phi, **FULL), past, steps=1)
    used = {n: [min(phi, max(1, b.shape[1] // 4)) for b in (x.beta, x.alpha)] for n, x in before.layers.items()}
    wanted = sum(
        2 * (basis.shape[1] + f) + f * len(basis)
        for n, x in before.layers.items()
        for basis, f in zip((x.beta, x.alpha), used[n], strict=True)
    )
    assert adapter.trainable == wanted
    after, own = remembered(adapter), read_lora(adapter.folder)
    assert list(after.tasks) == ["task_1", "task_2"] and {len(a) for _, a in own.values()} == {2}
    if phi:
        assert 0 < after.error("task_2", own) < 1
    else:  # within the span: nothing is lost, and the bases are the old ones
        assert after.error("task_2", own) < 1e-4
        for name, layer in after.layers.items():
            assert torch.equal(layer.beta, before.layers[name].beta)
            assert torch.equal(layer.alpha, before.layers[name].alpha)
    for layer in after.layers.values():
        for basis in (layer.beta, layer.alpha):
            assert (basis.T @ basis - torch.eye(basis.shape[1])).abs().max() < 1e-5


def test_the_adapter_of_phase_2_is_what_peft_computes(tiny: BaseModel, past: Past, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = fit(tiny, tmp_path, Share(**FULL), past, steps=12, lr=3e-3)
    assert sum(adapter.losses[-3:]) < 0.9 * sum(adapter.losses[:3])
    ids = torch.arange(40, 52)[None]
    model = AutoModelForCausalLM.from_pretrained(tiny.weights, dtype="float32")
    bare = model(ids).logits
    loaded = PeftModel.from_pretrained(model, adapter.folder)(ids).logits
    model = AutoModelForCausalLM.from_pretrained(tiny.weights, dtype="float32")
    for name, (b, a) in read_lora(adapter.folder).items():
        model.get_submodule(name).weight.data += b @ a
    assert torch.allclose(model(ids).logits, loaded, atol=1e-3) and not torch.allclose(bare, loaded, atol=1e-3)


def test_each_task_is_answered_by_what_the_memory_has_of_it(
    tiny: BaseModel, first: Adapter, past: Past, tmp_path: Path
) -> None:
    second = fit(tiny, tmp_path / "second", Share(**FULL), past)
    (one,), (old, new) = (
        Share(**FULL).each_task(adapter, tiny, tmp_path / str(i)).values() for i, adapter in enumerate((first, second))
    )
    assert distance(read_lora(one.folder), remembered(first).adapter("task_1")) < 1e-6
    assert distance(read_lora(new.folder), remembered(second).adapter("task_2")) < 1e-6
    assert len({one.digest, old.digest, new.digest, second.digest}) == 4 and old.folder != new.folder
    far = distance(read_lora(old.folder), read_lora(new.folder))
    assert distance(read_lora(old.folder), read_lora(one.folder)) < far


def test_a_basis_from_a_folder_of_adapters(
    tiny: BaseModel, first: Adapter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = read_lora(first.folder)
    for name, turn in (("a", 1.0), ("b", -2.0)):
        write_lora({n: (b.flip(0) * turn, a.flip(1)) for n, (b, a) in own.items()}, tmp_path / name, first.base)
    algorithm = Share(adapters=[str(tmp_path), str(first.folder)], k=4)
    assert not algorithm.problems()
    read = algorithm.reads()
    write_lora(own, tmp_path / "a", first.base)  # as if it had been trained again
    assert len(read) == 6 and sum(x == y for x, y in zip(read, algorithm.reads(), strict=True)) == 5
    adapter = fit(tiny, tmp_path / "run", algorithm, steps=1)
    assert set(remembered(adapter).tasks) == {"a", "b", "adapter", "task_4"}
    assert all(layer.beta.shape[1] <= 4 >= layer.alpha.shape[1] for layer in remembered(adapter).layers.values())
    assert "% of a\n" in capsys.readouterr().err
    assert Share(adapters=[str(tmp_path / "none")]).problems()[0].startswith("adapters: there is no PEFT adapter in")


def test_adapters_of_equal_name_are_told_apart(first: Adapter, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_lora(read_lora(first.folder), tmp_path / name / "adapter", first.base)
    assert list(find_adapters([tmp_path])) == ["one/adapter", "two/adapter"]


def test_adapters_that_do_not_fit_are_refused(tiny: BaseModel, first: Adapter, tmp_path: Path) -> None:
    own = read_lora(first.folder)
    fewer = dict(list(own.items())[1:])
    write_lora(fewer, tmp_path / "fewer", first.base)
    modules = json.loads((tmp_path / "fewer" / "adapter_config.json").read_text())["target_modules"]
    assert len(modules) > 1 and modules == sorted(modules)
    with pytest.raises(ModelError, match=r"fewer: its layers are not those of .* \(for example model\.layers\.0"):
        read_all(find_adapters([first.folder, tmp_path / "fewer"]))
    with pytest.raises(ModelError, match=r"basis and lora\.target_modules differ in 1 layers"):
        fit(tiny, tmp_path / "run", Share(adapters=[str(tmp_path / "fewer")]))
    tensors = load_file(tmp_path / "fewer/adapter_model.safetensors")
    save_file(dict(list(tensors.items())[1:]), tmp_path / "fewer/adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"lora_B\.weight\. An adapter must consist of pairs"):
        read_lora(tmp_path / "fewer")
    (tmp_path / "fewer/adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="truncated or damaged"):
        read_lora(tmp_path / "fewer")
    with pytest.raises(ModelError, match="the shared basis cannot be read"):
        load(tmp_path)


def test_coef_only_is_share_without_temporary_factors() -> None:
    from omegaconf import OmegaConf

    share, coef_only = (OmegaConf.load(CONF / "algo" / f"{name}.yaml") for name in ("share", "coef_only"))

    def built(values: Any) -> Share:
        return Share(**{k: v for k, v in OmegaConf.to_container(values).items() if k not in ("defaults", "_target_")})

    assert built(share) == Share() and coef_only.defaults[0] == "share"
    assert built(OmegaConf.merge(share, coef_only)) == Share(phi=0)

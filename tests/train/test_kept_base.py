"""A base model that stays in memory for the next training is what it was before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import BaseModel
from sleepy.tensors import digest_of_tensors
from sleepy.train import device
from sleepy.train.algorithm import Algorithm
from sleepy.train.ewc import Ewc
from sleepy.train.olora import OLora
from sleepy.train.osf import Osf
from sleepy.train.settings import Train
from sleepy.train.sft import Sft
from sleepy.train.share import Share
from sleepy.train.sure import Sure
from sleepy.train.trainer import Past
from tests.train.fitting import EXAMPLES, fit


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    device.release_base()
    yield
    device.release_base()


def kept() -> Any:
    (model,) = device._kept.values()
    return model


def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is loaded from the disk from now on."""
    from transformers import AutoModelForCausalLM

    load, seen = AutoModelForCausalLM.from_pretrained, []

    def counted(folder: Any, **options: Any) -> Any:
        seen.append(str(folder))
        return load(folder, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    return seen


@pytest.mark.parametrize("algorithm", [Sft(), Ewc(), OLora(), Share(), Sure()], ids=lambda a: type(a).__name__)
def test_it_has_the_same_bits_hooks_and_modules(algorithm: Algorithm, shallow: BaseModel, tmp_path: Path) -> None:
    fresh = device.load_base(shallow, Train(), "cpu")
    first = fit(shallow, tmp_path / "first", algorithm, steps=1)
    fit(shallow, tmp_path / "second", algorithm, Past((tuple(EXAMPLES),), first.folder), steps=1)
    model = kept()
    assert digest_of_tensors(dict(model.state_dict())) == digest_of_tensors(dict(fresh.state_dict()))
    assert [(n, type(m)) for n, m in model.named_modules()] == [(n, type(m)) for n, m in fresh.named_modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not hasattr(model, "peft_config")


def test_it_is_loaded_once_and_the_adapters_are_those_of_fresh_ones(
    shallow: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = loads(monkeypatch)
    made = [fit(shallow, tmp_path / str(seed), seed=seed).digest for seed in (0, 1)]
    assert len(seen) == 1
    device.release_base()
    assert [fit(shallow, tmp_path / f"alone {seed}", seed=seed).digest for seed in (1,)] == made[1:]
    assert len(seen) == 2
    fit(shallow, tmp_path / "other", precision="fp32")  # another one than the one that is kept
    assert len(seen) == 3 and len(device._kept) == 1


def test_a_method_that_leaves_traces_gets_a_fresh_one(
    shallow: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = loads(monkeypatch)
    fit(shallow, tmp_path / "osf", Osf(rank=4), precision="fp32")
    fit(shallow, tmp_path / "checkpointing", gradient_checkpointing=True)
    assert not device._kept
    fit(shallow, tmp_path / "naive")
    assert len(seen) == 3

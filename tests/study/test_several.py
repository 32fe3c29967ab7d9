"""Streams that end with several adapters: which patterns, which adapters, and what goes together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.adapters.average import Average
from sleepy.adapters.combine import Combine
from sleepy.adapters.folder import read_lora, read_updates
from sleepy.artifacts import Adapter, BaseModel, Task, TaskSet
from sleepy.errors import ConfigError, DataError, ModelError
from sleepy.options import problems_of
from sleepy.pairs.builtin import load_pairs
from sleepy.routing.none import NoRouting
from sleepy.routing.oracle import Oracle
from sleepy.study.each import Each
from sleepy.study.given import Given, read
from sleepy.study.single import Single
from sleepy.track.mlflow import Mlflow
from sleepy.track.tracker import Tracker
from sleepy.train.ewc import Ewc
from sleepy.train.none import NoTraining
from sleepy.train.sft import Sft
from sleepy.train.share import Share
from tests.adapters.made import random_adapter, tiny_base, written


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("base") / "qwen2")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Mlflow(folder=str(tmp_path_factory.mktemp("store"))).open()


def checked(stream: Any, tracker: Tracker, **options: Any) -> None:
    chosen = {"algo": Sft(), "merge": Combine(), "routing": NoRouting(), **options}
    stream.check(chosen["algo"], chosen["merge"], chosen["routing"], tracker, load_pairs())


def test_each_takes_the_patterns_with_pairs_or_those_named(koan: Task) -> None:
    pairs = TaskSet("pairs", "1", tuple(replace(koan, id=str(i), pattern=f"p{i % 5}") for i in range(10)))
    assert Each()._names(pairs, 0) == ["p0", "p1", "p2", "p3", "p4"]
    assert Each(patterns=["p3", "p1"])._names(pairs, 0) == ["p1", "p3"]
    drawn = {tuple(Each(limit=2)._names(pairs, seed)) for seed in range(9)}
    assert all(len(set(names)) == 2 for names in drawn) and len(drawn) > 1
    assert Each(limit=2)._names(pairs, 3) == Each(limit=2)._names(pairs, 3)
    assert Each(limit=9).exam(pairs, pairs, 0) is pairs
    with pytest.raises(DataError, match=r"there is no q\. Choose from p0, p1"):
        Each(patterns=["q", "p1"]).exam(pairs, pairs, 0)


def test_several_adapters_want_a_merge_that_takes_them_or_a_routing(
    base: BaseModel, tracker: Tracker, tmp_path: Path
) -> None:
    for i, name in enumerate(("missing_deref", "index_not_usize")):
        random_adapter(base, tmp_path / name, seed=i)
    given, one = Given(adapters=[str(tmp_path)]), Given(adapters=[str(tmp_path / "missing_deref")])
    none = {"algo": NoTraining()}
    for stream, options in ((Each(), {}), (Each(limit=3), {}), (Each(patterns=["a", "b"]), {}), (given, none)):
        with pytest.raises(ConfigError, match=r"Combine them .merge=average.*or route between them"):
            checked(stream, tracker, **options)
        checked(stream, tracker, **options, merge=Average())
        checked(stream, tracker, **options, routing=Oracle())
    for stream, options in ((one, none), (Each(limit=1), {}), (Each(patterns=["a"]), {}), (Each(), none)):
        checked(stream, tracker, **options)
    checked(Single(), tracker)
    with pytest.raises(ConfigError, match="use it with stream=each or stream=given"):
        checked(Single(), tracker, routing=Oracle())


def test_given_adapters_are_not_trained(base: BaseModel, tracker: Tracker, tmp_path: Path) -> None:
    random_adapter(base, tmp_path / "missing_deref")
    given = Given(adapters=[str(tmp_path)])
    checked(given, tracker, algo=Share())
    for algo in (Sft(), Ewc()):
        with pytest.raises(ConfigError, match="stream=given does not train, so use algo=none"):
            checked(given, tracker, algo=algo)
    assert "Name PEFT folders or MLflow runs" in problems_of(Given(), "stream")[0]


def test_adapters_in_folders_are_read(base: BaseModel, tmp_path: Path) -> None:
    made = {name: random_adapter(base, tmp_path / name, seed=i) for i, name in enumerate("ab")}
    found = read({name: tmp_path / name for name in made}, base)
    assert {n: (a.digest, a.folder) for n, a in found.items()} == {n: (a.digest, a.folder) for n, a in made.items()}


def of_another_base(folder: Path, base: BaseModel) -> None:
    random_adapter(replace(base, name="other", digest="ab" * 32), folder)


def of_other_layers(folder: Path, base: BaseModel) -> None:
    from safetensors.torch import load_file

    random_adapter(base, folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    written(folder, {n: t for n, t in tensors.items() if "up_proj" not in n}, base)


def cut_off(folder: Path, base: BaseModel) -> None:
    path = random_adapter(base, folder).folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(("spoil", "words"), [
    (of_another_base, "was trained on other"),
    (of_other_layers, r"its layers are not those of .*/first \(for example model.layers.0.mlp.up_proj.weight\)"),
    (cut_off, "truncated or damaged"),
], ids=lambda value: getattr(value, "__name__", ""))  # fmt: skip
def test_an_adapter_that_does_not_belong_is_named(
    spoil: Callable[[Path, BaseModel], None], words: str, base: BaseModel, tmp_path: Path
) -> None:
    random_adapter(base, tmp_path / "first")
    spoil(tmp_path / "second", base)
    with pytest.raises(ModelError, match=words) as error:
        read({"first": tmp_path / "first", "second": tmp_path / "second"}, base)
    assert str(error.value).startswith(str(tmp_path / "second"))


def test_share_makes_each_of_them_anew_in_one_basis(base: BaseModel, tmp_path: Path) -> None:
    import torch

    from sleepy.train import _share_lora as files

    own = {name: random_adapter(base, tmp_path / name, seed=i) for i, name in enumerate(("a", "b", "c"))}
    whole, figures = Share(variance=1.0, p=4).together(own, base, tmp_path / "whole")
    assert figures["share/error"] < 1e-3 and figures["share/p"] == 4 and figures["share/k"] == 12
    for name, adapter in whole.items():
        for before, after in zip(read_updates(own[name], base), read_updates(adapter, base), strict=True):
            torch.testing.assert_close(
                after.scale * after.b @ after.a, before.scale * before.b @ before.a, rtol=1e-3, atol=1e-5
            )
    small, figures = Share(k=3, p=2).together(own, base, tmp_path / "small")
    shared = files.load(tmp_path / "small" / "memory")
    assert list(shared.tasks) == ["a", "b", "c"] and all(v.beta.shape[1] == 3 for v in shared.layers.values())
    for name, adapter in small.items():
        error = shared.error(name, read_lora(own[name].folder))
        assert figures[f"share/error/{name}"] == pytest.approx(error) and 0.1 < error < 1
        assert all(len(u.a) == 2 for u in read_updates(adapter, base))
        assert adapter.digest != own[name].digest
    assert figures["share/error"] == pytest.approx(sum(figures[f"share/error/{n}"] for n in own) / 3)
    assert (
        figures["share/bytes_shared"]
        < figures["share/bytes_adapters"]
        == 3 * 4 * sum(u.a.numel() + u.b.numel() for u in read_updates(own["a"], base))
    )


def test_an_algorithm_leaves_them_as_they_are(base: BaseModel, tmp_path: Path) -> None:
    own: dict[str, Adapter] = {"a": random_adapter(base, tmp_path / "a")}
    assert Sft().together(own, base, tmp_path / "together") == (own, {})
    assert not (tmp_path / "together").exists()

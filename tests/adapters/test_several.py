"""Several adapters made one: each way against the updates computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sleepy.adapters.average import Average
from sleepy.adapters.combine import Combine
from sleepy.adapters.folder import read_updates
from sleepy.adapters.weighted import Weighted
from sleepy.artifacts import Adapter, BaseModel
from sleepy.deliver.merge import merge as merged
from sleepy.errors import ConfigError
from sleepy.options import problems_of
from tests.adapters.made import random_adapter, tiny_base

HOWS = ("linear", "cat", "svd", "ties", "dare_ties")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return tiny_base(tmp_path_factory.mktemp("base") / "qwen2")


@pytest.fixture(scope="module")
def adapters(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    """Three of rank 4, one of them with rsLoRA's scale."""
    folder = tmp_path_factory.mktemp("adapters")
    return [random_adapter(base, folder / str(i), seed=i, rslora=i == 0) for i in range(3)]


def option(how: str, **fields: Any) -> Weighted:
    return Weighted(how=how, **({"density": 0.5} if "ties" in how else {}) | fields)


def updates_of(adapter: Adapter, base: BaseModel) -> dict[str, Any]:
    """dW by layer."""
    return {u.name: u.scale * (u.b @ u.a) for u in read_updates(adapter, base)}


def mean_of(adapters: list[Adapter], base: BaseModel) -> dict[str, Any]:
    found = [updates_of(adapter, base) for adapter in adapters]
    return {name: sum(f[name] for f in found) / len(found) for name in found[0]}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    import torch

    assert found.keys() == expected.keys()
    for name, update in found.items():
        torch.testing.assert_close(update, expected[name], rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n} {text}")


@pytest.mark.parametrize("merge", [option("cat"), Average()], ids=["cat", "average"])
def test_the_mean_is_the_mean_of_the_updates(
    merge: Combine, base: BaseModel, adapters: list[Adapter], tmp_path: Path
) -> None:
    assert_same(updates_of(merge.combine(adapters, base, tmp_path, 0), base), mean_of(adapters, base))


def test_linear_adds_both_factors_apart_as_peft_defines_it(
    base: BaseModel, adapters: list[Adapter], tmp_path: Path
) -> None:
    read = [read_updates(adapter, base) for adapter in adapters]
    expected = {}
    for same in zip(*read, strict=True):
        roots = [(u.scale / len(adapters)) ** 0.5 for u in same]
        b, a = (
            sum(r * u.b for r, u in zip(roots, same, strict=True)),
            sum(r * u.a for r, u in zip(roots, same, strict=True)),
        )
        expected[same[0].name] = b @ a
    assert_same(updates_of(option("linear").combine(adapters, base, tmp_path, 0), base), expected)


@pytest.mark.parametrize(("how", "rank"), [("svd", 0), ("svd", 3), ("average", 3)])
def test_a_truncated_mean_is_the_best_of_its_rank(
    how: str, rank: int, base: BaseModel, adapters: list[Adapter], tmp_path: Path
) -> None:
    import torch

    merge = Average(rank=rank) if how == "average" else option(how, rank=rank)
    kept, expected = rank or 4, {}
    for name, update in mean_of(adapters, base).items():
        u, s, v = torch.linalg.svd(update)
        expected[name] = u[:, :kept] * s[:kept] @ v[:kept]
    made = merge.combine(adapters, base, tmp_path, 0)
    assert_same(updates_of(made, base), expected)
    assert all(len(u.a) == kept for u in read_updates(made, base))


def test_the_whole_mean_takes_no_more_ranks_than_there_are(base: BaseModel, tmp_path: Path) -> None:
    same = random_adapter(base, tmp_path / "same")
    made = Average().combine([same, same, same], base, tmp_path / "made", 0)
    assert all(len(u.a) == 4 for u in read_updates(made, base))
    assert_same(updates_of(made, base), updates_of(same, base))


def test_ties_keeps_the_numbers_that_agree(base: BaseModel, tmp_path: Path) -> None:
    import torch

    one = random_adapter(base, tmp_path / "one")
    made = option("ties").combine([one, one], base, tmp_path / "made", 0)
    for before, after in zip(read_updates(one, base), read_updates(made, base), strict=True):
        for own, found in ((before.a, after.a), (before.b, after.b)):
            kept = found != 0  # of each matrix the larger half, unchanged but for the scale
            assert kept.float().mean() == pytest.approx(0.5, abs=0.01)
            assert own[kept].abs().min() >= own[~kept].abs().max()
            ratio = found[kept] / own[kept]
            torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=1e-6)


def test_the_same_seed_drops_the_same(base: BaseModel, adapters: list[Adapter], tmp_path: Path) -> None:
    made = [option("dare_ties").combine(adapters, base, tmp_path / str(i), s).digest for i, s in enumerate((1, 1, 2))]
    assert made[0] == made[1] != made[2]


def test_the_result_is_an_ordinary_adapter(base: BaseModel, adapters: list[Adapter], tmp_path: Path) -> None:
    made = option("linear").combine(adapters, base, tmp_path / "made", 0)
    assert (made.seconds, made.tokens, made.losses) == (3.0, 300, ())
    assert (merged(made, base, tmp_path / "merged") / "model.safetensors").is_file()


@pytest.mark.parametrize("merge", [Combine(), Average(rank=1), *map(option, HOWS)])
def test_a_single_adapter_is_left_as_it_is(
    merge: Combine, base: BaseModel, adapters: list[Adapter], tmp_path: Path
) -> None:
    assert merge.combine(adapters[:1], base, tmp_path / "made", 0) is adapters[0]
    assert not (tmp_path / "made").exists()


def test_different_ranks_are_for_cat_svd_and_average(base: BaseModel, adapters: list[Adapter], tmp_path: Path) -> None:
    mixed = [adapters[0], random_adapter(base, tmp_path / "two", rank=2)]
    for merge in (option("cat"), Average()):
        assert_same(updates_of(merge.combine(mixed, base, tmp_path / "made", 0), base), mean_of(mixed, base))
    for how in ("linear", "ties", "dare_ties"):
        with pytest.raises(
            ConfigError, match=f"merge={how} needs adapters of equal rank.* 2, 4. Use merge=average, cat or svd"
        ):
            option(how).combine(mixed, base, tmp_path / "made", 0)


def test_the_default_takes_one(base: BaseModel, adapters: list[Adapter], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there are 3\. Use merge=average"):
        Combine().combine(adapters, base, tmp_path, 0)


def test_an_option_that_would_do_nothing_is_refused() -> None:
    assert not any(problems_of(option(how), "merge") for how in HOWS)
    assert "merge.density must be above 0, not 0" in problems_of(Weighted(how="ties"), "merge")[0]
    assert (
        "merge.density must be 0, since merge=linear drops nothing, not 0.5"
        in problems_of(Weighted(how="linear", density=0.5), "merge")[0]
    )
    assert "merge=cat cannot choose its rank" in problems_of(Weighted(how="cat", rank=2), "merge")[0]

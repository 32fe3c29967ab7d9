"""Share's mathematics, against what dense linear algebra says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepy.adapters.factors import Pair, truncate
from sleepy.train._share_lora import load, save
from sleepy.train.shared_basis import Layer, Rule, Shared, build, build_layer, directions, project

N, D = 24, 18
seeds = st.integers(0, 2**31 - 1)
ranks = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def pair(generator: torch.Generator, r: int, n: int = N, d: int = D) -> Pair:
    return torch.randn(n, r, generator=generator), torch.randn(r, d, generator=generator)


def pairs(seed: int, sizes: list[int], n: int = N, d: int = D) -> list[Pair]:
    generator = torch.Generator().manual_seed(seed)
    return [pair(generator, r, n, d) for r in sizes]


def dense(one: Pair) -> torch.Tensor:
    return one[0].double() @ one[1].double()


def far(one: Pair, other: Pair) -> float:
    """Relative distance of two adapters of one layer."""
    return float((dense(one) - dense(other)).norm() / dense(other).norm())


def is_orthonormal(basis: torch.Tensor) -> bool:
    return bool((basis.T @ basis - torch.eye(basis.shape[1])).abs().max() < 1e-5)


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 6), ranks, st.booleans())
def test_adapters_in_a_subspace_of_k_dimensions_come_back(seed: int, k: int, sizes: list[int], centre: bool) -> None:
    (left, right) = pairs(seed, [k])[0]
    inside = [(left @ b, a @ right) for b, a in pairs(seed + 1, sizes, k, k)]
    for rule in (Rule(k=k, centre=centre), Rule(variance=1.0, centre=centre)):
        layer = build_layer(inside, rule, max(sizes))
        assert is_orthonormal(layer.beta) and is_orthonormal(layer.alpha)
        assert max(layer.beta.shape[1], layer.alpha.shape[1]) <= k + centre
        assert all(far(layer.pair(i), own) < 1e-3 for i, own in enumerate(inside))


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 8))
def test_one_adapter_with_full_k_is_itself(seed: int, r: int) -> None:
    (own,) = pairs(seed, [r])
    assert far(build_layer([own], Rule(k=r), r).pair(0), own) < 1e-5
    assert far(build_layer([own], Rule(variance=1.0), r).pair(0), own) < 1e-5
    shared = build({"one": {"layer": own}}, Rule(variance=1.0), p=r)
    assert shared.error("one", {"layer": own}) < 1e-5


@settings(deadline=None, max_examples=30)
@given(seeds, ranks, st.integers(1, 30), st.sampled_from([(60, 7), (7, 60)]))
def test_the_basis_is_that_of_the_svd(seed: int, sizes: list[int], k: int, shape: tuple[int, int]) -> None:
    stack = torch.cat([b for b, _ in pairs(seed, sizes, shape[0])], 1)  # narrower than high, or wider
    s = torch.linalg.svdvals(stack.double())
    basis = directions(stack, Rule(k=k))
    kept = min(k, len(s))
    assert basis.shape == (len(stack), kept) and is_orthonormal(basis)
    lost = (stack - basis @ (basis.T @ stack)).norm()
    assert float(lost) == pytest.approx(float(s[kept:].norm()), abs=1e-4)  # no other k directions lose less
    for variance in (0.3, 0.6, 0.95):
        explained = (s**2).cumsum(0) / (s**2).sum()
        fewest = int((explained < variance).sum()) + 1
        assert directions(stack, Rule(variance=variance)).shape[1] == fewest
        assert directions(stack, Rule(variance=variance), least=4).shape[1] == min(max(fewest, 4), len(s))


@settings(deadline=None, max_examples=30)
@given(seeds, ranks, st.integers(1, 6), st.integers(1, 6))
def test_coefficients_are_the_best_of_rank_p(seed: int, sizes: list[int], k: int, p: int) -> None:
    adapters = pairs(seed, sizes)
    layer = build_layer(adapters, Rule(k=k), p)
    assert layer.eps_beta.shape == (len(sizes), layer.beta.shape[1], p)
    for i, own in enumerate(adapters):
        beta, alpha = layer.beta.double(), layer.alpha.double()
        u, s, vh = torch.linalg.svd(beta @ (beta.T @ dense(own) @ alpha) @ alpha.T, full_matrices=False)
        best = u[:, :p] * s[:p] @ vh[:p]
        assert (dense(layer.pair(i)) - best).norm() < 1e-4 * (1 + dense(own).norm())


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 6))
def test_truncation_is_eckart_and_youngs(seed: int, a: int, b: int, r: int, p: int) -> None:
    (left, _), (right, _) = pairs(seed, [r], a)[0], pairs(seed + 1, [r], b)[0]
    one, other = truncate(left, right, p)
    s = torch.linalg.svdvals((left @ right.T).double())
    assert one.shape == (a, p) and other.shape == (b, p)
    assert float((left @ right.T - one @ other.T).norm()) == pytest.approx(float(s[p:].norm()), abs=1e-4)


@pytest.mark.parametrize("least", [1.0, 1e-3, 1e-5, 0.0])
def test_a_steep_spectrum_leaves_the_basis_orthonormal(least: float) -> None:
    left, right = torch.linalg.qr(torch.randn(60, 8)).Q, torch.linalg.qr(torch.randn(12, 8)).Q
    stack = left * torch.linspace(0, 1, 8).mul(torch.tensor(max(least, 1e-30)).log()).exp() @ right.T
    basis = directions(stack * bool(least), Rule(variance=1.0))
    assert is_orthonormal(basis) and basis.shape[1] == (8 if least else 1)


def model(seed: int, sizes: list[int]) -> dict[str, dict[str, Pair]]:
    """Adapters of two layers, of these ranks."""
    one, two = pairs(seed, sizes), pairs(seed + 1, sizes, 9, 31)
    return {f"t{i}": {"one": one[i], "two": two[i]} for i in range(len(sizes))}


@settings(deadline=None, max_examples=30)
@given(seeds, ranks, st.floats(0.2, 0.9))
def test_error_and_average_are_those_of_dense_matrices(seed: int, sizes: list[int], variance: float) -> None:
    adapters = model(seed, sizes)
    shared = build(adapters, Rule(variance=variance))
    assert shared.p == max(sizes)
    for task, own in adapters.items():
        back = shared.adapter(task)
        lost = sum(float((dense(back[n]) - dense(own[n])).norm() ** 2) for n in own) ** 0.5
        whole = sum(float(dense(own[n]).norm() ** 2) for n in own) ** 0.5
        assert shared.error(task, own) == pytest.approx(lost / whole, abs=1e-5)
    mean = shared.average()
    for name, one in mean.items():
        wanted = sum(dense(shared.adapter(task)[name]) for task in adapters) / len(adapters)
        assert (dense(one) - wanted).norm() < 1e-4 * (1 + wanted.norm())
    assert all(a.shape[0] == 1 for _, a in shared.average(rank=1).values())


def test_the_average_does_not_depend_on_the_frame_of_coefficients() -> None:
    shared = build(model(3, [4, 4]), Rule(variance=0.9), p=2)
    sign = torch.tensor([1.0, -1.0])[:, None, None]  # the second task's coefficients, both flipped: the same adapter
    flipped = Shared(
        {n: replace(x, eps_beta=x.eps_beta * sign, eps_alpha=x.eps_alpha * sign) for n, x in shared.layers.items()},
        shared.tasks,
    )
    for name, one in shared.average().items():
        assert far(flipped.average()[name], one) < 1e-5


def test_centring_keeps_the_mean() -> None:
    (left, right), (mean_left, mean_right) = pairs(5, [2, 1])
    spread = [(left @ b + mean_left, a @ right + mean_right) for b, a in pairs(6, [3] * 4, 2, 2)]
    centred = build_layer(spread, Rule(k=2, centre=True), 3)
    assert centred.beta.shape == (N, 3) and is_orthonormal(centred.beta) and is_orthonormal(centred.alpha)
    assert all(far(centred.pair(i), own) < 1e-4 for i, own in enumerate(spread))
    bare = project(directions(spread[0][0], Rule(k=2)), centred.alpha, spread, 3)  # no room for the mean: a loss
    assert far(bare.pair(1), spread[1]) > 0.05


@settings(deadline=None, max_examples=30)
@given(seeds, ranks, st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from([0, 3, 7]), st.booleans())
def test_growing_keeps_orthonormality_and_k(seed: int, old: list[int], new: list[int], k: int, centre: bool) -> None:
    rule = Rule(k=k, centre=centre)
    shared = build(model(seed, old), rule)
    for i, adapter in enumerate(model(seed + 9, new).values()):
        before = shared
        shared = shared.grown(f"new{i}", adapter, rule)
        for name, layer in shared.layers.items():
            for basis, was in ((layer.beta, before.layers[name].beta), (layer.alpha, before.layers[name].alpha)):
                assert is_orthonormal(basis)
                if k:
                    assert basis.shape[1] <= k + centre
                else:
                    rank = len(was) if len(shared.tasks) * shared.p >= len(was) else len(shared.tasks) * shared.p
                    assert basis.shape[1] >= min(was.shape[1], rank)
            assert layer.eps_beta.shape == (len(shared.tasks), layer.beta.shape[1], shared.p)
    assert list(shared.tasks) == [f"t{i}" for i in range(len(old))] + [f"new{i}" for i in range(len(new))]


@settings(deadline=None, max_examples=30)
@given(seeds, ranks)
def test_growing_with_room_for_all_loses_nothing(seed: int, sizes: list[int]) -> None:
    rule = Rule(variance=1.0)
    shared = build(model(seed, sizes), rule, p=2)
    new = model(seed + 9, [2])["t0"]
    grown = shared.grown("new", new, rule)
    assert grown.error("new", new) < 1e-4
    for task in shared.tasks:
        assert grown.error(task, shared.adapter(task)) < 1e-4


def test_joining_leaves_the_bases_to_the_bit() -> None:
    shared = build(model(1, [3, 2]), Rule(variance=0.8), p=2)
    inside = shared.average(rank=2)
    joined = shared.joined("new", inside)
    for name, layer in joined.layers.items():
        assert layer.beta is shared.layers[name].beta and layer.alpha is shared.layers[name].alpha
        assert torch.equal(layer.eps_beta[:2], shared.layers[name].eps_beta) and len(layer.eps_alpha) == 3
    assert joined.error("new", inside) < 1e-5


def test_storage_is_what_lies_on_disk(tmp_path: Path) -> None:
    adapters = model(2, [4, 6, 5])
    shared = build(adapters, Rule(k=3), p=2)
    storage = shared.storage()
    assert storage.adapters == 4 * (4 + 6 + 5) * (N + D + 9 + 31)
    assert storage.one_more == 4 * 2 * 2 * (3 + 3)
    assert storage.shared == 4 * 3 * (N + D + 9 + 31) + 3 * storage.one_more
    assert storage.ratio == storage.adapters / storage.shared
    save(shared, tmp_path)
    header = int.from_bytes((tmp_path / "share.safetensors").read_bytes()[:8], "little")
    assert (tmp_path / "share.safetensors").stat().st_size == 8 + header + storage.shared
    again = load(tmp_path)
    assert again.tasks == shared.tasks == {f"t{i}": r * (N + D + 9 + 31) for i, r in enumerate((4, 6, 5))}
    for name, layer in shared.layers.items():
        for field in Layer.__dataclass_fields__:
            assert torch.equal(getattr(again.layers[name], field), getattr(layer, field))

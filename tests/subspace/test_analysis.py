"""The figures, against planted subspaces, chance, a planted mean, and dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from sleepy.subspace.analysis import Measured, Plan, by_others, fewest, gram, measure, null
from sleepy.subspace.findings import make_plan

T, R, N, D = 8, 3, 60, 40
Pairs = list[tuple[np.ndarray, np.ndarray]]
seeds = st.integers(0, 2**31 - 1)


def gaussian(seed: int, n: int = N, d: int = D) -> Pairs:
    """T adapters of rank R."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((n, R)), rng.standard_normal((R, d))) for _ in range(T)]


def plan_of(seed: int, variance: float = 0.6, folds: int = 4) -> Plan:
    return make_plan(T, R, variance, folds, 2, {"families": {"x": (0, 1), "y": (2, 3, 4)}}, _rng(seed))


def figures(pairs: Pairs, plan: Plan, draws: int = 0) -> tuple[Measured, list[Measured]]:
    grams = {"out": gram([b for b, _ in pairs], R), "in": gram([a.T for _, a in pairs], R)}
    widths: dict[tuple[object, ...], int] = {}
    own = measure(grams, plan, widths)
    sizes, rng = {"out": pairs[0][0].shape[0], "in": pairs[0][1].shape[1]}, _rng(1)
    drawn = [{side: null(grams[side], sizes[side], rng) for side in grams} for _ in range(draws)]
    return own, [measure(one, plan.part(i), widths) for i, one in enumerate(drawn)]


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 5))
def test_a_planted_subspace_is_found(seed: int, k: int) -> None:
    rng = _rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((n, k)))[0] for n in (N, D))
    pairs = [(left @ rng.standard_normal((k, R)), rng.standard_normal((R, k)) @ right.T) for _ in range(T)]
    own, (chance,) = figures(pairs, plan_of(seed, variance=0.99), 1)
    for side in ("out", "in"):
        assert own.curves[f"{side}/explained"][k - 1] == pytest.approx(1)
        assert own.numbers[f"{side}/k/99"] <= k < chance.numbers[f"{side}/k/99"]
        if own.numbers[f"{side}/k/99"] == k:  # else 99 % of the variance leave out one of the k
            assert own.numbers[f"{side}/held_out/99"] == pytest.approx(0, abs=0.02)
    assert chance.numbers["out/held_out/99"] > 0.8 and chance.numbers["out/angle/halves"] > 50


def test_equal_directions_give_angles_and_losses_of_zero() -> None:
    rng = _rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, R)))[0] for n in (N, D))
    turns = [np.linalg.qr(rng.standard_normal((R, R)))[0] for _ in range(2 * T)]
    own, _ = figures([(left @ a, b @ right.T) for a, b in zip(turns[:T], turns[T:], strict=True)], plan_of(0, 0.99))
    for side in ("out", "in"):
        assert own.numbers[f"{side}/k/99"] == R
        for name in ("angle/halves", "angle/families"):
            assert own.numbers[f"{side}/{name}"] == pytest.approx(0, abs=1e-4)
        assert own.numbers[f"{side}/held_out/99"] == pytest.approx(0, abs=1e-9)
    assert own.numbers["update/held_out/99"] == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_gaussian_adapters_look_like_the_null(seed: int) -> None:
    own, chance = figures(gaussian(seed, 200, 150), plan_of(seed), 3)
    for name, value in own.numbers.items():
        expected = np.mean([one.numbers[name] for one in chance])
        room = {"k": 1.01, "angle": 5}.get(name.split("/")[1].split("_")[0], 0.05)  # directions, degrees, shares
        assert value == pytest.approx(expected, abs=room), name


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from([0.01, 0.1]))
def test_a_mean_with_little_noise_is_the_mean(seed: int, noise: float) -> None:
    ((b, a), *_) = gaussian(seed)
    pairs = [(b + noise * db, a + noise * da) for db, da in gaussian(seed + 1)]
    own, _ = figures(pairs, plan_of(seed))
    # |dW|^2 is 1 + 2 noise^2 of the mean's, and the others' mean has a seventh of that noise
    for name in ("out/mean", "in/mean", "update/mean"):
        assert 1 - 4 * noise**2 < own.numbers[name] <= 1, name
    assert own.numbers["update/combination"] >= own.numbers["update/mean"]
    assert own.numbers["out/k/90"] <= R < own.numbers["out/k_without_mean/90"]


def test_what_is_equal_leaves_nothing_without_its_mean() -> None:
    own, _ = figures(gaussian(0)[:1] * T, plan_of(0))
    assert own.numbers["update/mean"] == pytest.approx(1) and own.numbers["out/mean"] == pytest.approx(1)
    assert own.numbers["out/k_without_mean/90"] == 0 and own.numbers["update/held_out/90"] < 0.6


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from([(60, 40), (17, 40)]))  # 24 columns: fewer than numbers in each, or more
def test_the_small_matrices_say_what_the_whole_ones_say(seed: int, shape: tuple[int, int]) -> None:
    pairs, plan = gaussian(seed, *shape), plan_of(seed, 0.7)
    own, _ = figures(pairs, plan)
    stacks = {"out": [b for b, _ in pairs], "in": [a.T for _, a in pairs]}
    updates = [b @ a for b, a in pairs]
    lost: dict[str, list[float]] = {"out": [], "in": [], "update": []}
    for side, columns in stacks.items():
        squares = np.linalg.svd(np.hstack(columns), compute_uv=False) ** 2
        assert own.numbers[f"{side}/k/70"] == fewest(squares, 0.7)
        np.testing.assert_allclose(
            own.curves[f"{side}/explained"][: len(squares)], squares.cumsum() / squares.sum(), atol=1e-9
        )
        rest = np.hstack([c - sum(columns) / T for c in columns])
        assert own.numbers[f"{side}/mean"] == pytest.approx(1 - (rest**2).sum() / squares.sum())
        halves = [
            np.degrees(subspace_angles(*(_basis([columns[i] for i in half]) for half in both))).mean()
            for both in plan.halves
        ]
        assert own.numbers[f"{side}/angle/halves"] == pytest.approx(np.mean(halves), abs=1e-4)
    for fold in plan.folds:
        bases = {s: _basis([c for i, c in enumerate(columns) if i not in fold]) for s, columns in stacks.items()}
        for i in fold:
            for side, columns in stacks.items():
                lost[side].append(1 - _size(bases[side].T @ columns[i]) / _size(columns[i]))
            lost["update"].append(1 - _size(bases["out"].T @ updates[i] @ bases["in"]) / _size(updates[i]))
    for side, shares in lost.items():
        assert own.numbers[f"{side}/held_out/70"] == pytest.approx(np.mean(shares), abs=1e-9)
    means, mixes = [], []
    for i, update in enumerate(updates):
        others = np.stack([u.ravel() for j, u in enumerate(updates) if j != i], 1)
        mean = others.mean(1)
        means.append((mean @ update.ravel()) ** 2 / (_size(mean) * _size(update)))
        best = others @ np.linalg.lstsq(others, update.ravel(), rcond=None)[0]
        mixes.append(_size(best) / _size(update))
    assert own.numbers["update/mean"] == pytest.approx(np.mean(means), abs=1e-9)
    assert own.numbers["update/combination"] == pytest.approx(np.mean(mixes), abs=1e-9)


def test_a_mean_of_nothing_has_a_share_of_nothing() -> None:
    (b, a), (other, _), *_ = gaussian(0)
    out, inn = gram([b, other, -other], R), gram([a.T] * 3, R)  # the mean of the last two is zero
    assert 0 < by_others(out, inn, R)[0] < 1


def test_the_null_keeps_lengths_and_its_subspaces_their_size() -> None:
    pairs = gaussian(0)
    own = gram([b for b, _ in pairs], R)
    drawn = null(own, N, _rng(0))
    np.testing.assert_allclose(drawn.diagonal(), own.diagonal())
    assert abs(drawn - own).max() > 1
    one = np.random.default_rng(0).standard_normal((N, 1))
    narrow = [(one + 0.01 * b, a) for b, a in pairs]  # a single direction on the out side
    measured, (chance,) = figures(narrow, plan_of(0), 1)
    assert measured.numbers["out/k/60"] == 1 < chance.numbers["out/k/60"]
    assert chance.numbers["out/held_out/60"] == pytest.approx(1 - 1 / N, abs=0.04)  # one direction of N, not twelve


def test_smaller_ranks_are_filled_up() -> None:
    pairs = gaussian(0)
    cut = [(b[:, :2], a[:2]) if i % 2 else (b, a) for i, (b, a) in enumerate(pairs)]
    out, inn = gram([b for b, _ in cut], R), gram([a.T for _, a in cut], R)
    assert len(out) == T * R and np.linalg.matrix_rank(out) == T * R - T // 2
    filled = [(np.pad(b, ((0, 0), (0, R - len(a)))), np.pad(a, ((0, R - len(a)), (0, 0)))) for b, a in cut]
    np.testing.assert_allclose(out, gram([b for b, _ in filled], R))
    assert by_others(out, inn, R)[1] <= 1
    assert 0 < figures(filled, plan_of(0), 1)[1][0].numbers["out/held_out/60"] <= 1


def test_a_plan_holds_out_each_once_and_parts_all() -> None:
    plan = plan_of(3)
    assert sorted(i for fold in plan.folds for i in fold) == list(range(T)) and len(plan.folds) == 4
    assert all(sorted(a + b) == list(range(T)) and len(a) == T // 2 for a, b in plan.halves) and len(plan.halves) == 2
    assert len(plan_of(3, folds=0).folds) == T == len(plan_of(3, folds=99).folds)
    assert plan == plan_of(3) != plan_of(4)


def _basis(columns: list[np.ndarray]) -> np.ndarray:
    u, s, _ = np.linalg.svd(np.hstack(columns), full_matrices=False)
    return u[:, : fewest(s**2, 0.7)]


def _size(array: np.ndarray) -> float:
    return float((array**2).sum())


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)

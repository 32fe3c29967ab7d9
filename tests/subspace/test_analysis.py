"""The figures, against planted subspaces, chance, a planted mean, and dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from sleepy.subspace.analysis import Sets, by_others, draw_sets, fewest, gram, measure, null

T, R, N, D = 8, 3, 60, 40
Pairs = list[tuple[np.ndarray, np.ndarray]]
seeds = st.integers(0, 2**31 - 1)


def gaussian(seed: int, n: int = N, d: int = D) -> Pairs:
    """T adapters of rank R."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((n, R)), rng.standard_normal((R, d))) for _ in range(T)]


def sets_of(seed: int, folds: int = 4) -> Sets:
    return draw_sets(T, folds, 2, {"families": {"x": (0, 1), "y": (2, 3, 4)}}, _rng(seed))


def stacks_of(pairs: Pairs, draws: int) -> dict[str, np.ndarray]:
    own, rng = {"out": gram([b for b, _ in pairs], R), "in": gram([a.T for _, a in pairs], R)}, _rng(1)
    sizes = {"out": len(pairs[0][0]), "in": len(pairs[0][1].T)}
    return {side: np.stack([g, *(null(g, sizes[side], rng) for _ in range(draws))]) for side, g in own.items()}


def figures(pairs: Pairs, sets: Sets, variance: float = 0.6) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The adapters' own numbers and curves."""
    numbers, curves = measure(stacks_of(pairs, 0), R, sets, variance)
    return {name: x[0] for name, x in numbers.items()}, {name: x[0] for name, x in curves.items()}


def beside_chance(pairs: Pairs, sets: Sets, draws: int, variance: float = 0.6) -> tuple[dict, dict]:
    """The adapters' own numbers, and the null's mean ones."""
    numbers, _ = measure(stacks_of(pairs, draws), R, sets, variance)
    return {name: x[0] for name, x in numbers.items()}, {name: x[1:].mean() for name, x in numbers.items()}


@settings(deadline=None, max_examples=20)
@given(seeds, st.integers(1, 5))
def test_a_planted_subspace_is_found(seed: int, k: int) -> None:
    rng = _rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((n, k)))[0] for n in (N, D))
    pairs = [(left @ rng.standard_normal((k, R)), rng.standard_normal((R, k)) @ right.T) for _ in range(T)]
    own, chance = beside_chance(pairs, sets_of(seed), 1, 0.99)
    _, curves = figures(pairs, sets_of(seed))
    for side in ("out", "in"):
        assert curves[f"{side}/explained"][k - 1] == pytest.approx(1)
        assert own[f"{side}/k/99"] <= k < chance[f"{side}/k/99"]
        if own[f"{side}/k/99"] == k:  # else 99 % of the variance leave out one of the k
            assert own[f"{side}/held_out/99"] == pytest.approx(0, abs=0.02)
    assert chance["out/held_out/99"] > 0.8 and chance["out/angle/halves"] > 50


def test_equal_directions_give_angles_and_losses_of_zero() -> None:
    rng = _rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, R)))[0] for n in (N, D))
    turns = [np.linalg.qr(rng.standard_normal((R, R)))[0] for _ in range(2 * T)]
    own, _ = figures([(left @ a, b @ right.T) for a, b in zip(turns[:T], turns[T:], strict=True)], sets_of(0), 0.99)
    for side in ("out", "in"):
        assert own[f"{side}/k/99"] == R
        for name in ("angle/halves", "angle/families"):
            assert own[f"{side}/{name}"] == pytest.approx(0, abs=1e-4)
        assert own[f"{side}/held_out/99"] == pytest.approx(0, abs=1e-9)
    assert own["update/held_out/99"] == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_gaussian_adapters_look_like_the_null(seed: int) -> None:
    own, chance = beside_chance(gaussian(seed, 200, 150), sets_of(seed), 3)
    for name, value in own.items():
        room = {"k": 1.01, "angle": 5}.get(name.split("/")[1].split("_")[0], 0.05)  # directions, degrees, shares
        assert value == pytest.approx(chance[name], abs=room), name


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from([0.01, 0.1]))
def test_a_mean_with_little_noise_is_the_mean(seed: int, noise: float) -> None:
    ((b, a), *_) = gaussian(seed)
    pairs = [(b + noise * db, a + noise * da) for db, da in gaussian(seed + 1)]
    own, _ = figures(pairs, sets_of(seed))
    # |dW|^2 is 1 + 2 noise^2 of the mean's, and the others' mean has a seventh of that noise
    for name in ("out/mean", "in/mean", "update/mean"):
        assert 1 - 4 * noise**2 < own[name] <= 1, name
    assert own["update/combination"] >= own["update/mean"]
    assert own["out/k/90"] <= R < own["out/k_without_mean/90"]


def test_what_is_equal_leaves_nothing_without_its_mean() -> None:
    own, _ = figures(gaussian(0)[:1] * T, sets_of(0))
    assert own["update/mean"] == pytest.approx(1) and own["out/mean"] == pytest.approx(1)
    assert own["out/k_without_mean/90"] == 0 and own["update/held_out/90"] < 0.6


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from([(60, 40), (17, 40)]))  # 24 columns: fewer than numbers in each, or more
def test_the_small_matrices_say_what_the_whole_ones_say(seed: int, shape: tuple[int, int]) -> None:
    pairs, sets = gaussian(seed, *shape), sets_of(seed)
    own, curves = figures(pairs, sets, 0.7)
    stacks = {"out": [b for b, _ in pairs], "in": [a.T for _, a in pairs]}
    updates = [b @ a for b, a in pairs]
    lost: dict[str, list[float]] = {"out": [], "in": [], "update": []}
    for side, columns in stacks.items():
        squares = np.linalg.svd(np.hstack(columns), compute_uv=False) ** 2
        assert own[f"{side}/k/70"] == fewest(squares, 0.7)
        np.testing.assert_allclose(
            curves[f"{side}/explained"][: len(squares)], squares.cumsum() / squares.sum(), atol=1e-9
        )
        rest = np.hstack([c - sum(columns) / T for c in columns])
        assert own[f"{side}/mean"] == pytest.approx(1 - (rest**2).sum() / squares.sum())
        halves = [
            np.degrees(subspace_angles(*(_basis([columns[i] for i in half]) for half in both))).mean()
            for both in sets.halves
        ]
        assert own[f"{side}/angle/halves"] == pytest.approx(np.mean(halves), abs=1e-4)
    for fold in sets.folds:
        bases = {s: _basis([c for i, c in enumerate(columns) if i not in fold]) for s, columns in stacks.items()}
        for i in fold:
            for side, columns in stacks.items():
                lost[side].append(1 - _size(bases[side].T @ columns[i]) / _size(columns[i]))
            lost["update"].append(1 - _size(bases["out"].T @ updates[i] @ bases["in"]) / _size(updates[i]))
    for side, shares in lost.items():
        assert own[f"{side}/held_out/70"] == pytest.approx(np.mean(shares), abs=1e-9)
    means, mixes = [], []
    for i, update in enumerate(updates):
        others = np.stack([u.ravel() for j, u in enumerate(updates) if j != i], 1)
        mean = others.mean(1)
        means.append((mean @ update.ravel()) ** 2 / (_size(mean) * _size(update)))
        best = others @ np.linalg.lstsq(others, update.ravel(), rcond=None)[0]
        mixes.append(_size(best) / _size(update))
    assert own["update/mean"] == pytest.approx(np.mean(means), abs=1e-9)
    assert own["update/combination"] == pytest.approx(np.mean(mixes), abs=1e-9)


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
    own, chance = beside_chance(narrow, sets_of(0), 1)
    assert own["out/k/60"] == 1 < chance["out/k/60"]
    assert chance["out/held_out/60"] == pytest.approx(1 - 1 / N, abs=0.04)  # one direction of N, not twelve


def test_smaller_ranks_are_filled_up() -> None:
    pairs = gaussian(0)
    cut = [(b[:, :2], a[:2]) if i % 2 else (b, a) for i, (b, a) in enumerate(pairs)]
    out, inn = gram([b for b, _ in cut], R), gram([a.T for _, a in cut], R)
    assert len(out) == T * R and np.linalg.matrix_rank(out) == T * R - T // 2
    filled = [(np.pad(b, ((0, 0), (0, R - len(a)))), np.pad(a, ((0, R - len(a)), (0, 0)))) for b, a in cut]
    np.testing.assert_allclose(out, gram([b for b, _ in filled], R))
    assert by_others(out, inn, R)[1] <= 1
    assert 0 < beside_chance(filled, sets_of(0), 1)[1]["out/held_out/60"] <= 1


def test_each_is_held_out_once_and_halves_hold_all() -> None:
    sets = sets_of(3)
    assert sorted(i for fold in sets.folds for i in fold) == list(range(T)) and len(sets.folds) == 4
    assert all(sorted(a + b) == list(range(T)) and len(a) == T // 2 for a, b in sets.halves) and len(sets.halves) == 2
    assert len(sets_of(3, folds=0).folds) == T == len(sets_of(3, folds=99).folds)
    assert sets == sets_of(3) != sets_of(4)


def _basis(columns: list[np.ndarray]) -> np.ndarray:
    u, s, _ = np.linalg.svd(np.hstack(columns), full_matrices=False)
    return u[:, : fewest(s**2, 0.7)]


def _size(array: np.ndarray) -> float:
    return float((array**2).sum())


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)

"""One layer's adapters measured: their spectrum, their halves, what is held out, their mean; and chance beside them.

A side's columns are those of all B (out) or of all A^T (in), r per adapter, one adapter after the other. Everything is
computed from the Gram matrix of these columns (t r x t r), which has all lengths and angles among them: no matrix of
the layer's own size is made. Functions take a stack of Gram matrices, that of the adapters first, then those of random
columns (the null), and return arrays whose first axis is the stack's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SIDES = ("out", "in")
LEVELS = (0.5, 0.6, 0.8, 0.9)  # shares of the variance
_NOISE = 1e-12  # of the largest eigenvalue: float32's rounding, squared


@dataclass(frozen=True)
class Sets:
    """Which adapters are compared with which; adapters go by their number.

    folds: sets that are held out, one after the other. halves: random divisions into two. groups: "families" or
    "seeds" -> name -> members.
    """

    folds: tuple[tuple[int, ...], ...]
    halves: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    groups: Mapping[str, Mapping[str, tuple[int, ...]]]

    def pairs(self, grouping: str) -> list[tuple[str, str]]:
        """Every two of a grouping's groups."""
        names = list(self.groups[grouping])
        return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def draw_sets(t: int, folds: int, splits: int, groups: Mapping[str, Mapping[str, tuple[int, ...]]], rng: Any) -> Sets:
    """For t adapters: who is held out with whom, and the halves, drawn at random. `folds` 0 holds out one at a time."""
    order, count = rng.permutation(t).tolist(), min(folds or t, t)
    held_out = tuple(tuple(sorted(order[i::count])) for i in range(count))
    orders = [rng.permutation(t).tolist() for _ in range(splits)]
    halves = tuple((tuple(sorted(order[: t // 2])), tuple(sorted(order[t // 2 :]))) for order in orders)
    return Sets(held_out, halves, groups)


def percent(share: float) -> str:
    """0.6 as "60": the last part of a number's name."""
    return f"{100 * share:g}"


def gram(columns: Sequence[Any], rank: int) -> Any:
    """Gram matrix of the columns of t arrays (n x r, float32), each filled up to `rank` columns with zeros."""
    import numpy as np

    filled = [np.pad(c, ((0, 0), (0, rank - c.shape[1]))) for c in columns]
    stack = np.concatenate(filled, 1).astype(np.float64)
    return stack.T @ stack


def null(own: Any, n: int, rng: Any) -> Any:
    """Gram matrix of Gaussian columns of n numbers each, as long as those that have the Gram matrix `own`."""
    import numpy as np

    drawn = rng.standard_normal((n, len(own)))
    drawn *= np.sqrt(own.diagonal()) / np.sqrt(np.einsum("ij,ij->j", drawn, drawn))
    return drawn.T @ drawn


def measure(stacks: Mapping[str, Any], rank: int, sets: Sets, variance: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """All numbers (name -> array) and curves (name -> array of a curve per Gram matrix) of a layer.

    stacks: side -> Gram matrices. rank: columns of an adapter. variance: share of the variance that decides how many
    directions stand for a set of adapters where angles are measured.
    """
    import numpy as np

    numbers, curves = _held_out(stacks, rank, sets, _levels(variance)), {}
    for side, grams in stacks.items():
        values = _spectrum(grams)
        rest = _spectrum(_without_mean(grams, rank))
        rest *= rest > _NOISE * values[:, :1]
        numbers[f"{side}/mean"] = 1 - rest.sum(1) / values.sum(1)
        for part, found in (("", values), ("_without_mean", rest)):
            numbers |= {f"{side}/k{part}/{percent(v)}": fewest(found, v) for v in _levels(variance)}
            total = found.sum(1, keepdims=True)
            curves[f"{side}/explained{part}"] = np.where(total > 0, found.cumsum(1) / np.where(total > 0, total, 1), 1)
        halves = [[_directions(grams, half, rank, [variance]) for half in both] for both in sets.halves]
        numbers[f"{side}/angle/halves"] = np.mean([_angle(grams, *both) for both in halves], 0)
        for grouping, groups in sets.groups.items():
            bases = {name: _directions(grams, members, rank, [variance]) for name, members in groups.items()}
            angles = np.array([_angle(grams, bases[a], bases[b]) for a, b in sets.pairs(grouping)])
            numbers[f"{side}/angle/{grouping}"] = angles.mean(0)
            curves[f"{side}/angle/{grouping}"] = angles.T
    shares = np.array([by_others(*grams, rank) for grams in zip(stacks["out"], stacks["in"], strict=True)])
    numbers["update/mean"], numbers["update/combination"] = shares.T
    return numbers, curves


def by_others(out: Any, inn: Any, rank: int) -> tuple[float, float]:
    """Shares of an adapter's dW (its squared norm), averaged over adapters: what lies along the mean dW of the others,
    and what the best linear combination of the others has of it. Takes one Gram matrix per side.

    <B_i A_i, B_j A_j> is the sum over a block of the elementwise product of the two Gram matrices.
    """
    import numpy as np

    t = len(out) // rank
    inner = (out * inn).reshape(t, rank, t, rank).sum((1, 3))
    mean, combined = [], []
    for i in range(t):
        rest = np.arange(t) != i
        theirs, common, own = inner[rest][:, rest], inner[rest, i], inner[i, i]
        size = theirs.sum()  # squared norm of their sum
        mean.append(common.sum() ** 2 / (own * size) if size > _NOISE * theirs.trace() else 0.0)
        combined.append(common @ np.linalg.lstsq(theirs, common, rcond=_NOISE)[0] / own)
    return float(np.mean(mean)), float(np.mean(combined))


def fewest(values: Any, variance: float) -> Any:
    """How many of the eigenvalues (largest first, along the last axis) it takes for a share of their sum; 0 where there
    is no sum."""
    total = values.sum(-1)
    return ((values.cumsum(-1) < (variance - 1e-12) * total[..., None]).sum(-1) + 1) * (total > 0)


def _levels(variance: float) -> list[float]:
    return sorted({*LEVELS, variance})


def _spectrum(grams: Any) -> Any:
    """Eigenvalues, largest first, zero below the noise."""
    import numpy as np

    values = np.linalg.eigvalsh(grams)[:, ::-1]
    return values * (values > _NOISE * values[:, :1])


def _without_mean(grams: Any, rank: int) -> Any:
    """Gram matrices of the columns less their mean over the adapters: the first of all B, and so on."""
    n = grams.shape[1]
    cube = grams.reshape(len(grams), n // rank, rank, n // rank, rank)
    cube = cube - cube.mean(1, keepdims=True)
    return (cube - cube.mean(3, keepdims=True)).reshape(grams.shape)


class _Basis(NamedTuple):
    """Orthonormal directions, most important first: combinations (stack x columns x directions) of some columns, and
    how many directions each asked share of the variance takes."""

    columns: Any
    weights: Any
    counts: list[int]


def _directions(grams: Any, adapters: Sequence[int], rank: int, variances: Sequence[float]) -> _Basis:
    """The directions of some adapters, for `variances` in rising order.

    The adapters' own spectrum decides how many there are, for the null too: a larger subspace holds more of anything,
    and lies nearer to any other.
    """
    import numpy as np

    columns = _columns(adapters, rank)
    values, vectors = np.linalg.eigh(grams[:, columns[:, None], columns])
    counts = [int(fewest(values[0, ::-1], v)) for v in variances]
    best = slice(-1, -counts[-1] - 1, -1)
    return _Basis(columns, vectors[:, :, best] / np.sqrt(values[:, None, best]), counts)


def _angle(grams: Any, some: _Basis, others: _Basis) -> Any:
    """Mean principal angle, in degrees, between two subspaces."""
    import numpy as np

    across = some.weights.swapaxes(1, 2) @ grams[:, some.columns[:, None], others.columns] @ others.weights
    return np.degrees(np.arccos(np.linalg.svd(across, compute_uv=False).clip(max=1))).mean(1)


def _held_out(stacks: Mapping[str, Any], rank: int, sets: Sets, levels: Sequence[float]) -> dict[str, Any]:
    """Share of a held-out adapter (squared norm; B, A^T, and dW = B A) outside of the other adapters' directions, at
    each level, averaged over adapters."""
    import numpy as np

    lost: dict[str, list[Any]] = {}
    everyone = {i for fold in sets.folds for i in fold}
    for fold in sets.folds:
        own, whole = _columns(fold, rank), {}
        kept: list[dict[str, Any]] = [{} for _ in levels]
        for side, grams in stacks.items():
            basis = _directions(grams, sorted(everyone - set(fold)), rank, levels)
            inside = basis.weights.swapaxes(1, 2) @ grams[:, basis.columns[:, None], own]
            whole[side] = grams[:, own[:, None], own]
            for found, k in zip(kept, basis.counts, strict=True):
                found[side] = inside[:, :k].swapaxes(1, 2) @ inside[:, :k]
        sizes = _sizes(whole, rank)
        for level, found in zip(levels, kept, strict=True):
            for name, size in _sizes(found, rank).items():
                lost.setdefault(f"{name}/held_out/{percent(level)}", []).append(1 - size / sizes[name])
    return {name: np.concatenate(found, 1).mean(1) for name, found in lost.items()}


def _sizes(stacks: Mapping[str, Any], rank: int) -> dict[str, Any]:
    """Squared norms (stack x adapters) of B, A^T and dW = B A, from their columns' Gram matrices."""
    import numpy as np

    cubes = {side: grams.reshape(len(grams), -1, rank, grams.shape[2] // rank, rank) for side, grams in stacks.items()}
    out, inn = (np.einsum("dfrfs->dfrs", cubes[side]) for side in SIDES)  # the blocks of one adapter
    return {"out": np.einsum("dfrr->df", out), "in": np.einsum("dfrr->df", inn), "update": (out * inn).sum((2, 3))}


def _columns(adapters: Sequence[int], rank: int) -> Any:
    import numpy as np

    return (np.array(adapters)[:, None] * rank + np.arange(rank)).ravel()

"""One layer's adapters measured: their spectrum, their halves, what is held out, their mean.

A side's columns are those of all B (out) or of all A^T (in), r an adapter, one adapter after the other. Everything is
computed from the Gram matrix of these columns (t r x t r), which has all lengths and angles among them: no matrix of
the layer's own size is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIDES = ("out", "in")
LEVELS = (0.5, 0.6, 0.8, 0.9)  # shares of the variance
_NOISE = 1e-12  # of the largest eigenvalue: float32's rounding, squared


@dataclass(frozen=True)
class Plan:
    """What every layer is asked. Adapters go by their number.

    rank: columns of an adapter (those of smaller ones are filled up with zeros).
    variance: share of the variance that decides how many directions represent a set of adapters.
    folds: sets that are held out, one after the other.
    halves: random divisions into two.
    groups: "families" or "seeds" -> name -> members.
    """

    adapters: int
    rank: int
    variance: float
    folds: tuple[tuple[int, ...], ...]
    halves: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    groups: Mapping[str, Mapping[str, tuple[int, ...]]]

    @property
    def levels(self) -> tuple[float, ...]:
        """LEVELS, and the plan's own."""
        return tuple(sorted({*LEVELS, self.variance}))

    def part(self, i: int) -> Plan:
        """The plan of draw i of the null, which is asked less: chance needs no second opinion."""
        return Plan(
            self.adapters,
            self.rank,
            self.variance,
            (self.folds[i % len(self.folds)],),
            (self.halves[i % len(self.halves)],),
            self.groups,
        )

    def pairs(self, grouping: str) -> list[tuple[str, str]]:
        """Two and two of a grouping's groups."""
        names = list(self.groups[grouping])
        return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


@dataclass(frozen=True)
class Measured:
    """`numbers` by name; `curves`: arrays by name, of one length in all layers."""

    numbers: dict[str, float]
    curves: dict[str, Any]


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


def measure(grams: Mapping[str, Any], plan: Plan, widths: dict[tuple[object, ...], int]) -> Measured:
    """All numbers and curves of a layer from its sides' Gram matrices.

    `widths` remembers how many directions each subspace got. Given to the measurement of the null, the null's subspaces
    get as many: a larger subspace holds more of anything, and lies nearer to any other.
    """
    sides = {side: _Side(grams[side], plan.rank, widths, side) for side in SIDES}
    numbers: dict[str, float] = {}
    curves: dict[str, Any] = {}
    for name, side in sides.items():
        rest = side.without_mean(plan.adapters)
        numbers[f"{name}/mean"] = float(1 - rest.sum() / side.values.sum())
        for part, values in (("", side.values), ("_without_mean", rest)):
            numbers |= {f"{name}/k{part}/{percent(v)}": fewest(values, v) for v in plan.levels}
            curves[f"{name}/explained{part}"] = _explained(values, len(grams[name]))
        halves = [[side.directions(half, [plan.variance])[0] for half in both] for both in plan.halves]
        numbers[f"{name}/angle/halves"] = _mean([_angle(*both) for both in halves])
        for grouping, groups in plan.groups.items():
            bases = {group: side.directions(members, [plan.variance])[0] for group, members in groups.items()}
            angles = [_angle(bases[a], bases[b]) for a, b in plan.pairs(grouping)]
            numbers[f"{name}/angle/{grouping}"] = _mean(angles)
            curves[f"{name}/angle/{grouping}"] = _array(angles)
    numbers |= _held_out(sides, plan)
    numbers["update/mean"], numbers["update/combination"] = by_others(grams["out"], grams["in"], plan.rank)
    return Measured(numbers, curves)


def by_others(out: Any, inn: Any, rank: int) -> tuple[float, float]:
    """Shares of an adapter's dW (its squared norm), averaged over adapters: what lies along the mean dW of the others,
    and what the best linear combination of the others has of it.

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
    return _mean(mean), _mean(combined)


def fewest(values: Any, variance: float) -> int:
    """How many of the eigenvalues (largest first) it takes for a share of their sum; 0 where there is no sum."""
    total = values.sum()
    return int((values.cumsum() < (variance - 1e-12) * total).sum()) + 1 if total > 0 else 0


class _Side:
    """The columns of one side as points in as many dimensions as they span."""

    def __init__(self, gram: Any, rank: int, widths: dict[tuple[object, ...], int], name: str) -> None:
        import numpy as np

        values, vectors = _eigen(gram)
        self.values, self.rank, self.widths, self.name = values, rank, widths, name
        self.points = (vectors * np.sqrt(values)).T

    def of(self, adapters: Sequence[int]) -> Any:
        """The points of some adapters."""
        import numpy as np

        return self.points[:, (np.array(adapters)[:, None] * self.rank + np.arange(self.rank)).ravel()]

    def without_mean(self, t: int) -> Any:
        """The eigenvalues when each column has lost its mean over the adapters. All zero where nothing is left."""
        import numpy as np

        cube = self.points.reshape(len(self.points), t, self.rank)
        rest = (cube - cube.mean(1, keepdims=True)).reshape(self.points.shape)
        values = np.linalg.eigvalsh(rest.T @ rest)[::-1].clip(min=0)
        return values * (values > _NOISE * self.values[0])

    def directions(self, adapters: Sequence[int], variances: Sequence[float]) -> tuple[Any, list[int]]:
        """Orthonormal directions of some adapters' points, most important first, and how many of them it takes for each
        of `variances` (rising; the directions are as many as the last takes)."""
        import numpy as np

        x = self.of(adapters)
        values, vectors = _eigen(x.T @ x)
        key = self.name, *adapters
        counts = [self.widths.setdefault((*key, v), fewest(values, v)) for v in variances]
        return x @ (vectors[:, : counts[-1]] / np.sqrt(values[: counts[-1]])), counts


def _angle(some: Any, others: Any) -> float:
    """Mean principal angle, in degrees, between two subspaces."""
    import numpy as np
    from scipy.linalg import subspace_angles

    return float(np.degrees(subspace_angles(some, others)).mean())


def _held_out(sides: Mapping[str, _Side], plan: Plan) -> dict[str, float]:
    """Share of a held-out adapter (squared norm; B, A^T, and dW = B A) outside of the other adapters' directions, at
    each level, averaged over adapters."""
    import numpy as np

    lost: dict[str, list[float]] = {}
    for fold in plan.folds:
        others = [i for i in range(plan.adapters) if i not in fold]
        kept: dict[str, list[Any]] = {}
        whole = {side: _blocks(sides[side].of(fold), plan.rank) for side in SIDES}
        for side in SIDES:
            basis, counts = sides[side].directions(others, plan.levels)
            inside = basis.T @ sides[side].of(fold)
            kept[side] = [_blocks(inside[:k], plan.rank) for k in counts]
        for i, level in enumerate(plan.levels):
            for side in SIDES:
                shares = np.trace(kept[side][i], axis1=1, axis2=2) / np.trace(whole[side], axis1=1, axis2=2)
                lost.setdefault(f"{side}/held_out/{percent(level)}", []).extend(1 - shares)
            shares = (kept["out"][i] * kept["in"][i]).sum((1, 2)) / (whole["out"] * whole["in"]).sum((1, 2))
            lost.setdefault(f"update/held_out/{percent(level)}", []).extend(1 - shares)
    return {name: _mean(found) for name, found in lost.items()}


def _blocks(points: Any, rank: int) -> Any:
    """Gram matrix of each adapter's own columns (t x r x r)."""
    import numpy as np

    cube = points.reshape(len(points), -1, rank)
    return np.einsum("mtr,mts->trs", cube, cube)


def _eigen(symmetric: Any) -> tuple[Any, Any]:
    """Eigenvalues above the noise, largest first, and their vectors."""
    import numpy as np

    values, vectors = np.linalg.eigh(symmetric)
    keep = values > _NOISE * values[-1]
    return values[keep][::-1], vectors[:, keep][:, ::-1]


def _explained(values: Any, length: int) -> Any:
    """Share explained by the first 1, 2, ... directions; 1 where there are no more."""
    import numpy as np

    total = values.sum()
    shares = np.ones(length)
    if total > 0:
        shares[: len(values)] = values.cumsum() / total
    return shares


def _array(numbers: Sequence[float]) -> Any:
    import numpy as np

    return np.array(numbers)


def _mean(numbers: Sequence[float]) -> float:
    return float(sum(numbers)) / len(numbers)

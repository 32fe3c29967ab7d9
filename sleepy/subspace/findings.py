"""All layers of several adapters measured, and brought together by layer type."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sleepy.adapters.factors import Factors
from sleepy.artifacts import TaskSet
from sleepy.errors import ModelError
from sleepy.subspace.analysis import SIDES, Measured, Plan, gram, measure, null

_ORDER = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Layer:
    """A layer's numbers, and those of each draw of the null. `kind` is "q" of "q_proj", `depth` its block."""

    name: str
    kind: str
    depth: int
    found: dict[str, float]
    nulls: tuple[dict[str, float], ...]


@dataclass
class Findings:
    """What was found.

    seeds: those the adapters were trained with, "" for one that is not known.
    curves: kind -> name -> (found, null), each the mean over the layers of that kind.
    """

    adapters: tuple[str, ...]
    seeds: tuple[str, ...]
    plan: Plan
    layers: list[Layer] = field(default_factory=list)
    curves: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        """Layer types, in the order in which a block uses them."""
        found = dict.fromkeys(layer.kind for layer in self.layers)
        return sorted(found, key=lambda kind: _ORDER.index(kind) if kind in _ORDER else len(_ORDER))

    def of(self, name: str, kind: str = "") -> float:
        """A number's mean over the layers (of a kind)."""
        return _mean(layer.found[name] for layer in self._of(kind))

    def nulls(self, name: str, kind: str = "") -> list[float]:
        """The same of each draw of the null."""
        return [_mean(layer.nulls[i][name] for layer in self._of(kind)) for i in range(len(self.layers[0].nulls))]

    def null(self, name: str, kind: str = "") -> float:
        """Their mean."""
        return _mean(self.nulls(name, kind))

    def curve(self, name: str) -> tuple[Any, Any]:
        """A curve's mean over all layers, found and null."""
        weights = {kind: len(self._of(kind)) / len(self.layers) for kind in self.kinds}
        found, null = (sum(w * self.curves[kind][name][i] for kind, w in weights.items()) for i in (0, 1))
        return found, null

    def write(self, path: Path) -> None:
        """Everything, as JSON."""
        names = list(self.layers[0].found)

        def both(kind: str = "") -> dict[str, Any]:
            return {n: {"found": self.of(n, kind), "null": self.nulls(n, kind)} for n in names}

        everything = {
            "adapters": self.adapters,
            "variance": self.plan.variance,
            "held_out": self.plan.folds,
            "halves": self.plan.halves,
            "groups": self.plan.groups,
            "all_layers": both(),
            "layer_types": {kind: both(kind) for kind in self.kinds},
            "layers": [vars(layer) for layer in self.layers],
            "curves": self.curves,
        }
        path.write_text(json.dumps(everything, default=_plain), encoding="utf-8")

    def _of(self, kind: str) -> list[Layer]:
        return [layer for layer in self.layers if kind in ("", layer.kind)]


def find(
    adapters: Mapping[str, Factors], seeds: Sequence[str], plan: Plan, draws: int, rng: Any, done: Callable[[], object]
) -> Findings:
    """Measure every layer of `adapters` (name -> layers, the same in each), and `draws` nulls beside it."""
    found = Findings(tuple(adapters), tuple(seeds), plan)
    sums: dict[str, dict[str, tuple[Any, Any]]] = {}
    counts: dict[str, int] = {}
    for name in next(iter(adapters.values())):
        columns = _columns(adapters, name)
        grams = {side: gram(columns[side], plan.rank) for side in SIDES}
        sizes = {side: columns[side][0].shape[0] for side in SIDES}
        widths: dict[tuple[object, ...], int] = {}
        own = measure(grams, plan, widths)
        by_chance: list[Measured] = []
        for i in range(draws):
            drawn = {side: null(grams[side], sizes[side], rng) for side in SIDES}
            by_chance.append(measure(drawn, plan.part(i), widths))
        layer = Layer(name, *_place(name), own.numbers, tuple(m.numbers for m in by_chance))
        found.layers.append(layer)
        curves = sums.setdefault(layer.kind, {})
        for key, curve in own.curves.items():
            chance = sum(m.curves[key] for m in by_chance) / draws
            before = curves.get(key, (0.0, 0.0))
            curves[key] = (before[0] + curve, before[1] + chance)
        counts[layer.kind] = counts.get(layer.kind, 0) + 1
        done()
    for kind, curves in sums.items():
        found.curves[kind] = {key: (a / counts[kind], b / counts[kind]) for key, (a, b) in curves.items()}
    return found


def make_plan(t: int, rank: int, variance: float, folds: int, splits: int, groups: Mapping[str, Any], rng: Any) -> Plan:
    """For t adapters: who is held out with whom, and the halves, drawn at random. `folds` 0 holds out one at a time."""
    order = [int(i) for i in rng.permutation(t)]
    count = min(folds or t, t)
    held_out = tuple(tuple(sorted(order[i::count])) for i in range(count))
    halves = []
    for _ in range(splits):
        order = [int(i) for i in rng.permutation(t)]
        halves.append((tuple(sorted(order[: t // 2])), tuple(sorted(order[t // 2 :]))))
    return Plan(t, rank, variance, held_out, tuple(halves), groups)


def families(names: Sequence[str], pairs: TaskSet) -> list[str]:
    """The family of each adapter whose name holds a pattern's or a family's, "" of the others."""
    known = {t.pattern: t.family for t in pairs} | {t.family: t.family for t in pairs}
    found = ({known[word] for word in re.findall(r"\w+", name) if word in known} for name in names)
    return [one.pop() if len(one) == 1 else "" for one in found]


def groups(labels: Iterable[object]) -> dict[str, tuple[int, ...]]:
    """Members of every label that several adapters bear; none where fewer than two labels are left."""
    found: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        found.setdefault(str(label), []).append(i)
    several = {label: tuple(members) for label, members in found.items() if label and len(members) > 1}
    return several if len(several) > 1 else {}


def _columns(adapters: Mapping[str, Factors], layer: str) -> dict[str, list[Any]]:
    """B and A^T of every adapter. Raises ModelError for one that does nothing there, or has no finite numbers."""
    pairs = {name: factors[layer] for name, factors in adapters.items()}
    for name, (b, a) in pairs.items():
        size = float(b.norm() * a.norm())
        if not 0 < size < float("inf"):
            words = "changes nothing" if size == 0 else "has numbers that are not finite"
            raise ModelError(f"{name}: {words} in {layer}, expected a trained adapter: leave it out, or train it again")
    return {"out": [b.numpy() for b, _ in pairs.values()], "in": [a.numpy().T for _, a in pairs.values()]}


def _place(layer: str) -> tuple[str, int]:
    """Kind and depth of a layer: ("q", 3) for model.layers.3.self_attn.q_proj."""
    depth = re.search(r"\.(\d+)\.", layer)
    return layer.rpartition(".")[2].removesuffix("_proj"), int(depth[1]) if depth else 0


def _plain(value: Any) -> Any:
    """An array as a list with five digits."""
    return [round(float(x), 5) for x in value]


def _mean(numbers: Iterable[float]) -> float:
    values = list(numbers)
    return sum(values) / len(values)

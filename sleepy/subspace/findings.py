"""All layers of several adapters measured, and averaged by layer type."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sleepy.adapters.factors import Factors
from sleepy.artifacts import TaskSet
from sleepy.errors import ModelError
from sleepy.files import write_text
from sleepy.subspace.analysis import SIDES, Sets, gram, measure, null

_ORDER = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Layer:
    """A layer's numbers and curves (name -> array): those of the adapters first, then those of each draw of the null.
    `kind` is "q" of "q_proj", `depth` its block."""

    name: str
    kind: str
    depth: int
    numbers: dict[str, Any]
    curves: dict[str, Any]


@dataclass(frozen=True)
class Findings:
    """What was found. `seeds`: those the adapters were trained with, "" for one that is not known. `variance`: the
    share that decides how many directions stand for a set of adapters."""

    adapters: tuple[str, ...]
    seeds: tuple[str, ...]
    sets: Sets
    variance: float
    layers: tuple[Layer, ...]

    @property
    def kinds(self) -> list[str]:
        """Layer types, in the order in which a block uses them."""
        found = dict.fromkeys(layer.kind for layer in self.layers)
        return sorted(found, key=lambda kind: _ORDER.index(kind) if kind in _ORDER else len(_ORDER))

    def of(self, name: str, kind: str = "") -> tuple[float, list[float]]:
        """A number's mean over the layers (of a kind), and the same of each draw of the null."""
        found, *nulls = self._mean([layer.numbers[name] for layer in self._of(kind)]).tolist()
        return found, nulls

    def curve(self, name: str, kind: str = "") -> tuple[Any, Any]:
        """A curve's mean over the layers (of a kind), and that of the null."""
        mean = self._mean([layer.curves[name] for layer in self._of(kind)])
        return mean[0], mean[1:].mean(0)

    def write(self, path: Path) -> None:
        """Everything, as JSON. Means are {"found": number, "null": [one per draw]}, a layer's own numbers a list with
        the found one first. Raises DiskError."""
        one = self.layers[0]

        def means(kind: str = "") -> dict[str, Any]:
            return {name: dict(zip(("found", "null"), self.of(name, kind), strict=True)) for name in one.numbers}

        def curves(kind: str) -> dict[str, Any]:
            return {name: [curve.round(5).tolist() for curve in self.curve(name, kind)] for name in one.curves}

        everything = {
            "adapters": self.adapters,
            "variance": self.variance,
            "held_out": self.sets.folds,
            "halves": self.sets.halves,
            "groups": self.sets.groups,
            "all_layers": means(),
            "layer_types": {kind: means(kind) for kind in self.kinds},
            "layers": [
                {"name": la.name, "kind": la.kind, "depth": la.depth}
                | {"numbers": {name: array.tolist() for name, array in la.numbers.items()}}
                for la in self.layers
            ],
            "curves": {kind: curves(kind) for kind in self.kinds},
        }
        write_text(path, json.dumps(everything))

    def _of(self, kind: str) -> list[Layer]:
        return [layer for layer in self.layers if kind in ("", layer.kind)]

    @staticmethod
    def _mean(arrays: Sequence[Any]) -> Any:
        return sum(arrays) / len(arrays)


def measure_layers(
    adapters: Mapping[str, Factors], sets: Sets, variance: float, draws: int, rng: Any, done: Callable[[], object]
) -> tuple[Layer, ...]:
    """Measure every layer of `adapters` (name -> layers, the same in each), with `draws` nulls beside it."""
    import numpy as np

    rank = max(len(a) for factors in adapters.values() for _, a in factors.values())
    found = []
    for name in next(iter(adapters.values())):
        stacks = {}
        for side, columns in zip(SIDES, _columns(adapters, name), strict=True):
            own = gram(columns, rank)
            stacks[side] = np.stack([own, *(null(own, len(columns[0]), rng) for _ in range(draws))])
        depth = re.search(r"\.(\d+)\.", name)  # model.layers.3.self_attn.q_proj
        kind = name.rpartition(".")[2].removesuffix("_proj")
        found.append(Layer(name, kind, int(depth[1]) if depth else 0, *measure(stacks, rank, sets, variance)))
        done()
    return tuple(found)


def families(names: Sequence[str], pairs: TaskSet) -> list[str]:
    """The family of each adapter whose name holds a pattern's or a family's, "" of the others."""
    known = {t.pattern: t.family for t in pairs} | {t.family: t.family for t in pairs}
    found = ({known[word] for word in re.findall(r"\w+", name) if word in known} for name in names)
    return [one.pop() if len(one) == 1 else "" for one in found]


def groups(labels: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Members of every label that several adapters have; empty where fewer than two labels are left."""
    found: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        found.setdefault(label, []).append(i)
    several = {label: tuple(members) for label, members in found.items() if label and len(members) > 1}
    return several if len(several) > 1 else {}


def _columns(adapters: Mapping[str, Factors], layer: str) -> tuple[list[Any], list[Any]]:
    """B and A^T of every adapter. Raises ModelError for one that does nothing there, or has no finite numbers."""
    pairs = {name: factors[layer] for name, factors in adapters.items()}
    for name, (b, a) in pairs.items():
        size = float(b.norm() * a.norm())
        if not 0 < size < float("inf"):
            words = "changes nothing" if size == 0 else "has numbers that are not finite"
            raise ModelError(f"{name}: {words} in {layer}. Leave this adapter out or train it again")
    return [b.numpy() for b, _ in pairs.values()], [a.numpy().T for _, a in pairs.values()]

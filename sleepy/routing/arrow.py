"""Routing by the model itself: in every layer, each token goes to the adapters that react most to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import TaskSet
from sleepy.engines.arrow import arrow_name
from sleepy.errors import ConfigError
from sleepy.options import ranged
from sleepy.routing.route import Route, Routing


@dataclass(frozen=True, kw_only=True)
class Arrow(Routing):
    """Arrow (Ostapenko et al. 2024, arXiv 2405.11157), from PEFT: a token's similarity to an adapter is its product
    with the first right singular vector of the adapter's update. All adapters must have the same rank and layers.

    top_k: how many adapters each token goes to, or all of them if there are fewer (at least 1).
    temperature: temperature of the softmax over their similarities. Higher makes their weights more equal (above 0).
    """

    top_k: int = ranged(3, at_least=1)
    temperature: float = ranged(1.0, above=0)

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open: every koan goes to all adapters."""
        if not names:
            raise ConfigError("routing=arrow needs at least one adapter: train some with stream=each")
        return lambda task, broken: arrow_name(self.top_k, self.temperature)

    def check(self, engine: str) -> None:
        """See Routing.check."""
        if engine != "transformers":
            raise ConfigError(
                f"routing=arrow routes inside the model's layers, which engine={engine} cannot. Add "
                "engine=transformers, or choose another routing"
            )

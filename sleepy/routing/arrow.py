"""By the model itself: every token, in every layer, to the adapters that react most to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sleepy.artifacts import TaskSet
from sleepy.engines._arrow import arrow_name
from sleepy.errors import ConfigError
from sleepy.options import ranged
from sleepy.routing.route import Route, Routing


@dataclass(frozen=True, kw_only=True)
class Arrow(Routing):
    """Arrow (Ostapenko et al. 2024, arXiv 2405.11157), from PEFT: a token's similarity to an adapter is its product
    with the first right singular vector of the adapter's update. All adapters must have the same rank and layers.

    top_k: adapters that a token is given to (at least 1; all where there are fewer).
    temperature: of the softmax over their similarities: the higher, the more alike are their weights (above 0).
    """

    top_k: int = ranged(3, at_least=1)
    temperature: float = ranged(1.0, above=0)

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open: always all of them."""
        if not names:
            raise ConfigError("routing=arrow: found no adapter, expected at least one: train some with stream=each")
        return lambda task, broken: arrow_name(self.top_k, self.temperature)

    def identity(self) -> dict[str, object]:
        """See Routing.identity."""
        return {"routing": "arrow", **asdict(self)}

    def check(self, engine: str) -> None:
        """See Routing.check."""
        if engine != "transformers":
            raise ConfigError(
                f"routing=arrow: found engine={engine}, expected engine=transformers, in whose layers tokens can be "
                "routed: add engine=transformers, or choose a routing that names one adapter a koan"
            )

"""How an adapter is put on the model that is measured."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.artifacts import Adapter, BaseModel
from sleepy.engines.engine import Engine
from sleepy.errors import ConfigError
from sleepy.options import choice
from sleepy.routing.route import Routing
from sleepy.tensors import WEIGHTS

# So many koans, times the weights' bytes over the adapter's, are where a hot adapter has cost what a merge with its
# quantisation costs (bench/adapter.py, docs/repair.md).
_KOANS = 0.35


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Hot or merged is not quite the same model: a merged one is rounded again when it is quantised.

    adapter: of one trained adapter: "hot" puts it on the loaded base model, as llama.cpp's --lora and Ollama's ADAPTER
        do; "merged" adds it to the weights and quantises them first, as the export stage does; "auto" takes what is
        sooner done for so many koans, and the exported file where there is one.
    """

    adapter: str = choice("auto", "hot", "merged")

    def check(self, engine: Engine, routing: Routing) -> None:
        """Raises ConfigError when adapters can only be hot and are to be merged."""
        if self.adapter == "merged" and (routing.routes or not engine.loads):
            why = (
                "routing chooses among several on one model" if routing.routes else "the engine loads no file from here"
            )
            raise ConfigError(f"evaluate.adapter: found merged, but {why}: use evaluate.adapter=hot or auto")

    def merges(self, koans: int, base: BaseModel, adapter: Adapter, engine: Engine) -> bool:
        """Whether `adapter` is merged before so many koans are asked."""
        if self.adapter != "auto" or not engine.loads:
            return self.adapter == "merged"
        weights = (base.weights / WEIGHTS).stat().st_size
        return koans > _KOANS * weights / (adapter.folder / "adapter_model.safetensors").stat().st_size

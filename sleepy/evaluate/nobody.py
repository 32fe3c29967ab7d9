"""Where no model is asked: the engine and the candidate of such an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import BaseModel, Completion, Prompt, Served
from sleepy.engines.engine import NONE_KNOWN, Done, Engine, Known, ignore
from sleepy.errors import EngineError
from sleepy.evaluate.candidates import Base


@dataclass(frozen=True)
class NoEngine(Engine):
    """An engine that loads nothing."""

    @contextmanager
    def open(self, model: Served) -> Iterator[NoEngine]:
        """See Engine.open."""
        yield self

    def generate(self, prompts: Sequence[Prompt], done: Done = ignore, known: Known = NONE_KNOWN) -> list[Completion]:
        """See Session.generate. Raises EngineError when anything is asked."""
        if prompts:
            raise EngineError("a strategy that asks no model has prompts")
        return []

    def identity(self) -> dict[str, object]:
        """See Engine.identity."""
        return {"engine": "none"}


COMPILER = Base(BaseModel("rustc", Path(), Path(), Path(), "rustc"))
"""Stands for the compiler that makes suggestions. Its version is part of every judge's identity."""

"""What the tests of engines that ask a server share."""

from __future__ import annotations

import pytest

from sleepy.artifacts import BaseModel, Served
from sleepy.engines import _server

KEY = "sk-none-of-your-business"


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and a key."""
    monkeypatch.setattr(_server, "_PAUSE", 0.001)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="session")
def served(smollm2: BaseModel) -> Served:
    return Served("smollm2", smollm2.gguf, smollm2.weights, "x")

"""What the tests of engines that ask a server share."""

from __future__ import annotations

import pytest

from sleepy.artifacts import BaseModel, Served
from sleepy.engines import _http, _remote

KEY = "sk-none-of-your-business"


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, a key, and no memory of other tests' servers."""
    monkeypatch.setattr(_http, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(_remote, "_files", {})
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="session")
def served(smollm2: BaseModel) -> Served:
    return Served("smollm2", smollm2.gguf, smollm2.weights, "x")

"""A model for training tests: a fit takes a second."""

from __future__ import annotations

import pytest

from sleepy.artifacts import BaseModel
from tests.adapters.made import tiny_base


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A Qwen2 of two layers and random weights."""
    return tiny_base(tmp_path_factory.mktemp("tiny") / "qwen2")

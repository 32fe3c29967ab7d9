"""What every option of the group `model` is."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sleepy.artifacts import BaseModel


class Model(Protocol):
    """An option of the group `model`: where weights come from."""

    def identity(self, cache: Path) -> str:
        """What tells these weights from all others, without bringing them. Raises ModelError where nobody knows it."""
        ...

    def fetch(self, cache: Path) -> BaseModel:
        """The model, ready for use below `cache`: brought and derived at the first call, found at later ones. Raises
        ModelError when no source has the right files."""
        ...

"""What a killed run resumes from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sleepy.files import whole

_FILE = "state.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`, which is whole at any time. Raises DiskError for a disk that is full."""
    import torch

    with whole(folder / _FILE) as partial:
        torch.save(state, partial)


def load(folder: Path) -> dict[str, Any] | None:
    """The checkpoint in `folder`; None if there is none, or none that can be read."""
    import torch

    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError):
        return None
    return state


def drop(folder: Path) -> None:
    """Remove the checkpoint of a run that has ended well."""
    shutil.rmtree(folder, ignore_errors=True)

"""Where a killed run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`; it is whole at any time."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "state.pt.part"
    torch.save(state, partial)
    partial.replace(folder / "state.pt")


def load(folder: Path) -> dict[str, Any] | None:
    """The checkpoint in `folder`; None when there is none, or none that can be read."""
    import torch

    path = folder / "state.pt"
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

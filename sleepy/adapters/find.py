"""Where adapters are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def find_adapters(places: Sequence[str | Path]) -> dict[str, Path]:
    """PEFT folders in and below `places`, under the shortest ends of their paths that tell them apart."""
    found = sorted({c.parent.resolve() for place in places for c in Path(place).rglob("adapter_config.json")})
    length = next((n for n in range(1, 99) if len({f.parts[-n:] for f in found}) == len(found)), 99)
    return {"/".join(folder.parts[-length:]): folder for folder in found}

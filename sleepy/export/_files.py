"""What an export gives the later stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import GgufFile, digest_of_file


@dataclass(frozen=True)
class Exported:
    """The model file to be served, what came with it, and one line that says how it was proven."""

    gguf: GgufFile
    adapter_gguf: GgufFile | None
    modelfile: Path | None
    proof: str
    warnings: tuple[str, ...]


def gguf_file(path: Path, quantization: str) -> GgufFile:
    """The record of a finished file."""
    return GgufFile(path, quantization, digest_of_file(path), path.stat().st_size)

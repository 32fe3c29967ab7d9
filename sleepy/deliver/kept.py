"""How much of an adapter's update an exported file still holds.

Rounding erases a small update: the base's own weights lie on the file's grid, and an update below half a step of it
falls back onto it. So the file is read back, and what it differs by from the base's file is held against the update.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sleepy.adapters.folder import Update, read_updates
from sleepy.artifacts import Adapter, BaseModel
from sleepy.gguf.header import Header, read_header
from sleepy.gguf.layout import places

if TYPE_CHECKING:
    import numpy as np

ENOUGH, TOO_LITTLE = 0.9, 0.5  # below the first the file is warned of, below the second it is no result
_WEIGHTS = 40_000_000  # weights that are compared at most: rows of larger models are sampled evenly


@dataclass(frozen=True)
class Kept:
    """`share`: <deq(file) - deq(base), dW> / <dW, dW> over the matrices that the update touches, 1 when nothing is
    lost. `changed`: share of their weights whose stored value is another than the base's. `by_type`: `share` for the
    matrices of each type that the file has."""

    share: float
    changed: float
    by_type: dict[str, float]

    @property
    def line(self) -> str:
        """The figures in words."""
        types = ", ".join(f"{name} {share:.2f}" for name, share in self.by_type.items())
        return f"the file keeps {self.share:.1%} of the update ({types})"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to do where too little is left."""
        if self.share >= ENOUGH:
            return ()
        do = "Use adapter.gguf with llama.cpp's --lora, or export.quantization=f16"
        if self.share < TOO_LITTLE:
            return (f"{self.line}: it is not what was measured and judged. {do}",)
        return (f"{self.line}. {do}",)


def kept(adapter: Adapter, base: BaseModel, file: Path) -> Kept:
    """Hold the exported `file` against `base` and the update of `adapter`.

    Of more than 40 million weights, evenly spaced rows are compared: an estimate of the sums over all of them.
    """
    updates = read_updates(adapter, base)
    found = places(base, [update.name for update in updates])
    headers = [(path, read_header(path)) for path in (base.gguf, file)]
    total = sum(u.b.shape[0] * u.a.shape[1] for u in updates)
    stride = max(1, total // _WEIGHTS)
    held, whole = defaultdict[str, float](float), defaultdict[str, float](float)
    changed = compared = 0
    for update in updates:
        place = found[update.name]
        before, after = (_rows(path, header, place.name, stride) for path, header in headers)
        difference = after - before
        expected = place.rows(_product(update))[::stride]
        kind = _type_name(headers[1][1], place.name)
        held[kind] += float((difference * expected).sum(dtype="f8"))
        whole[kind] += float((expected * expected).sum(dtype="f8"))
        changed += int((difference != 0).sum())
        compared += difference.size
    shares = {kind: held[kind] / whole[kind] for kind in sorted(whole) if whole[kind]}
    norm = sum(whole.values())
    return Kept(sum(held.values()) / norm if norm else 1.0, changed / compared, shares)


def _product(update: Update) -> np.ndarray:
    """The update dW (out, in)."""
    product: np.ndarray = (update.b @ update.a * update.scale).numpy()
    return product


def _type_name(header: Header, name: str) -> str:
    from gguf import GGMLQuantizationType

    return str(GGMLQuantizationType(header.tensors[name][1]).name)


def _rows(path: Path, header: Header, name: str, stride: int) -> np.ndarray:
    """Every `stride`-th row of a matrix, dequantised to float32."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    (rows, columns), kind, offset = header.tensors[name]
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    raw = np.memmap(path, np.uint8, "r", header.data + offset, (rows, columns // block * size))
    part = np.ascontiguousarray(raw[::stride])
    if kind in (0, 1):  # f32, f16
        return part.view("<f4" if kind == 0 else "<f2").astype(np.float32)
    found: np.ndarray = dequantize(part, GGMLQuantizationType(kind))
    return found

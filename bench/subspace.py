"""The subspace analysis over 51 adapters of a 1.5B model's shapes, written to disk first: seconds (the clock's and the
processor's), peak memory. `python bench/subspace.py [blocks] [folder]`: with fewer blocks than the model's 28 it costs
so much less; page and pictures are left in `folder`.

The adapters are planted: a common start, directions of their family that grow with depth, and noise of their own."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import share_phase1 as other
import torch

from sleepy.adapters.find import find_adapters
from sleepy.adapters.folder import write_lora
from sleepy.pairs.builtin import load_pairs
from sleepy.progress import Stages
from sleepy.subspace.page import show
from sleepy.subspace.subspace import Subspace


def planted(name: str, family: str, blocks: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """One adapter."""
    found = {}
    for i in range(blocks):
        for layer, (n, d) in other.SHAPES.items():
            key = f"model.layers.{i}.{layer}"
            common, own, directions = _drawn(n, d, key), _drawn(n, d, key, name), _drawn(n, d, key, family)
            mix = [torch.randn(other.RANK, other.RANK, generator=_generator(key, name, side)) for side in "BA"]
            deep = (i + 1) / blocks
            b, a = (
                0.5 * c + deep * f @ m / other.RANK**0.5 + o
                for c, f, m, o in zip(common, directions, mix, own, strict=True)
            )
            found[key] = (b, a.T.contiguous())
    return found


def _drawn(n: int, d: int, *words: str) -> list[torch.Tensor]:
    return [torch.randn(size, other.RANK, generator=_generator(*words, s)) for size, s in ((n, "B"), (d, "A"))]


def _generator(*words: str) -> torch.Generator:
    import zlib

    return torch.Generator().manual_seed(zlib.crc32("/".join(words).encode()))


def main() -> None:
    """Measure and print."""
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else other.LAYERS
    family = {task.pattern: task.family for task in load_pairs()}
    with tempfile.TemporaryDirectory() as folder:
        for pattern in sorted(family)[: other.ADAPTERS]:
            write_lora(planted(pattern, family[pattern], blocks), Path(folder) / "adapters" / pattern, "planted")
        option, watch = Subspace(), other.Watch()
        findings = option.analyse(find_adapters([Path(folder) / "adapters"]), 0, Stages())
        print(
            f"{len(findings.layers)} layers of {len(findings.adapters)} adapters: {watch}; peak {other.peak():.2f} GB"
        )
        watch, left = other.Watch(), Path(sys.argv[2] if len(sys.argv) > 2 else folder)
        page = option.write(left, findings)[0]
        print(f"page and pictures: {watch}")
        show(findings, {"page": str(page)})


if __name__ == "__main__":
    main()

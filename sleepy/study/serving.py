"""A trained adapter ready to be asked: hot on the base model, or merged into a file of its own for a while."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sleepy.artifacts import Adapter, BaseModel, HotAdapter, Served
from sleepy.deliver.export import Gguf
from sleepy.deliver.merge import Merge
from sleepy.gguf.adapter import adapter_gguf


def hot_adapters(adapters: Mapping[str, Adapter], base: BaseModel, folder: Path) -> tuple[HotAdapter, ...]:
    """Adapters to be switched on by name, as GGUF files in `folder`."""
    hot = []
    for name, adapter in adapters.items():
        path = folder / f"{name.replace('/', '-')}.gguf"
        if not path.is_file():
            adapter_gguf(adapter, base, path, name)
        hot.append(HotAdapter(name, path, adapter.folder))
    return tuple(hot)


@contextmanager
def merged(
    served: Served, adapter: Adapter, base: BaseModel, merge: Merge, export: Gguf, folder: Path
) -> Iterator[Served]:
    """`served` with the weights of `base` with `adapter` merged, quantised as `export` says, below `folder` and only
    for as long as the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        weights = merge.merge(adapter, base, Path(place) / "weights")
        only_file = replace(export, keep_f16=False, adapter=False, modelfile=False, proof_prompts=0)
        made = only_file.export(weights, base, adapter, [], Path(place) / "export", served.name)
        yield replace(served, gguf=made.gguf.path, weights=weights)

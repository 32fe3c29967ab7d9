"""A candidate as files to take away. This comes after the verdict: nothing that is decided depends on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sleepy.artifacts import GgufFile, Prompt
from sleepy.deliver.export import Export, Files
from sleepy.deliver.kept import Kept
from sleepy.deliver.merge import merge
from sleepy.evaluate.candidates import Adapted, Base, Exported, Live, Routed
from sleepy.evaluate.recovery import Recovery
from sleepy.gguf.adapter import adapter_gguf


@dataclass(frozen=True)
class Delivery:
    """What was written. `exported` is the merged file as a candidate that can be measured; None for routed adapters,
    which stay files of their own."""

    exported: Exported | None
    adapters: tuple[GgufFile, ...] = ()
    modelfile: Path | None = None
    proof: str = ""
    kept: Kept | None = None
    recovery: Recovery | None = None
    warnings: tuple[str, ...] = ()

    @property
    def held(self) -> tuple[str, ...]:
        """What the file keeps of the adapter, a line for each figure."""
        return tuple(found.line for found in (self.kept, self.recovery) if found)


def deliver(
    candidate: Live, export: Export, prompts: Sequence[Prompt], folder: Path, name: str, *, merged: Path | None = None
) -> Delivery:
    """Write `candidate` as `export` says into `folder`, called `name` in its metadata; `prompts` serve the proof.

    The merged weights, as large as the model in f16, are there only while the files are made, whatever happens;
    with `merged` they go to that folder and stay. Raises ModelError when files do not fit each other or the proof
    fails, and DiskError for want of space.
    """
    if isinstance(candidate, Routed):
        return Delivery(None, tuple(_adapters(candidate, folder / "adapters")))
    with _merged(candidate, folder, merged) as weights:
        adapter = candidate.adapter if isinstance(candidate, Adapted) else None
        files: Files = export.export(weights, candidate.model, adapter, prompts, folder, name)
    exported = Exported(candidate.model, files.gguf, candidate)
    adapters = (files.adapter_gguf,) if files.adapter_gguf else ()
    return Delivery(exported, adapters, files.modelfile, files.proof, files.kept, warnings=files.warnings)


@contextmanager
def _merged(candidate: Base | Adapted, folder: Path, keep: Path | None) -> Iterator[Path]:
    """The folder of the candidate's weights: the base's own, or merged ones for as long as the block runs."""
    if isinstance(candidate, Base):
        yield candidate.model.weights
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        yield merge(candidate.adapter, candidate.model, keep or Path(place) / "merged")


def _adapters(candidate: Routed, folder: Path) -> Iterator[GgufFile]:
    named: dict[str, list[str]] = {}
    for name, adapter in candidate.adapters.items():
        named.setdefault(adapter.digest, []).append(name)
    for names in named.values():  # several names may stand for one adapter, as patterns do for their family's
        adapter = candidate.adapters[names[0]]
        name = names[0] if len(names) == 1 else adapter.folder.name
        yield adapter_gguf(adapter, candidate.model, folder / f"{name.replace('/', '-')}.gguf", name)

"""The merged weights as f16 GGUF."""

from __future__ import annotations

from pathlib import Path

from sleepy.artifacts import BaseModel
from sleepy.errors import ModelError
from sleepy.gguf.header import read_header, tensor, with_text
from sleepy.gguf.layout import places, same_bits
from sleepy.tensors import WEIGHTS, mapped


def write_f16(merged: Path, base: BaseModel, target: Path, texts: dict[str, str]) -> None:
    """Write the weights in folder `merged` to `target`: a copy of the base's f16 GGUF in which the tensors that differ
    from the base's are replaced, and the metadata's strings `texts` set. All else, tokenizer and chat template above
    all, is the base's to the byte.

    Raises ModelError when the weights are not those of a model like `base`.
    """
    import numpy as np

    before, after = mapped(base.weights / WEIGHTS), mapped(merged / WEIGHTS)
    if [(name, before[name].shape) for name in sorted(before)] != [(name, after[name].shape) for name in sorted(after)]:
        raise ModelError(f"{merged}: its tensors do not have the names and shapes of those of {base.name}")
    changed = [name for name in before if not same_bits(before[name], after[name])]
    found = places(base, changed)
    source = read_header(base.gguf_f16)
    header = source
    for key, text in texts.items():
        header = with_text(header, key, text)
    data = np.memmap(base.gguf_f16, np.uint8, "r", source.data)
    with target.open("wb") as out:
        out.write(header.packed())
        at = 0
        for name in sorted(changed, key=lambda name: source.tensors[found[name].name][2]):
            there = tensor(base.gguf_f16, source, found[name].name)
            offset = source.tensors[found[name].name][2]
            out.write(data[at:offset].data)
            out.write(np.ascontiguousarray(found[name].rows(after[name]), there.dtype).data)
            at = offset + there.nbytes
        out.write(data[at:].data)

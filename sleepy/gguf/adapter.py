"""The adapter alone as GGUF, for llama.cpp's --lora."""

from __future__ import annotations

from pathlib import Path

from sleepy.adapters.folder import read_updates
from sleepy.artifacts import Adapter, BaseModel, GgufFile
from sleepy.files import whole
from sleepy.gguf.header import read_header
from sleepy.gguf.layout import places


def adapter_gguf(adapter: Adapter, base: BaseModel, path: Path, name: str) -> GgufFile:
    """Write `adapter` to `path`, to be used with any GGUF file of `base`, and call it `name` in the metadata.

    Float32, for small updates would vanish among f16's smallest numbers. Raises ModelError for an adapter that is
    damaged or of another base model.
    """
    from gguf import GGUFWriter

    updates = read_updates(adapter, base)
    found = places(base, [update.name for update in updates])
    # llama.cpp scales by alpha / r: one alpha for the file, so what else an update needs goes into its b
    alpha = updates[0].scale * len(updates[0].a)
    with whole(path) as partial:
        writer = GGUFWriter(partial, read_header(base.gguf_f16).text("general.architecture"))
        writer.add_type("adapter")
        writer.add_name(name)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)
        for update in updates:
            place = found[update.name]
            b = update.b * (update.scale * len(update.a) / alpha)
            writer.add_tensor(f"{place.name}.lora_a", update.a.numpy())
            writer.add_tensor(f"{place.name}.lora_b", place.rows(b.numpy()).copy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return GgufFile.of(path, "f32")

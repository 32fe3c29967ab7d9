"""GGUF for llama.cpp, the adapter as GGUF, and a Modelfile for Ollama."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sleepy.adapters.folder import read_updates
from sleepy.artifacts import Adapter, BaseModel, GgufFile, Prompt
from sleepy.deliver.kept import TOO_LITTLE, Kept, kept
from sleepy.deliver.modelfile import modelfile
from sleepy.deliver.proof import NOT_COMPARED, Proof, prove
from sleepy.errors import ModelError
from sleepy.files import need_space, whole
from sleepy.gguf.adapter import adapter_gguf
from sleepy.gguf.layout import places
from sleepy.gguf.quantize import quantize_keeping, quantize_like
from sleepy.gguf.write import write_f16
from sleepy.options import choice, ranged


@dataclass(frozen=True)
class Files:
    """The model file to be served, what came with it, how it was proven, and what it keeps of the adapter's update."""

    gguf: GgufFile
    adapter_gguf: GgufFile | None
    modelfile: Path | None
    proof: str
    warnings: tuple[str, ...]
    kept: Kept | None = None


@dataclass(frozen=True, kw_only=True)
class Export:
    """Writes model-<quantization>.gguf and what goes with it.

    quantization: how weights are stored. "keep": the matrices that the adapter touches as q8_0 (f16 where the base has
        q8_0), the others as the base has them; or all of them as "q4_k_m" (about 5 bits a weight), "q6_k" (6.6),
        "q8_0" (8.5) or "f16" (16). Few bits erase most of a small update: see export/kept.
    keep_f16: keep model-f16.gguf, from which the quantised file is made, so that you can quantise it differently later.
    adapter: also write the adapter alone as adapter.gguf, for llama.cpp's --lora.
    modelfile: also write a Modelfile, for `ollama create` (not for a file that keeps less than half of the update).
    proof_prompts: on how many prompts the f16 file must answer as the merged model does. 0 leaves the proof out (0 to
        100).
    recovery: for how many held-out answers to ask how likely they are under the base model, with the adapter, and under
        the written file. 0 leaves it out, and so does every engine but llama_cpp (0 to 100).
    measure: ask the written model file the exam too. It becomes a further column of the report.
    """

    quantization: str = choice("keep", "q4_k_m", "q6_k", "q8_0", "f16")
    keep_f16: bool = False
    adapter: bool = True
    modelfile: bool = True
    proof_prompts: int = ranged(2, at_least=0, at_most=100)
    recovery: int = ranged(3, at_least=0, at_most=100)
    measure: bool = False

    def export(
        self, merged: Path, base: BaseModel, adapter: Adapter | None, prompts: Sequence[Prompt], folder: Path, name: str
    ) -> Files:
        """Write the model in folder `merged`, which is `base` with `adapter`, to `folder`, as `name` in its metadata.

        The shortest of `prompts` serve the proof. Raises ModelError when files do not fit each other, the disk is full
        or the proof fails; a file stands under its final name only when it is whole and proven.
        """
        folder.mkdir(parents=True, exist_ok=True)
        f16, final = folder / "model-f16.gguf", folder / f"model-{self.quantization}.gguf"
        size = base.gguf_f16.stat().st_size
        need_space(folder, size if final == f16 else size * 8 // 5, "the GGUF files")
        source = f"{base.name} with LoRA adapter {adapter.digest[:12]}" if adapter else base.name
        with whole(f16) as partial:
            write_f16(merged, base, partial, {"general.name": name, "general.description": source})
            proof = self._proof(merged, partial, prompts)
        if final != f16:
            try:
                if self.quantization == "keep":
                    names = [update.name for update in read_updates(adapter, base)] if adapter else []
                    quantize_keeping(base.gguf, f16, final, (p.name for p in places(base, names).values()))
                else:
                    quantize_like(base.gguf, f16, final, self.quantization)
            finally:
                if not self.keep_f16:
                    f16.unlink()
        lora = adapter_gguf(adapter, base, folder / "adapter.gguf", name) if adapter and self.adapter else None
        found = kept(adapter, base, final) if adapter else None
        warnings = proof.warnings + (found.warnings if found else ())
        file = None
        if self.modelfile and (found is None or found.share >= TOO_LITTLE):
            file, why_not = self._modelfile(merged, final)
            warnings += why_not
        return Files(GgufFile.of(final, self.quantization), lora, file, proof.line, warnings, found)

    def _proof(self, merged: Path, f16: Path, prompts: Sequence[Prompt]) -> Proof:
        shortest = sorted(prompts, key=lambda prompt: sum(len(message["content"]) for message in prompt.messages))
        if not shortest or not self.proof_prompts:
            return Proof(NOT_COMPARED)
        return prove(merged, f16, shortest[: self.proof_prompts])

    def _modelfile(self, merged: Path, final: Path) -> tuple[Path | None, tuple[str, ...]]:
        path = final.parent / "Modelfile"
        try:
            text = modelfile(merged, final)
        except ModelError as error:
            return None, (f"no Modelfile was written: {error}",)
        with whole(path) as partial:
            partial.write_text(text, encoding="utf-8")
        return path, ()

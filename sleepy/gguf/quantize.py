"""An f16 GGUF file in fewer bits a weight."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from pathlib import Path

from sleepy.errors import ModelError
from sleepy.files import whole
from sleepy.gguf.header import read_header
from sleepy.gguf.llama import FTYPES, captured_log, reason_in

F32, F16, Q8_0, BF16 = 0, 1, 8, 30  # ggml's numbers of the types


def quantize_keeping(like: Path, source: Path, target: Path, touched: Iterable[str]) -> None:
    """Write `source`, f16, to `target` such that the matrices `touched` keep a small update: they are stored as Q8_0,
    or as f16 where the file `like` has Q8_0 itself, whose grid would swallow the update again. All others are stored in
    the type that `like` has for them. Raises ModelError with llama.cpp's words when it fails."""
    header, changed = read_header(like), set(touched)
    finer = {F32: F16, F16: F16, BF16: F16, Q8_0: F16}
    types = {
        name: finer.get(type_, Q8_0) if name in changed else type_
        for name, (shape, type_, _) in header.tensors.items()
        if len(shape) > 1
    }
    quantize(source, target, "q8_0", types)


def quantize_like(like: Path, source: Path, target: Path, kind: str) -> None:
    """Write `source`, f16, to `target` as `kind`, each matrix in the type that the file `like` has for it.

    Which matrices get more bits than others is not the same in all versions of llama.cpp, and the choice is worth
    several percent of a matrix: a comparison with `like` would show that beside what training did. Where `like` is
    not of this kind the choice is llama.cpp's. Raises ModelError with llama.cpp's words when it fails.
    """
    header = read_header(like)
    same = "general.file_type" in header.values and header.number("general.file_type") == FTYPES[kind]
    types = {name: type_ for name, (shape, type_, _) in header.tensors.items() if len(shape) > 1} if same else {}
    quantize(source, target, kind, types)


def quantize(source: Path, target: Path, kind: str, types: dict[str, int]) -> None:
    """Write `source` to `target` as `kind`, the tensors that `types` names in its ggml types."""
    import llama_cpp

    override = llama_cpp.llama_model_tensor_override
    overrides = [override(f"^{re.escape(name)}$".encode(), type_) for name, type_ in types.items()]
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = FTYPES[kind]
    options.tt_overrides = (override * (len(overrides) + 1))(*overrides, override(None, 0))
    with whole(target) as partial, captured_log() as log:
        if llama_cpp.llama_model_quantize(str(source).encode(), str(partial).encode(), ctypes.byref(options)):
            raise ModelError(f"{source}: cannot be written as {kind}: {reason_in(log)}")

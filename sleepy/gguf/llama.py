"""The little of llama.cpp that preparing a model takes: requantising a file, and its idea of the vocabulary."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sleepy.errors import ModelError

# llama.cpp's names for "mostly this type" (enum llama_ftype in llama.h)
FTYPES = {"f16": 1, "q8_0": 7, "q4_k_m": 15, "q6_k": 18}


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """Collect what llama.cpp would print into a list, to be shown when something fails."""
    import llama_cpp
    from llama_cpp import _logger

    lines: list[str] = []

    @llama_cpp.llama_log_callback
    def keep(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
        lines.append(text.decode("utf-8", "replace"))

    llama_cpp.llama_log_set(keep, ctypes.c_void_p(0))
    try:
        yield lines
    finally:
        llama_cpp.llama_log_set(_logger.llama_log_callback, ctypes.c_void_p(0))


def quantize(source: Path, target: Path, kind: str) -> None:
    """Write `source` (a GGUF file of any type) as GGUF of `kind`: f16, q8_0 or q4_k_m.

    Metadata, tokenizer and chat template are copied. `target` appears whole or not at all. Raises ModelError with
    llama.cpp's words when it cannot be done, for instance because `source` is truncated.
    """
    import llama_cpp

    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = FTYPES[kind]
    options.allow_requantize = True
    partial = target.with_name(target.name + ".part")
    with captured_log() as lines:
        failed = llama_cpp.llama_model_quantize(str(source).encode(), str(partial).encode(), ctypes.byref(options))
    if failed:
        partial.unlink(missing_ok=True)
        raise ModelError(f"{source}: cannot be written as {kind}: {reason_in(lines)}")
    partial.replace(target)


def reason_in(log: list[str]) -> str:
    """The first failure that a captured log tells of, else its last line."""
    told = "".join(log).strip() or "llama.cpp gave no reason"
    failure = re.search(r"\w+: (?:error|failed)[^\n]*", told)
    return failure[0] if failure else told.splitlines()[-1]


@contextmanager
def header(gguf: Path) -> Iterator[Any]:
    """llama.cpp's handle of a GGUF file whose weights are left out: metadata and vocabulary. ModelError if damaged."""
    import llama_cpp

    options = llama_cpp.llama_model_default_params()
    options.vocab_only = True
    with captured_log() as lines:
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), options)
        if not model:
            raise ModelError(f"{gguf}: llama.cpp cannot read it: {reason_in(lines)}")
        try:
            yield model
        finally:
            llama_cpp.llama_model_free(model)


def metadata(model: Any, key: str) -> str:
    """A short entry of a model's metadata; empty if there is none."""
    import llama_cpp

    value = ctypes.create_string_buffer(64)
    llama_cpp.llama_model_meta_val_str(model, key.encode(), value, len(value))
    return value.value.decode("utf-8", "replace")


def is_quantized(model: Any) -> bool:
    """Whether a model's file says that its weights are blocks of small integers, not 16 or 32 bit floats."""
    return metadata(model, "general.file_type") not in ("0", "1", "32")  # llama_ftype: all F32, mostly F16, mostly BF16


def end_tokens(model: Any) -> list[int]:
    """The ids at which llama.cpp ends a generation."""
    import llama_cpp

    vocab = llama_cpp.llama_model_get_vocab(model)
    return [i for i in range(llama_cpp.llama_vocab_n_tokens(vocab)) if llama_cpp.llama_vocab_is_eog(vocab, i)]


def tokenize(model: Any, text: str) -> list[int]:
    """Token ids of a text that contains special tokens, nothing added at either end."""
    import llama_cpp

    data = text.encode()
    room = (llama_cpp.llama_token * (len(data) + 8))()
    vocab = llama_cpp.llama_model_get_vocab(model)
    count = llama_cpp.llama_tokenize(vocab, data, len(data), room, len(room), False, True)
    return list(room[:count])

"""Adapters on a loaded model: which one a prompt names, whether it fits, and how llama.cpp puts it on."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sleepy.artifacts import HotAdapter, Served
from sleepy.errors import EngineError, ModelError
from sleepy.gguf.header import Header, read_header, tensor

_FLOAT32 = (6).to_bytes(4, "little")  # GGUF's number of the type, as it stands before a value
Shapes = Mapping[str, tuple[int, ...]]


def hot_adapter(model: Served, name: str) -> HotAdapter:
    """The adapter that a prompt names. Raises EngineError when `model` is served without it."""
    for adapter in model.adapters:
        if adapter.name == name:
            return adapter
    known = ", ".join(adapter.name for adapter in model.adapters) or "no adapter"
    raise EngineError(
        f"found a prompt for the adapter {name!r}, expected one that {model.name} is served with ({known}): "
        'name one of these, or "" for the model as it is'
    )


def check_fit(path: Path, found: Shapes, words: tuple[str, str, str], base: Shapes, name: str) -> None:
    """Hold an adapter's tensors, `found` in the file `path`, against the weights of the model `name`.

    `words` are what its tensors' names carry for A (r, in) and B (out, r), and the weight's own (out, in) instead.
    Raises EngineError when there are none, or one has no place in the model.
    """
    a, b, own = words
    pairs = {key.replace(a, own): (shape, found.get(key.replace(a, b), ())) for key, shape in found.items() if a in key}
    if not pairs:
        raise EngineError(f"{path}: found no LoRA tensors, expected those of a trained adapter: make it again")
    for weight, (down, up) in pairs.items():
        if up[:1] + down[1:] != base.get(weight) or up[1:] != down[:1]:
            raise EngineError(
                f"{path}: found an update of {weight} of shape {up} x {down}, but {name} has "
                f"{base.get(weight, 'no such weight')} there: this adapter is of another base model. Serve it with the "
                "model that it was trained on, or train it anew"
            )


class LlamaAdapters:
    """The adapters of a model that llama.cpp has loaded; each file is read when it is first named."""

    def __init__(self, llama: Any, model: Served) -> None:
        self._llama, self._model = llama, model
        self._loaded: dict[str, Any] = {}  # llama.cpp's pointers

    def load(self, names: Iterable[str]) -> None:
        """Read those of the named adapters that are not in memory yet; "" names none.

        Raises EngineError for a name that is unknown, and for a file that is missing, truncated, no adapter, or of
        another base model.
        """
        for name in names:
            if name and name not in self._loaded:
                self._loaded[name] = self._read(hot_adapter(self._model, name).gguf)

    def put_on(self, name: str) -> None:
        """From the next token on the loaded adapter `name` takes part, or none if it is "". The context's memory was
        made with another one: drop it."""
        from llama_cpp import llama_cpp as api

        chosen = [self._loaded[name]] if name else []
        pointers = (api.llama_adapter_lora_p_ctypes * len(chosen))(*chosen)
        scales = (ctypes.c_float * len(chosen))(*[1.0 for _ in chosen])
        if api.llama_set_adapters_lora(self._llama._ctx.ctx, pointers, len(chosen), scales):
            raise EngineError(f"llama.cpp could not put the adapter {name!r} on {self._model.name}: merge it instead")

    def close(self) -> None:
        """Free the adapters. Before the model is closed: they are its own."""
        from llama_cpp import llama_cpp as api

        self.put_on("")
        while self._loaded:
            api.llama_adapter_lora_free(self._loaded.popitem()[1])

    def _read(self, path: Path) -> Any:
        from llama_cpp import llama_cpp as api
        from llama_cpp._utils import suppress_stdout_stderr

        if not path.is_file():
            raise EngineError(f"found no adapter file {path}: export the adapter as GGUF first")
        try:
            header = read_header(path)
            self._check(path, header)
            found = {name: tensor(path, header, name).shape for name in header.tensors}
        except (ModelError, OSError, ValueError, OverflowError) as error:
            raise EngineError(f"the adapter cannot be read: {error}") from error
        with suppress_stdout_stderr(disable=False):  # a line for every matrix, on what it does about its memory
            pointer = api.llama_adapter_lora_init(self._llama._model.model, str(path).encode())
        if not pointer:  # a null pointer is false, but not None
            base = read_header(self._model.gguf).tensors  # takes seconds, so only to say what is wrong
            weights = {name: shape for name, (shape, _, _) in base.items()}
            check_fit(path, found, (".lora_a", ".lora_b", ""), weights, self._model.name)
            raise EngineError(f"llama.cpp does not take {path} as an adapter: export the adapter anew")
        return pointer

    def _check(self, path: Path, header: Header) -> None:
        """llama.cpp answers a wrong value with a null pointer, but ends the process when one is of a wrong type."""
        kind, method = header.text("general.type"), header.text("adapter.type")
        alpha = header.values.get("adapter.lora.alpha", b"")[:4]
        if (kind, method, alpha) != ("adapter", "lora", _FLOAT32) or not header.tensors:
            raise EngineError(
                f"{path}: found a GGUF file of type {kind or 'unknown'} with {len(header.tensors)} tensors, expected a "
                "LoRA adapter with its alpha: export the adapter as GGUF"
            )
        found, expected = header.text("general.architecture"), self._llama.metadata["general.architecture"]
        if found != expected:
            raise EngineError(
                f"{path}: found an adapter for the architecture {found or 'unknown'}, but {self._model.name} is "
                f"{expected}: serve it with the model that it was trained on"
            )

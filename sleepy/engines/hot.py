"""Adapters on a loaded model: which one a prompt names, whether it fits, and how llama.cpp activates it."""

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
    known = ", ".join(adapter.name for adapter in model.adapters) or "none"
    raise EngineError(f"A prompt names the adapter {name!r}, which {model.name} does not have (its adapters: {known})")


def check_fit(path: Path, found: Shapes, words: tuple[str, str, str], base: Shapes, name: str) -> None:
    """Compare the shapes of an adapter's tensors, `found` in the file `path`, with the weights `base` of a model.

    `words` are the parts of a tensor's name that mark A (r, in) and B (out, r), and what the weight (out, in) has
    there. `name` is the model's.
    Raises EngineError when there are no such tensors, or one does not fit the model.
    """
    a, b, own = words
    pairs = {key.replace(a, own): (shape, found.get(key.replace(a, b), ())) for key, shape in found.items() if a in key}
    if not pairs:
        raise EngineError(f"{path} has no LoRA tensors: train or export the adapter again")
    for weight, (down, up) in pairs.items():
        if up[:1] + down[1:] != base.get(weight) or up[1:] != down[:1]:
            raise EngineError(
                f"{path} updates {weight} with {up} x {down}, but {name} has {base.get(weight, 'no such weight')} "
                "there: the adapter belongs to another base model. Use it with the model that it was trained on"
            )


class LlamaAdapters:
    """The adapters of a model that llama.cpp has loaded. Each file is read when a prompt first names it."""

    def __init__(self, llama: Any, model: Served) -> None:
        self._llama, self._model = llama, model
        self._loaded: dict[str, Any] = {}  # llama.cpp's pointers

    def load(self, names: Iterable[str]) -> None:
        """Read the named adapters that are not in memory yet; "" stands for none.

        Raises EngineError for a name that is unknown, and for a file that is missing, truncated, no adapter, or of
        another base model.
        """
        for name in names:
            if name and name not in self._loaded:
                self._loaded[name] = self._read(hot_adapter(self._model, name).gguf)

    def activate(self, name: str) -> None:
        """Use the loaded adapter `name` from the next token on, or none if it is "". The caller has to clear the
        context's memory, which was computed with another one."""
        from llama_cpp import llama_cpp as api

        chosen = [self._loaded[name]] if name else []
        pointers = (api.llama_adapter_lora_p_ctypes * len(chosen))(*chosen)
        scales = (ctypes.c_float * len(chosen))(*[1.0 for _ in chosen])
        if api.llama_set_adapters_lora(self._llama._ctx.ctx, pointers, len(chosen), scales):
            raise EngineError(f"llama.cpp cannot put the adapter {name!r} on {self._model.name}: merge it instead")

    def close(self) -> None:
        """Free the adapters. Call it before the model is closed, which owns them."""
        from llama_cpp import llama_cpp as api

        self.activate("")
        while self._loaded:
            api.llama_adapter_lora_free(self._loaded.popitem()[1])

    def _read(self, path: Path) -> Any:
        from llama_cpp import llama_cpp as api
        from llama_cpp._utils import suppress_stdout_stderr

        if not path.is_file():
            raise EngineError(f"There is no adapter file {path}: export the adapter as GGUF first")
        try:
            header = read_header(path)
            self._check(path, header)
            found = {name: tensor(path, header, name).shape for name in header.tensors}
        except (ModelError, OSError, ValueError, OverflowError) as error:
            raise EngineError(f"The adapter cannot be read: {error}") from error
        with suppress_stdout_stderr(disable=False):  # it prints a line for every matrix
            pointer = api.llama_adapter_lora_init(self._llama._model.model, str(path).encode())
        if not pointer:  # a null pointer is false, but not None
            base = read_header(self._model.gguf).tensors  # takes seconds, so only after a failure
            weights = {name: shape for name, (shape, _, _) in base.items()}
            check_fit(path, found, (".lora_a", ".lora_b", ""), weights, self._model.name)
            raise EngineError(f"llama.cpp does not accept {path} as an adapter: export it again")
        return pointer

    def _check(self, path: Path, header: Header) -> None:
        """Check what llama.cpp does not: a value of the wrong type would end the process."""
        kind, method = header.text("general.type"), header.text("adapter.type")
        alpha = header.values.get("adapter.lora.alpha", b"")[:4]
        if (kind, method, alpha) != ("adapter", "lora", _FLOAT32) or not header.tensors:
            raise EngineError(
                f"{path} is a GGUF file of type {kind or 'unknown'} with {len(header.tensors)} tensors, not a LoRA "
                "adapter with its alpha: export the adapter as GGUF"
            )
        found, expected = header.text("general.architecture"), self._llama.metadata["general.architecture"]
        if found != expected:
            raise EngineError(
                f"{path} is an adapter for the architecture {found or 'unknown'}, but {self._model.name} is "
                f"{expected}: use it with the model that it was trained on"
            )

"""The header of a GGUF file, value by value as raw bytes, so that what is not understood here is copied exactly.

gguf.GGUFReader makes arrays of every one of a vocabulary's 300000 strings, which takes it seconds; here they are
skipped. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sleepy.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a value, by its type
_FLOATS = {0: "<f4", 1: "<f2"}  # numpy's names of ggml's types F32 and F16


@dataclass(frozen=True)
class Header:
    """`values` holds each metadata value as type and bytes; `tensors` name -> (shape, type, offset after `data`).

    Shapes are numpy's, the reverse of ggml's. `data` is the place in the file where the tensors begin.
    """

    version: int
    values: dict[str, bytes]
    tensors: dict[str, tuple[tuple[int, ...], int, int]]
    data: int

    def text(self, key: str) -> str:
        """A string of the metadata; "" when it is not there."""
        return self.values.get(key, bytes(12))[12:].decode()

    def number(self, key: str) -> int:
        """An unsigned 32-bit number of the metadata. Raises KeyError when it is not there."""
        return int(struct.unpack("<I", self.values[key][4:])[0])

    def packed(self) -> bytes:
        """The header as it stands in a file, up to where the tensors begin."""
        parts = [b"GGUF", struct.pack("<IQQ", self.version, len(self.tensors), len(self.values))]
        for key, value in self.values.items():
            parts += [_packed(key), value]
        for name, (shape, kind, offset) in self.tensors.items():
            parts += [_packed(name), struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, offset)]
        return _padded(b"".join(parts), self.values)


def read_header(path: Path) -> Header:
    """The header of a GGUF file. Raises ModelError when it is truncated or none."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            return _parsed(raw)
    except (OSError, ValueError, LookupError, OverflowError, struct.error) as error:
        raise ModelError(
            f"{path} is damaged, truncated, or not a GGUF file ({type(error).__name__}: {error}). Delete it and run "
            "again"
        ) from error


def parts_of(path: Path) -> list[Path]:
    """The files of the model whose first file is `path`: that alone, or all parts of a split one. Raises ModelError for
    another part than the first, and for missing parts."""
    found = _PART.search(path.name)
    if not found:
        return [path]
    parts = [
        path.with_name(f"{path.name[: found.start()]}-{n:05}-of-{found[2]}.gguf") for n in range(1, int(found[2]) + 1)
    ]
    if path != parts[0]:
        raise ModelError(f"{path}: this is part {int(found[1])} of {len(parts)}. Name the first: {parts[0].name}")
    if missing := [part.name for part in parts if not part.is_file()]:
        raise ModelError(f"{path}: {', '.join(missing)} must be in the same folder")
    return parts


def with_text(header: Header, key: str, text: str) -> Header:
    """`header` with a string of the metadata set."""
    values = {**header.values, key: struct.pack("<I", _STRING) + _packed(text)}
    return Header(header.version, values, header.tensors, header.data)


def tensor(path: Path, header: Header, name: str) -> np.ndarray:
    """A tensor of type f16 or f32 as a view of the file itself. Raises ModelError for other types and short files."""
    import numpy as np

    shape, kind, offset = header.tensors[name]
    if kind not in _FLOATS:
        raise ModelError(f"{path}: {name} must be f16 or f32, not ggml type {kind}")
    try:
        return np.memmap(path, _FLOATS[kind], "r", header.data + offset, shape)
    except ValueError as error:
        raise ModelError(f"{path} is truncated: {name} is not all there ({error}). Delete it and run again") from error


def _parsed(raw: mmap.mmap) -> Header:
    if raw[:4] != b"GGUF":
        raise ValueError(f"it begins with {raw[:4]!r}")
    version, count, value_count = struct.unpack_from("<IQQ", raw, 4)
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version} instead of 2 or 3")
    at = 24
    values: dict[str, bytes] = {}
    for _ in range(value_count):
        key, start = _string(raw, at)
        (kind,) = struct.unpack_from("<I", raw, start)
        at = _end(raw, start + 4, kind)
        values[key] = raw[start:at]
    tensors = {}
    for _ in range(count):
        name, at = _string(raw, at)
        (dimensions,) = struct.unpack_from("<I", raw, at)
        *shape, kind, offset = struct.unpack_from(f"<{dimensions}QIQ", raw, at + 4)
        tensors[name] = (tuple(reversed(shape)), kind, offset)
        at += 16 + 8 * dimensions
    return Header(version, values, tensors, len(_padded(raw[:at], values)))


def _end(raw: mmap.mmap, at: int, kind: int) -> int:
    """Where the value of type `kind` that begins at `at` ends."""
    if kind == _STRING:
        return at + 8 + int(struct.unpack_from("<Q", raw, at)[0])
    if kind != _ARRAY:
        return at + _SIZES[kind]
    item, count = struct.unpack_from("<IQ", raw, at)
    at += 12
    if item in _SIZES:
        return at + int(_SIZES[item] * count)
    for _ in range(count):
        at = _end(raw, at, item)
    return at


def _string(raw: mmap.mmap, at: int) -> tuple[str, int]:
    """The string at `at`, and where it ends."""
    end = _end(raw, at, _STRING)
    return raw[at + 8 : end].decode(), end


def _packed(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(header: bytes, values: dict[str, bytes]) -> bytes:
    """`header` with zeros up to where the tensors may begin."""
    alignment = struct.unpack("<I", values["general.alignment"][4:])[0] if "general.alignment" in values else 32
    return header + bytes(-len(header) % alignment)

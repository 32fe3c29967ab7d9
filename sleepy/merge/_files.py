"""Files that are whole or absent, and safetensors seen as arrays in place."""

from __future__ import annotations

import errno
import json
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sleepy.errors import ModelError

if TYPE_CHECKING:
    import numpy as np

WEIGHTS = "model.safetensors"
_TYPES = {"F16": "<f2", "F32": "<f4"}


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A path at which to write a file or folder. It becomes `target` when the block ends well, else it is removed.

    A full or forbidding disk becomes a ModelError.
    """
    partial = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
        yield partial
        remove(target)
        partial.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise ModelError(
            f"{error.filename or target}: {error.strerror}: the folder must be writable and have room; "
            f"nothing half-made was left, run again when mended"
        ) from error
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Remove a file or folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mapped(path: Path, mode: Literal["r", "r+"] = "r") -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by name, as views of the file itself; with mode "r+" changing them changes it.

    Raises ModelError if the file is missing, shorter than it says, or of other types than f16 and f32.
    """
    import numpy as np

    try:
        raw = np.memmap(path, np.uint8, mode)
        (length,) = struct.unpack("<Q", raw[:8].tobytes())
        header = json.loads(bytes(raw[8 : 8 + length]))
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            data = raw[8 + length + start : 8 + length + end]
            tensors[name] = data.view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(
            f"{path}: found a missing, truncated or damaged file ({type(error).__name__}: {error}), "
            f"expected safetensors of f16: make it anew"
        ) from error
    return tensors

"""Files that are whole or absent: remembered digests, folders made once, free space, and a lock around it all."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from sleepy.artifacts import digest_of_file
from sleepy.files import read_json, write_json

# Part of the name of what is derived from a model: raise it when `_derive` makes something else than before.
FORMAT = 1


def remember(path: Path, notebook: Path, digest: str) -> None:
    """Note in `notebook` (JSON) that `path`, with its present size and time, has this SHA-256."""
    stat = path.stat()
    notes = read_json(notebook)
    notes[os.path.relpath(path, notebook.parent)] = [stat.st_size, stat.st_mtime_ns, digest]
    write_json(notebook, notes)


def remembered_digest(path: Path, notebook: Path) -> str:
    """SHA-256 of a file in hex, hashed only if its size or modification time differ from what `notebook` says."""
    stat = path.stat()
    note = read_json(notebook).get(os.path.relpath(path, notebook.parent))
    if note and note[:2] == [stat.st_size, stat.st_mtime_ns]:
        return note[2]
    digest = digest_of_file(path)
    remember(path, notebook, digest)
    return digest


def made_once(home: Path, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, made at the first call and found again at later ones (under `locked`).

    It is filled under a temporary name and renamed when done. Later its files are compared with the digests they had;
    if one was changed or is missing, that is reported and the folder is made again.
    """
    final, partial = home / f"derived-v{FORMAT}", home / f"derived-v{FORMAT}.part"
    expected = read_json(final / "made.json")
    if expected:
        changed = [
            name
            for name, digest in expected.items()
            if not (final / name).is_file() or remembered_digest(final / name, final / "notes.json") != digest
        ]
        if not changed:
            return final
        warnings.warn(f"{final}: {', '.join(changed)} changed or vanished; making the folder again", stacklevel=2)
    for leftover in (final, partial):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        make(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    files = [path for path in sorted(partial.rglob("*")) if path.is_file()]
    for path in files:
        remember(path, partial / "notes.json", digest_of_file(path))
    notes = read_json(partial / "notes.json")
    write_json(partial / "made.json", {name: note[2] for name, note in notes.items()})
    partial.rename(final)
    return final

"""Files on a disk that may be full: written whole or not at all, under a lock where several processes write."""

from __future__ import annotations

import codecs
import errno
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sleepy.errors import DataError, DiskError, SleepyError, several

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
_ASKED = 1 << 20  # bytes that a disk must still have room for, where nobody knows how many were to be written


@contextmanager
def explained(place: Path, size: int = 0) -> Iterator[None]:
    """A disk that is full or may not be written, in the block, becomes a DiskError that names the file.

    Libraries such as torch and safetensors raise errors of their own and do not pass on what the system said. After one
    of those the disk is asked whether it has room at `place` for `size` bytes.
    """
    try:
        yield
    except SleepyError:
        raise
    except Exception as error:
        refused = _refusal(error, place, max(size, _ASKED))
        if refused is None:
            raise
        raise DiskError(f"{refusal_text(refused, place)} No partial file was left behind") from error


def refusal_text(error: OSError, place: object = "") -> str:
    """What a disk refused, and what to do. `place` is named where the error names no file."""
    return (
        f"{error.filename or place}: {error.strerror}. The folder must be writable and have room. "
        "Correct this and run the same command again."
    )


def _refusal(error: Exception, place: Path, size: int) -> OSError | None:
    """The disk's refusal behind an error: in its chain of causes, or repeated when the disk is asked."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in REFUSALS:
            return cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    if isinstance(error, OSError):
        return None
    probe = place.with_name(f"{place.name}.{os.getpid()}.probe")
    try:
        with probe.open("wb") as out:
            if hasattr(os, "posix_fallocate"):  # also knows quotas and the largest size of a file
                os.posix_fallocate(out.fileno(), 0, size)
            elif shutil.disk_usage(place.parent).free < size:
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
    except OSError as refused:
        return OSError(refused.errno, refused.strerror, str(place)) if refused.errno in REFUSALS else None
    finally:
        probe.unlink(missing_ok=True)
    return None


@contextmanager
def whole(target: Path, size: int = 0) -> Iterator[Path]:
    """A path at which to write a file or folder. It replaces `target` when the block ends well, else it is removed.

    Raises DiskError for a disk that is full or may not be written; `size` as for `explained`.
    """
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with explained(target, size):
            target.parent.mkdir(parents=True, exist_ok=True)
            remove(partial)
            yield partial
            if partial.is_dir():
                remove(target)
            partial.replace(target)
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Remove a file or folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False))


def write_tensors(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write torch tensors as a safetensors file, whole or not at all. They are in memory twice meanwhile: safetensors'
    own writer does not say what the system refused."""
    from safetensors.torch import save

    with whole(path) as partial:
        partial.write_bytes(save(dict(tensors), dict(metadata) if metadata else None))


def read_json(path: Path) -> dict:
    """A JSON object from a file; empty if the file is missing or damaged (for what can be made again)."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def read_jsonl(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file, each with its line number, from 1. Empty lines are passed over, and so is a byte
    order mark. Only "\\n" ends a line: U+2028, U+2029 and U+0085 may stand inside a text.

    Raises DataError that names the file and every line that is not a JSON object in UTF-8.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    problems: list[str] = []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}: this is UTF-16. Save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    if content.lstrip().startswith(b"["):
        raise DataError(
            f"{path}: this is a JSON array, but each line must be an object. Convert it: jq -c '.[]' {path} > new.jsonl"
        )
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode())
            if not isinstance(record, dict):
                raise ValueError(f"it is a {type(record).__name__}")
            json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair can be read, but not written
            found.append((number, record))
        except (ValueError, RecursionError) as error:
            problems.append(f"{path}:{number}: {_not_an_object(error)}")
    if problems:
        raise DataError(several(problems))
    return found


def _not_an_object(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return f"not in UTF-8: found the byte {byte:#x} at place {error.start + 1}. Save the file as UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"not a JSON object: {error.msg} at column {error.colno}"
    return f"not a JSON object: {error}"


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write dataclasses or dicts as JSONL, whole or not at all; how many."""
    count = 0
    with whole(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(json.dumps(row if isinstance(row, dict) else asdict(row), ensure_ascii=False) + "\n")
            count += 1
    return count


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def need_space(folder: Path, needed: int, what: str) -> None:
    """Raises DiskError unless `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskError(
            f"{folder}: {free / 1e9:.1f} GB are free, but {needed / 1e9:.1f} GB are needed for {what}. "
            "Free some space, or choose another folder"
        )


@contextmanager
def alone(lock: Path, doing: str) -> Iterator[None]:
    """Keep other processes out of the block as long as one is in it with the same file `lock`. Who waits says for which
    process, and that it is `doing`. The system takes the lock from a process that has died, however it died, so the
    next one goes on. Raises DiskError as `whole` does."""
    from filelock import FileLock, Timeout

    owner = lock.with_name(f"{lock.name}.owner")  # beside it: who tries for a lock empties its file
    with explained(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        try:
            held.acquire(timeout=0)
        except Timeout:
            who = read_json(owner)
            named = f"process {who['pid']} on {who['host']}" if {"pid", "host"} <= who.keys() else "another process"
            print(f"waiting for {named}, which is {doing}", file=sys.stderr)
            held.acquire()
    try:
        write_json(owner, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        remove(owner)
        held.release()


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Make the folder `home` and keep other processes out of it for the block. Raises DiskError as `whole` does."""
    with explained(home), alone(Path(f"{home}.lock"), f"using {home}"):
        home.mkdir(parents=True, exist_ok=True)
        yield

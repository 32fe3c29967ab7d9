"""What tests share: the cache of models, a sandbox, a real small model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from sleepy.artifacts import BaseModel, Task
from sleepy.sandbox.bwrap import Bwrap
from sleepy.sandbox.checker import Checker
from tests.jobs import job
from tests.models.places import write_gguf

if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes share the cores; read when torch is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("ci", max_examples=25, deadline=None)
settings.load_profile("ci")

LAYERS = 2
BROKEN = """pub fn total(words: Vec<String>) -> usize {
    words.iter().map(|w| w.len()).sum()
}

pub fn report(words: Vec<String>) -> String {
    let n = total(words);
    format!("{} chars in {} words", n, words.len())
}
"""


@pytest.fixture(scope="session")
def cache() -> Path:
    """The user's own cache: models are not fetched anew for every test run."""
    return Path(os.environ.get("SLEEPY_CACHE", "~/.cache/sleepy")).expanduser()


@pytest.fixture(scope="session")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    """A real sandbox with a verdict cache of its own."""
    opened = Bwrap().open(tmp_path_factory.mktemp("verdicts"))
    yield opened
    opened.cache.close()


@pytest.fixture(scope="session")
def smollm2(cache: Path) -> BaseModel:
    """SmolLM2-135M, as `model=smollm2-135m` gives it."""
    from omegaconf import OmegaConf

    from sleepy.models.gguf import GgufModel

    conf = OmegaConf.load(Path(__file__).parent.parent / "conf/model/smollm2-135m.yaml")
    fields = {k: v for k, v in OmegaConf.to_container(conf).items() if k not in ("defaults", "_target_")}
    return GgufModel(**fields).fetch(cache)


@pytest.fixture(scope="session")
def shallow(smollm2: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """SmolLM2 without its later layers, as a folder that transformers loads."""
    from safetensors.torch import load_file, save_file

    folder: Path = tmp_path_factory.mktemp("shallow")
    for path in smollm2.weights.iterdir():
        if path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)
    config = json.loads((folder / "config.json").read_text())
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": LAYERS}))
    tensors = load_file(smollm2.weights / "model.safetensors")
    kept = {
        n: t for n, t in tensors.items() if ".layers." not in n or int(n.split(".layers.")[1].split(".")[0]) < LAYERS
    }
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return replace(smollm2, name="smollm2-shallow", weights=folder)


@pytest.fixture
def koan() -> Task:
    """A sound koan."""
    return Task(
        id="borrow_checker/word_report",
        family="borrow_checker",
        pattern="use_after_move",
        level=1,
        code="E0382",
        edition="2021",
        description="Reports how many characters a list of words has.",
        broken=BROKEN,
        fix=BROKEN.replace("total(words: Vec<String>)", "total(words: &[String])").replace(
            "total(words);", "total(&words);"
        ),
        tests=(
            'assert_eq!(report(vec!["ab".to_string(), "c".to_string()]), "3 chars in 2 words");',
            'assert_eq!(report(vec![]), "0 chars in 0 words");',
        ),
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, and a cache in which it is derived once."""
    folder = tmp_path_factory.mktemp("model")
    write_gguf(folder / "tiny.gguf", head="own")
    return folder


@pytest.fixture(scope="session")
def tiny_words(tiny_model: Path) -> list[str]:
    """The words of a job on the tiny model; three koans, three koans for the gate."""
    return [
        "model=hub", f"model.path={tiny_model / 'tiny.gguf'}", f"cache={tiny_model / 'cache'}",
        "tasks.per_level=1", "tasks.families=[type_mismatch]", "gate.koans=3", "data=all", "data.examples=4",
        "train.steps=2", "train.batch_size=2", "train.max_length=8000", "train.lr=0.01", "device=cpu",
        "report.pictures=false", "export.proof_prompts=1",
    ]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, tiny_words: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`run(words)`: a job on the tiny model, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*more: str) -> Any:
        threads = [] if any(word.startswith("engine=") for word in more) else ["engine.threads=1"]
        return job(tmp_path, *tiny_words, *threads, *more)

    return run


@pytest.fixture
def killed(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`killed(words)`: the same job, ended in its second training step; a checkpoint of the first is left."""

    def job(*words: str) -> None:
        def ended(algorithm: Any, trainer: Any) -> None:
            if trainer.step:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("sleepy.train.sft.Sft.after_step", ended)
            with pytest.raises(KeyboardInterrupt):
                run("train.steps=3", "train.checkpoint_every=1", *words)

    return job

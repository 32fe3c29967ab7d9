"""What makes a job another one, and what does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from sleepy import sources
from sleepy.artifacts import Task
from sleepy.files import write_jsonl
from sleepy.identity import Identities, Identity
from sleepy.preflight import planned
from sleepy.settings import settings
from sleepy.sources import code_digest
from sleepy.track.mlflow import Mlflow
from sleepy.track.tracker import Tracker
from tests.jobs import composed

Identify = Callable[..., Identity]


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Mlflow(folder=str(tmp_path_factory.mktemp("store"))).open()


@pytest.fixture
def identify(tracker: Tracker, tmp_path: Path) -> Identify:
    """The identity of the job of these words, as a new process finds it."""

    def identity(*words: str) -> Identity:
        config = composed(*words)
        s = settings(config)
        resolved: Any = OmegaConf.to_container(config, resolve=True)
        return Identities(tracker, tmp_path / "cache").of(s, planned(s.stages), resolved)

    return identity


def test_places_and_pictures_do_not_make_another_job_and_everything_else_does(identify: Identify) -> None:
    job = identify("experiment=smoke")
    same = (
        "cache=elsewhere", "checkpoints=elsewhere", "track.folder=elsewhere", "track.experiment=other", "debug=true",
        "report.pictures=false", "train.checkpoint_every=1", "engine.threads=1", "sweep.again=true",
        "stages=[report,gate,evaluate,train,export,merge,baseline,prove,fetch]",
    )  # fmt: skip
    assert identify("experiment=smoke", *same).digest == job.digest
    assert identify("experiment=smoke", "algo=replay").digest == job.digest  # the same class, the experiment's pairs
    other = (
        "seed=1", "algo=ewc", "gate.koans=4", "tasks.per_level=2", "model=qwen2.5-coder-0.5b",
        "repair.shots=1", "sandbox.run_cpu_seconds=3", "stages=[fetch,prove,baseline]",
    )  # fmt: skip
    digests = [identify("experiment=smoke", word).digest for word in other]
    assert job.digest not in digests and len({*digests}) == len(digests)
    assert not job.never


def test_files_count_by_what_is_in_them_and_not_by_where_they_are(
    identify: Identify, koan: Task, tmp_path: Path
) -> None:
    digests = []
    for folder, description in (("a", "one"), ("b", "one"), ("c", "other")):
        path = tmp_path / folder / "koans.jsonl"
        path.parent.mkdir()
        write_jsonl(path, [replace(koan, description=description)])
        digests.append(identify("tasks=file", f"tasks.path={path}").digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_models_files_count_and_a_commit_of_the_hub_needs_no_hub(identify: Identify, tiny_model: Path) -> None:
    moved = tiny_model / "moved" / "other.gguf"
    moved.parent.mkdir(exist_ok=True)
    shutil.copy(tiny_model / "tiny.gguf", moved)
    first, second = (identify("model=hub", f"model.path={path}").digest for path in (tiny_model / "tiny.gguf", moved))
    moved.write_bytes(moved.read_bytes() + b"\0")
    assert first == second != identify("model=hub", f"model.path={moved}").digest
    commits = ["a" * 40, "b" * 40]
    hub = [identify("model=hub", "model.repository=a/b", f"model.revision={commit}") for commit in commits]
    assert hub[0].parts["model"] == f"a/b@{commits[0]}" and hub[0].digest != hub[1].digest


def test_some_jobs_are_never_finished(identify: Identify, tmp_path: Path) -> None:
    source = tmp_path / "main.rs"
    source.write_text("fn main() {}")
    assert "files of yours" in identify("stages=[repair]", f"file={source}").never
    assert "files of yours" in identify("stages=[doubts]", f"file={source}").never
    assert "shows runs" in identify("stages=[report]", "report.runs=[a]").never
    served = identify("stages=[fetch,prove,baseline]", "engine=openai", "engine.base_url=http://127.0.0.1:1/v1")
    assert "not known" in served.never
    assert "there is nothing at" in identify("model=hub", "model.path=/no/such/model").never


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """`tree(file, text)`: the digest of sleepy.a in a small tree, after this file was written."""
    root = tmp_path / "sleepy"
    for name, text in {
        "a.py": '"""A."""\nfrom sleepy.b import f\n\ndef g():\n    from sleepy.room import c\n    return f(c)\n',
        "b.py": "import sleepy.report\nf = print\n", "room/__init__.py": "", "room/c.py": "C = 1\n",
        "report.py": "from sleepy import d\n", "d.py": "D = 1\n", "unused.py": "U = 1\n",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(sources, "_ROOT", root)

    def digest(file: str, text: str) -> str:
        (root / file).write_text(text)
        for cached in (sources.code_digest, sources._file, sources._read):
            cached.cache_clear()
        return code_digest(frozenset({"sleepy.a"}))

    yield digest
    for cached in (sources.code_digest, sources._file, sources._read):
        cached.cache_clear()


def test_code_counts_where_it_is_imported_and_not_by_its_comments(tree: Callable[[str, str], str]) -> None:
    now = tree("unused.py", "U = 2\n")
    assert now == tree("report.py", "from sleepy import d, unused\nR = 1\n") == tree("d.py", "D = 2\n")
    assert now == tree("room/c.py", '"""Words."""\n\nC   =  1  # more words\n')
    changed = [tree("room/c.py", "C = 2\n"), tree("b.py", "f = repr\n"), tree("room/data.json", "{}")]
    assert len({now, *changed}) == 4

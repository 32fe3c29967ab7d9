from __future__ import annotations

import subprocess
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sleepy.track import record as record_module
from sleepy.track.record import record
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

NO_CHECKOUT = {"sleepy.code": "not in a git checkout that can be read"}


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    command = ["git", *who, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--initial-branch=trunk")
    for folder in ("code", "ignored"):
        (tmp_path / folder).mkdir()
    (tmp_path / "code" / "a.py").write_text("old = 1\n")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    found = record(checkout / "code")
    commit = git(checkout, "rev-parse", "HEAD")
    assert found.tags == {
        "sleepy.code": commit[:12],
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": "trunk",
        "mlflow.source.git.dirty": "false",
    }
    assert "record/changes.patch" not in found.texts


def test_changes_are_kept_whole_and_apply(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(checkout / "nowhere"))  # as in a hook; must not lead astray
    (checkout / "code" / "a.py").write_text("new = 2\n")
    (checkout / "new file.py").write_text("")
    found = record(checkout / "code")
    monkeypatch.delenv("GIT_DIR")
    assert found.tags["mlflow.source.git.dirty"] == "true"
    assert found.tags["sleepy.code"].endswith(" with changes")
    patch = found.texts["record/changes.patch"]
    assert patch.startswith("# not in git: new file.py\n")
    git(checkout, "checkout", "code/a.py")
    (checkout / "p").write_text(patch)
    git(checkout, "apply", "p")
    assert (checkout / "code" / "a.py").read_text() == "new = 2\n"
    git(checkout, "add", "code")
    assert "+new = 2" in record(checkout).texts["record/changes.patch"]  # staged, too
    monkeypatch.setattr(record_module, "MAX_DIFF", 20)
    assert "new = 2" not in record(checkout).texts["record/changes.patch"]
    assert record(checkout).texts["record/changes.patch"].endswith(" characters]\n")


def test_what_has_no_commit_is_named(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for folder in ("ignored", "missing"):
        assert record(checkout / folder).tags == NO_CHECKOUT
    fresh = tmp_path_factory.mktemp("fresh")
    git(fresh, "init")
    (fresh / "a").write_text("x")
    found = record(fresh)
    assert found.tags == {"sleepy.code": "no commit yet with changes", "mlflow.source.git.dirty": "true"}
    assert found.texts["record/changes.patch"] == "# not in git: a\n"


def test_without_any_tool_the_rest_is_there(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = record(checkout)
    assert found.tags == NO_CHECKOUT and "env.rustc" not in found.params
    assert int(found.params["env.cores"]) >= 1 and float(found.params["env.memory_gb"]) > 0.1
    assert found.params["env.gpu"] == "none" and found.params["env.cpu"]


def test_a_run_carries_its_record(shared: Tracker, client: MlflowClient, checkout: Path) -> None:
    (checkout / "x").write_text("")
    with shared.run(name="recorded") as run:
        run.record(checkout)
    found = client.get_run(run.id)
    assert found.data.tags["mlflow.source.git.commit"] == git(checkout, "rev-parse", "HEAD")
    assert found.data.params["env.rustc"].startswith("rustc 1.")
    folder = Path(client.download_artifacts(run.id, "record"))
    assert {path.name for path in folder.iterdir()} == {"changes.patch", "packages.txt", "untracked.txt"}
    lines = (folder / "packages.txt").read_text().splitlines()
    assert lines == sorted(lines, key=lambda line: line.split("==")[0])
    for name in ("mlflow", "llama-cpp-python", "hydra-core", "torch"):
        assert f"{name}=={metadata.version(name)}" in lines
        assert found.data.params[f"env.{name}"] == metadata.version(name)


def test_files_outside_of_git_are_digested_unless_large(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert record(checkout).texts["record/untracked.txt"] == ""
    (checkout / "new").write_text("x")
    assert record(checkout / "code").texts["record/untracked.txt"] == f"{sha256(b'x').hexdigest()}  new\n"
    monkeypatch.setattr(record_module, "MAX_FILE", 0)
    assert record(checkout).texts["record/untracked.txt"] == "not-digested  new\n"


def test_the_number_of_threads_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert record(Path(__file__).parent).params["env.threads"] == "3"
    monkeypatch.delenv("OMP_NUM_THREADS")
    params = record(Path(__file__).parent).params
    assert params["env.threads"] == params["env.cores"]

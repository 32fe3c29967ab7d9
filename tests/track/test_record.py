from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sleepy.track import record as record_module
from sleepy.track.record import record
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *who, "-C", str(folder), *words], check=True, capture_output=True, text=True
    ).stdout.strip()  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--initial-branch=trunk")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("old = 1\n")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    (tmp_path / "ignored").mkdir()
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
    assert patch.startswith("# not in git: new file.py\n") and "-old = 1\n+new = 2\n" in patch
    git(checkout, "checkout", "code/a.py")
    (checkout / "p").write_text(patch)
    git(checkout, "apply", "p")
    assert (checkout / "code" / "a.py").read_text() == "new = 2\n"


def test_a_staged_change_is_a_change(checkout: Path) -> None:
    (checkout / "code" / "a.py").write_text("new = 2\n")
    git(checkout, "add", ".")
    assert "+new = 2" in record(checkout).texts["record/changes.patch"]


def test_a_checkout_without_a_commit_is_told(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "a").write_text("x")
    found = record(tmp_path)
    assert found.tags == {"sleepy.code": "no commit yet with changes", "mlflow.source.git.dirty": "true"}
    assert found.texts["record/changes.patch"] == "# not in git: a\n"


def test_a_huge_change_is_cut(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "MAX_DIFF", 100)
    (checkout / "code" / "a.py").write_text("new = 2\n" * 100)
    patch = record(checkout).texts["record/changes.patch"]
    assert len(patch) < 200 and patch.endswith(" characters]\n")


@pytest.mark.parametrize("folder", ["ignored", "missing"])
def test_no_checkout_is_told(checkout: Path, tmp_path: Path, folder: str) -> None:
    assert record(checkout / folder).tags == {"sleepy.code": "not in a git checkout that can be read"}


def test_without_any_tool_the_rest_is_there(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = record(checkout)
    assert found.tags == {"sleepy.code": "not in a git checkout that can be read"}
    assert "env.rustc" not in found.params
    assert int(found.params["env.cores"]) >= 1 and float(found.params["env.memory_gb"]) > 0.1
    assert found.params["env.gpu"] == "none" and found.params["env.cpu"]


def test_packages_are_listed_and_the_main_ones_are_parameters() -> None:
    found = record(Path(__file__).parent)
    lines = found.texts["record/packages.txt"].splitlines()
    for name in ("mlflow", "llama-cpp-python", "hydra-core", "torch"):
        version = metadata.version(name)
        assert f"{name}=={version}" in lines
        assert found.params[f"env.{name}"] == version
    assert lines == sorted(lines, key=lambda line: line.split("==")[0])
    assert found.params["env.rustc"].startswith("rustc 1.")
    assert f"torch: {metadata.version('torch')}\n" in found.texts["record/environment.txt"]


def test_a_run_carries_its_record(shared: Tracker, client: MlflowClient, checkout: Path) -> None:
    (checkout / "x").write_text("")
    with shared.run(name="recorded") as run:
        run.record(checkout)
    found = client.get_run(run.id)
    assert found.data.tags["mlflow.source.git.commit"] == git(checkout, "rev-parse", "HEAD")
    assert found.data.params["env.mlflow"] == metadata.version("mlflow")
    assert {file.path for file in client.list_artifacts(run.id, "record")} == {
        "record/changes.patch", "record/environment.txt", "record/packages.txt",
    }  # fmt: skip

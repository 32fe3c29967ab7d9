"""A user's own code: what is repaired, what is shown, what is written and what is left alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sleepy.artifacts import Task
from sleepy.errors import ConfigError, DataError
from sleepy.own_code.project import Change, mend
from sleepy.own_code.repair import find
from sleepy.sandbox.checker import Checker, Judge
from tests.conftest import BROKEN

FIX = BROKEN.replace("words: Vec<String>) -> usize", "words: &[String]) -> usize").replace(
    "total(words);", "total(&words);"
)
END = "// not program.rs\npub fn f() {}\n"


def test_a_file_is_repaired_and_written_only_by_write(checker: Checker, tmp_path: Path) -> None:
    path = tmp_path / "words.rs"
    path.write_bytes(BROKEN.replace("\n", "\r\n").encode())
    path.chmod(0o640)
    seen = []

    def solve(task: Task, judge: Judge) -> str | None:
        seen.append((task.id, judge.check(task.broken, (), "2021").codes, judge.check(FIX, (), "2021").passed))
        return FIX

    (change,) = mend(path, checker, solve, "2021")
    assert seen == [("words.rs", ("E0382",), True)] and path.read_bytes().count(b"\r\n") == BROKEN.count("\n")
    change.write()
    assert path.read_bytes() == FIX.replace("\n", "\r\n").encode()
    assert os.stat(path).st_mode & 0o777 == 0o640 and [p.name for p in tmp_path.iterdir()] == ["words.rs"]
    assert mend(path, checker, solve, "2021") == [] and len(seen) == 1  # it compiles: nobody is asked


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.rs"
    path.write_text("fn mine() {}\n")
    with pytest.raises(DataError, match="changed meanwhile"):
        Change(path, "a.rs", BROKEN, FIX).write()
    assert path.read_text() == "fn mine() {}\n"


def test_a_project_is_repaired_file_by_file_and_the_diff_applies(checker: Checker, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "demo"\nversion = "0.1.0"\nedition = "2021"\n')
    files = {"src/main.rs": "mod a;\nmod b;\nfn main() { a::f(); b::g(); }\n", "src/a.rs": BROKEN + END}
    files["src/b.rs"] = "pub fn g() -> u32 { 1u64 }\n"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    asked = []

    def solve(task: Task, judge: Judge) -> str | None:
        asked.append(task.id)
        assert task.edition == "2021"
        program = FIX + END if task.id == "src/a.rs" else "pub fn g() -> u32 { 1 }\n"
        assert judge.check(program, (), "").passed and not judge.check(task.broken, (), "").passed
        return program if task.id == "src/a.rs" else None

    changes = mend(tmp_path, checker, solve, "2021")
    assert sorted(asked) == ["src/a.rs", "src/b.rs"] and [c.name for c in changes] == ["src/a.rs"]
    assert {name: (tmp_path / name).read_text() for name in files} == files
    patch = "".join(c.diff() for c in changes)
    subprocess.run(["git", "apply", "-"], input=patch, text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "src/a.rs").read_text() == FIX + END


@pytest.mark.parametrize("place", ["", "no_such.rs", "notes.txt"])
def test_what_cannot_be_repaired_is_named(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("x")
    with pytest.raises(ConfigError, match="must name a"):
        find(place)


def test_a_file_that_is_no_text_is_named(checker: Checker, tmp_path: Path) -> None:
    path = tmp_path / "a.rs"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        mend(path, checker, lambda task, judge: None, "2021")

"""Verdicts: parsed, cached, and never confused with a broken tool."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sleepy.errors import SandboxError
from sleepy.sandbox import _rustc, _sandbox
from sleepy.sandbox.bwrap import Bwrap
from sleepy.sandbox.rlimit import NOT_COVERED, Rlimit

MOVED = """pub fn count(words: Vec<String>) -> usize {
    let kept = words;
    words.len()
}
"""


def test_diagnostics_carry_code_place_and_suggestion(tmp_path: Path) -> None:
    check = Bwrap().open(tmp_path).check(MOVED, (), "2021")
    (error,) = check.diagnostics
    assert (check.stage, error.code, error.message) == ("compile", "E0382", "borrow of moved value: `words`")
    assert error.labels[0] == (3, "value borrowed here after move")
    assert any("line 2: `let kept = words.clone();`" in text for text in error.helps)
    assert "main.rs:3:5" in error.rendered and "anon" not in error.rendered


def test_verdicts_are_cached_by_content_and_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checker = Bwrap().open(tmp_path)
    first = checker.check(MOVED, (), "2021")
    monkeypatch.setattr(_sandbox, "run_limited", lambda *a, **k: pytest.fail("the compiler was asked again"))
    assert checker.check(MOVED, (), "2021") == first
    assert Bwrap.open is not None and _sandbox.Checker(Bwrap(), checker.cache).check(MOVED, (), "2021") == first
    other = _sandbox.Checker(Bwrap(run_cpu_seconds=3), checker.cache)
    with pytest.raises(pytest.fail.Exception):
        other.check(MOVED, (), "2021")


def test_checks_in_parallel_keep_their_order(tmp_path: Path) -> None:
    checker = Bwrap().open(tmp_path)
    programs = [f"pub fn f() -> u32 {{ {n} }}" for n in range(6)]
    counted: list[int] = []
    checks = checker.check_all(
        [(p, (f"assert_eq!(f(), {n % 2});",), "2021", "") for n, p in enumerate(programs)], lambda: counted.append(1)
    )
    assert [c.passed for c in checks] == [True, True, False, False, False, False] and len(counted) == 6


def test_rlimit_warns_and_still_limits(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="does not|isolates") as caught:
        checker = Rlimit(run_cpu_seconds=1).open(tmp_path)
    assert str(caught[0].message) == NOT_COVERED
    assert checker.check("pub fn f() { loop {} }", ("f();",), "2021").stage == "test"
    assert checker.check("pub fn f() { std::process::exit(0) }", ("f();",), "2021").stage == "test"
    assert checker.check("pub fn f() -> u32 { 1 }", ("assert_eq!(f(), 1);",), "2021").passed


def test_no_rustc_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shim = tmp_path / "rustc"
    shim.write_text("#!/bin/sh\necho 'this shim has no toolchain' >&2\nexit 1\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    _rustc.toolchain.cache_clear()
    try:
        with pytest.raises(SandboxError, match=r"(?s)no rustc on PATH.*setup\.sh.*shim"):
            Bwrap().open(tmp_path)
    finally:
        _rustc.toolchain.cache_clear()


def test_a_sandbox_that_does_not_start_is_never_scored(tmp_path: Path) -> None:
    checker = Bwrap().open(tmp_path)
    broken = _sandbox.Checker(_Broken(), checker.cache)
    with pytest.raises(SandboxError, match="does not start"):
        broken.check("pub fn f() {}", (), "2021")


class _Broken(Bwrap):
    def command(self, argv, limits, *, writable=None, program=None):
        real = super().command(argv, limits, writable=writable, program=program)
        return [real[0], "--ro-bind", "/no/such/folder", "/x", *real[1:]]


def test_a_file_that_is_no_cache_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    path.write_text("somebody's notes " * 100)
    before = path.read_bytes()
    with pytest.raises(SandboxError, match="cannot be used"):
        Bwrap().open(tmp_path)
    assert path.read_bytes() == before


def test_two_processes_share_one_cache(tmp_path: Path) -> None:
    one, two = Bwrap().open(tmp_path), Bwrap().open(tmp_path)
    check = one.check(MOVED, (), "2021")
    assert two.cache.get(next(iter(_keys(tmp_path)))) == check


def _keys(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "verdicts.sqlite") as db:
        return [row[0] for row in db.execute("SELECT key FROM verdicts")]

"""Verdicts: parsed, cached, and never confused with a broken tool."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import CheckJob
from sleepy.errors import SandboxError
from sleepy.sandbox import checker as checker_module
from sleepy.sandbox import rustc
from sleepy.sandbox.bwrap import Bwrap
from sleepy.sandbox.checker import Checker, Limits, Seen
from sleepy.sandbox.process import Finished
from sleepy.sandbox.rlimit import NOT_COVERED, Rlimit
from sleepy.sandbox.verdict import check_machine

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
    monkeypatch.setattr(checker_module, "run_limited", lambda *a, **k: pytest.fail("the compiler was asked again"))
    assert checker.check(MOVED, (), "2021") == first
    assert Checker(Bwrap(), checker.cache).check(MOVED, (), "2021") == first
    other = Checker(Bwrap(run_cpu_seconds=3), checker.cache)
    with pytest.raises(pytest.fail.Exception):
        other.check(MOVED, (), "2021")


def test_a_verdict_counts_the_test_blocks_that_passed_also_when_it_comes_from_the_cache(tmp_path: Path) -> None:
    checker = Bwrap().open(tmp_path)
    program, blocks = "pub fn f() -> u32 { 7 }", ("assert_eq!(f(), 7);", "assert!(f() > 6);", "assert!(f() > 7);")
    counts = {
        blocks: 2, blocks[:2]: 2, blocks[2:]: 0, (blocks[0], "loop {}"): 1, ("f().none();", blocks[0]): 0,
    }  # fmt: skip
    for _ in range(2):
        assert [checker.check(program, tests, "2021").blocks for tests in counts] == list(counts.values())
    assert checker.check(MOVED, blocks, "2021").blocks == 0


def test_verdicts_of_an_earlier_version_are_good_but_count_no_blocks(tmp_path: Path) -> None:
    checker, job = Bwrap().open(tmp_path), ("pub fn f() -> u32 { 7 }", ("assert_eq!(f(), 7);",), "2021")
    found = checker.check(*job)
    with closing(sqlite3.connect(tmp_path / "verdicts.sqlite")) as db, db:
        db.execute("UPDATE verdicts SET verdict = json_remove(verdict, '$.blocks')")
    assert checker.check(*job) == replace(found, blocks=None)


def test_checks_in_parallel_keep_their_order(tmp_path: Path) -> None:
    checker = Bwrap().open(tmp_path)
    programs = [f"pub fn f() -> u32 {{ {n} }}" for n in range(6)]
    counted: list[int] = []
    checks = checker.check_all(
        [CheckJob(p, (f"assert_eq!(f(), {n % 2});",), "2021") for n, p in enumerate(programs)],
        lambda: counted.append(1),
    )
    assert [c.passed for c in checks] == [True, True, False, False, False, False] and len(counted) == 6


@pytest.mark.parametrize(("lint", "program", "edition"), [
    ("clippy::len_zero", "pub fn f(v: &[u8]) -> bool { v.len() == 0 }", "2021"),
    ("static_mut_refs", "static mut N: [u8; 2] = [1, 2];\npub fn f() -> usize { unsafe { N.iter().count() } }", "2021"),
])  # fmt: skip
def test_a_lint_is_an_error_that_no_program_silences(checker: Checker, lint: str, program: str, edition: str) -> None:
    assert checker.check(program, (), edition).compiles
    assert checker.check(program, (), edition, lint).codes[0] == lint
    for silence in (f"#![allow({lint})]", f"#![expect({lint})]", f"#![cfg_attr(all(), allow({lint}))]"):
        assert "E0453" in checker.check(f"{silence}\n{program}", (), edition, lint).codes
    group = "#![allow(clippy::all, warnings)]" if "clippy" in lint else "#![allow(static_mut_refs)]"
    assert not checker.check(f"{group}\n{program}", (), edition, lint).compiles


def test_rlimit_says_what_it_does_not_cover(tmp_path: Path) -> None:
    with pytest.warns(UserWarning) as caught:
        Rlimit().open(tmp_path)
    assert str(caught[0].message) == NOT_COVERED


def test_no_rustc_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shim = tmp_path / "rustc"
    shim.write_text("#!/bin/sh\necho 'this shim has no toolchain' >&2\nexit 1\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    rustc.toolchain.cache_clear()
    try:
        with pytest.raises(SandboxError, match=r"(?s)no rustc on PATH.*setup\.sh.*shim"):
            Bwrap().open(tmp_path)
    finally:
        rustc.toolchain.cache_clear()


def test_a_sandbox_that_does_not_start_is_never_scored(tmp_path: Path) -> None:
    checker = Bwrap().open(tmp_path)
    broken = Checker(_Broken(), checker.cache)
    with pytest.raises(SandboxError, match="does not start"):
        broken.check("pub fn f() {}", (), "2021")


@pytest.mark.parametrize(
    ("program", "stage"),
    [
        ('pub fn f() { eprintln!("bwrap: hello"); std::process::exit(1) }', "test"),
        ('pub fn f() { panic!("No space left on device") }', "test"),
        ('pub fn f() { let s: u32 = "No space left on device"; }', "compile"),
        ('compile_error!("Resource temporarily unavailable"); pub fn f() {}', "compile"),
    ],
)
def test_a_program_that_speaks_like_a_broken_tool_has_failed_itself(checker: Checker, program: str, stage: str) -> None:
    assert checker.check(program, ("f();",), "2021").stage == stage


def test_what_rustc_lacks_is_no_verdict() -> None:
    full = b"error: failed to write /out/koan: No space left on device"
    busy = b'{"message": "cannot spawn cc: Resource temporarily unavailable (os error 11)", "spans": []}'
    for said in (full, busy):
        with pytest.raises(SandboxError, match="run the same command again"):
            check_machine(Finished(1, b"", said, "exit"))
    with pytest.raises(SandboxError, match="out of memory"):
        check_machine(Finished(137, b"", b"", "exit"))
    check_machine(Finished(1, b"", b'{"message": "No space left on device", "spans": [{}]}', "exit"))


THREADS = """pub fn f() -> usize {
    let start = |_| std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_secs(1)));
    let all: Vec<_> = (0..40).map(start).collect();
    all.into_iter().map(|one| one.join().unwrap()).count()
}
"""


def test_programs_at_once_do_not_use_up_each_other_s_processes(checker: Checker) -> None:
    with checker.scratch() as one, checker.scratch() as two, ThreadPoolExecutor(2) as pool:
        runs = []
        for folder in (one, two):
            source, path, nonces = rustc.with_tests(THREADS, ("assert_eq!(f(), 40);",))
            assert checker.build(source, "2021", folder) is None
            runs.append((folder / "koan", path, nonces))
        assert all(check.passed for check in pool.map(lambda run: checker.run(*run), runs))


class _Broken(Bwrap):
    def command(self, argv: list[str], limits: Limits, seen: Seen) -> list[str]:
        real = super().command(argv, limits, seen)
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

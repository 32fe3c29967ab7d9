"""From an attempt to an episode: what is stored, and a diff that can be applied."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import Check, Prompt, Task, digest_of
from sleepy.episodes.record import diff, recorder
from sleepy.episodes.store import open_episodes
from sleepy.results import Attempt
from sleepy.sandbox.checker import Checker


def test_every_attempt_is_stored_as_it_happens(tmp_path: Path, checker: Checker, koan: Task) -> None:
    """A program that is still broken, then one that compiles and does the wrong thing, then the fix."""
    wrong = koan.fix.replace("in {} words", "of {} words")
    programs = [koan.broken, wrong, koan.fix]
    broken = checker.check_all([koan.broken_job])[0]
    checks = checker.check_all([koan.repaired_job(program) for program in programs])
    path = tmp_path / "e.db"
    with open_episodes(path) as store:
        record = recorder(store, "run-7", "m" * 64, {"night": "d" * 64})
        before = broken
        for number, (program, check) in enumerate(zip(programs, checks, strict=True)):
            attempt = Attempt(program, program, check.stage, check.codes, 100 + number, 10, 1.2345)
            prompt = Prompt(({"role": "user", "content": "mend it"},), "", (), adapter="night" if number else "")
            record(koan, number, prompt, attempt, before, check)
            with open_episodes(path, create=False) as other:
                assert len(other.episodes()) == number + 1
            before = check
        first, second, third = store.episodes()
    assert [e.verdict for e in (first, second, third)] == ["compile", "test", "passed"]
    moved = "E0382 borrow of moved value: _"
    assert [(e.before, e.after) for e in (first, second, third)] == [(moved, moved), (moved, ""), ("", "")]
    assert (first.run, first.task, first.family, first.pattern) == ("run-7", koan.id, koan.family, koan.pattern)
    assert [e.attempt for e in (first, second, third)] == [0, 1, 2]
    assert (first.model, first.adapter, third.adapter) == ("m" * 64, "", "d" * 64)
    assert third.prompt == digest_of(prompt.data) != first.prompt
    assert (third.prompt_tokens, third.completion_tokens, third.milliseconds) == (102, 10, 1234)
    assert first.diff == "" and "+fn total(words: &[String])" in third.diff.replace("+pub fn", "+fn")
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(third.time) < timedelta(minutes=1)


def test_a_mixture_of_adapters_has_the_digest_of_all_of_them(tmp_path: Path, koan: Task) -> None:
    found = Check("passed", "")
    with open_episodes(tmp_path / "e.db") as store:
        record = recorder(store, "run-7", "m", {"b": "2", "": "merged", "a": "1"})
        for number, name in enumerate(["a", "", "arrow:3:1.0"]):
            attempt = Attempt("", koan.fix, "passed", (), 1, 1, 0.1)
            record(koan, number, Prompt((), "", (), adapter=name), attempt, found, found)
        assert [e.adapter for e in store.episodes()] == ["1", "merged", digest_of(["1", "2"])]


@pytest.mark.parametrize(
    ("broken", "program"),
    [("a\nb\n", "a\nc\n"), ("a\nb", "a\nc"), ("a\n", "a"), ("a\fb\n", "a\fc\nd\n"), ("a\r\nb\n", "a\nb\n")],
)
def test_a_diff_can_be_applied(tmp_path: Path, broken: str, program: str) -> None:
    (tmp_path / "program.rs").write_bytes(broken.encode())
    (tmp_path / "it.diff").write_bytes(diff(broken, program).encode())
    alone = {**os.environ, "GIT_DIR": str(tmp_path / "none"), "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", "apply", "it.diff"], cwd=tmp_path, check=True, env=alone)
    assert (tmp_path / "program.rs").read_bytes().decode() == program


@given(st.text(alphabet="ab\n\r\f\u2028"), st.text(alphabet="ab\n\r\f\u2028"))
def test_every_new_line_stands_in_the_diff(broken: str, program: str) -> None:
    found = diff(broken, program)
    assert (found == "") == (broken == program)
    added = {line[1:] for line in found.split("\n")[2:] if line.startswith("+")}
    assert set(program.split("\n")) - set(broken.split("\n")) <= {*added, ""}

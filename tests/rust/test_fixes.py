"""What rustc suggests to write: read as data, and applied."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import CheckJob, Diagnostic, Edit, Task
from sleepy.rust.fixes import with_fixes
from sleepy.rust.messages import short_message
from sleepy.sandbox.checker import Checker
from sleepy.sandbox.rustfix import rustfixed


def fixed(checker: Checker, program: str, lint: str = "") -> str:
    """What a program is after the first suggestions."""
    return with_fixes(program, checker.check(program, (), "2021", lint).diagnostics)


def rounds(checker: Checker, program: str) -> tuple[str, bool]:
    job = CheckJob(program, (), "2021")
    ((text, check),) = rustfixed(checker, [job], [checker.check(*job)])
    return text, check.compiles


def test_a_suggestion_is_read_with_its_places_and_applied(checker: Checker, koan: Task) -> None:
    (error,) = checker.check(*koan.broken_job).diagnostics
    at = koan.broken.index("words);") + len("words")
    assert (Edit(at, at, ".clone()"),) in error.fixes
    assert "total(words.clone());" in fixed(checker, koan.broken)


def test_places_are_bytes_whatever_the_letters(checker: Checker, koan: Task) -> None:
    assert "total(words.clone());" in fixed(checker, f"// Größe: 大きさ\r\n{koan.broken}")


def test_of_alternatives_the_first_is_applied_and_shown(checker: Checker) -> None:
    program = "pub fn f(n: u32) -> Result<u32, u32> {\n    if n > 1 { return n; }\n    Ok(n)\n}\n"
    (error,) = checker.check(program, (), "2021").diagnostics
    assert [[edit.text for edit in fix] for fix in error.fixes] == [["Ok(", ")"], ["Err(", ")"]]
    assert "return Ok(n);" in fixed(checker, program)
    shown = short_message([error], program)
    assert "`if n > 1 { return Ok(n); }`" in shown and "Err(" not in shown


def test_edits_in_several_lines_belong_together(checker: Checker) -> None:
    program = "pub fn f(\n    a: &str,\n    b: &str,\n) -> &str {\n    if a < b { a } else { b }\n}\n"
    assert "pub fn f<'a>(\n    a: &'a str,\n    b: &'a str,\n) -> &'a str {" in fixed(checker, program)


def test_clippy_suggests_too(checker: Checker) -> None:
    program = "pub fn f(v: &[u8]) -> bool {\n    v.len() == 0\n}\n"
    assert "v.is_empty()" in fixed(checker, program, "clippy::len_zero")


def test_rounds_go_on_until_it_compiles_or_nothing_changes(checker: Checker) -> None:
    moved = "pub fn f(v: Vec<u8>) -> usize {\n    let w = v;\n    v.len() + w.len()\n}\n"
    assert rounds(checker, moved) == (moved.replace("= v;", "= v.clone();"), True)
    text, compiles = rounds(checker, f"pub fn g() -> HashMap<u8, u8> {{\n    HashMap::new()\n}}\n{moved}")
    assert compiles and "use std::collections::HashMap;" in text and "v.clone()" in text  # rustc sees names first
    nothing = "pub fn f() -> u8 {\n    g()\n}\n"
    assert rounds(checker, nothing) == (nothing, False)


places = st.integers(0, 12)


@given(st.lists(st.tuples(places, places, st.sampled_from(["", "x", "yy"])), max_size=6))
def test_edits_never_spoil_each_other(found: list[tuple[int, int, str]]) -> None:
    """Where nothing overlaps, every edit's text stands, and what no edit touches is left."""
    program, edits = "abcdefghijkl", [Edit(min(a, b), max(a, b), text) for a, b, text in found]
    errors = [Diagnostic("", "m", (), (), "", ((edit,),)) for edit in edits]
    kept: list[Edit] = []
    for edit in edits:
        if not any(edit.touches(k) for k in kept):
            kept.append(edit)
    gone = {i for edit in kept for i in range(edit.start, edit.end)}
    text = with_fixes(program, errors)
    assert [c for c in text if c not in "xy"] == [c for i, c in enumerate(program) if i not in gone]
    assert sorted(c for c in text if c in "xy") == sorted("".join(edit.text for edit in kept))

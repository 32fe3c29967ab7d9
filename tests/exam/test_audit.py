"""The audit breaks visibly on each thing that can be wrong with a koan."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import DataError
from sleepy.exam.audit import Finding, alike, audit, require_proof
from sleepy.exam.audit_page import write_audit
from sleepy.exam.mutants import EACH, mutants
from sleepy.rust.similarity import EditPrint, edit_print, fingerprint, jaccard, nearest
from sleepy.rust.tokens import functions, tokens
from sleepy.sandbox.bwrap import Bwrap
from sleepy.sandbox.checker import Checker
from sleepy.sandbox.rustc import forbidding


def found(checker: Checker, *tasks: Task, pairs: tuple[Task, ...] = (), koans: tuple[Task, ...] = ()) -> str:
    return "\n".join(f.problem for f in audit(tasks, checker, pairs, koans=koans)[1])


def test_a_sound_koan_has_no_findings_and_many_cheats(checker: Checker, koan: Task) -> None:
    rows, findings = audit([koan], checker)
    assert findings == [] and rows[0].cheats >= 10


def test_a_fix_that_does_not_compile(checker: Checker, koan: Task) -> None:
    assert "the fix does not pass (compile)" in found(checker, replace(koan, fix=koan.broken))


def test_a_fix_that_fails_its_tests(checker: Checker, koan: Task) -> None:
    assert "the fix does not pass (test)" in found(checker, replace(koan, tests=(*koan.tests, "assert_eq!(1, 2);")))


def test_a_broken_program_that_compiles(checker: Checker, koan: Task) -> None:
    assert "the broken program compiles, although it should fail with E0382" in found(
        checker, replace(koan, broken=koan.fix)
    )


def test_a_wrong_code(checker: Checker, koan: Task) -> None:
    assert "fails with E0382, not with E0499" in found(checker, replace(koan, code="E0499"))


def test_a_weak_test(checker: Checker, koan: Task) -> None:
    said = found(checker, replace(koan, tests=("let _ = report(vec![]);", "assert!(total(&[]) < 1);")))
    assert "its tests pass on a cheat: default report" in said


LINT = "pub fn none(names: &[&str]) -> bool {\n    names.len() == 0\n}\n"


@pytest.fixture
def linted(koan: Task) -> Task:
    """A sound koan about a lint."""
    fix, tests = LINT.replace("len() == 0", "is_empty()"), ("assert!(none(&[]));", 'assert!(!none(&["a"]));')
    return replace(koan, id="lint", code="clippy::len_zero", broken=LINT, fix=fix, tests=tests)


def test_a_lint_that_can_be_silenced(linted: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(Bwrap().open(tmp_path / "one"), linted) == ""

    def denying(lint: str) -> tuple[str, ...]:
        return tuple(word.replace("-F", "-D") for word in forbidding(lint))

    monkeypatch.setattr("sleepy.sandbox.checker.forbidding", denying)
    assert found(Bwrap().open(tmp_path / "two"), linted) == "its tests pass on a cheat: allow clippy::len_zero"


def test_tests_that_hardly_look_are_given_away_by_mutants(checker: Checker, koan: Task) -> None:
    fix = "pub fn grade(points: u32) -> u32 {\n    if points >= 50 && points < 90 { 3 } else { 1 }\n}\n"
    sound = replace(
        koan, broken=fix.replace("points: u32", "points: &u32"), code="E0308", fix=fix,
        tests=("assert_eq!([49, 50, 51].map(grade), [1, 3, 3]);", "assert_eq!([88, 89, 90].map(grade), [3, 3, 1]);"),
    )  # fmt: skip
    rows, findings = audit([sound], checker)
    assert findings == [] and rows[0].mutants >= 6 and rows[0].survivors == ()
    lax = replace(sound, tests=("assert_eq!(grade(70), 3);", "assert!(grade(0) < 3);"))
    rows, (finding,) = audit([lax], checker)
    assert finding.problem.startswith(f"its tests pass on {len(rows[0].survivors)} mutants: line 2, ")


def test_a_mutant_has_one_mistake_and_every_kind_is_made(koan: Task) -> None:
    fix = """#[derive(Debug, Clone)]
pub struct P(pub u8, pub u8);
pub fn f(mut a: u8, b: u8, v: &mut Vec<u8>) -> bool {
    let P(x, y) = P(a, 0x1F);
    if a < 10u8 && x.min(y) != b {
        a += 1;
        v.insert(0, a);
    }
    true
}
"""
    found: dict[str, str] = {}
    for number in range(40):  # each draws EACH of them
        drawn = mutants(replace(koan, id=str(number), fix=fix))
        assert len(drawn) == EACH and drawn == mutants(replace(koan, id=str(number), fix=fix))
        found |= drawn
    changes = {name.split(": ", 1)[1] for name in found}
    assert changes == {
        "< -> <=", "&& -> ||", "!= -> ==", "10u8 -> 11u8", "10u8 -> 9u8", "min -> max", "+= -> -=", "1 -> 2", "1 -> 0",
        "a += 1; -> nothing", "v.insert(0, a); -> nothing", "0 -> 1", "0, a -> a, 0", "true -> false",
        "a, 0x1F -> 0x1F, a", "a < 10u8 && x.min(y) != b -> !(a < 10u8 && x.min(y) != b)",
        "> -> >=",
    }  # fmt: skip


def test_a_single_test(checker: Checker, koan: Task) -> None:
    assert "it has 1 test block and needs at least 2" in found(checker, replace(koan, tests=koan.tests[:1]))


def test_near_duplicates_within_and_across(checker: Checker, koan: Task) -> None:
    def renamed(**names: str) -> Task:
        broken, fix = koan.broken, koan.fix
        for old, new in names.items():
            broken, fix = broken.replace(old, new), fix.replace(old, new)
        return replace(koan, id="other", broken=broken, fix=fix, tests=koan.tests)

    copy = replace(koan, id="copy", broken=koan.broken + "\n// a comment does not make it another program\n")
    assert "near-duplicate of copy: similarity 1.00 (exact)" in found(checker, koan, copy)
    shape = renamed(chars="signs", words="lines", total="sum_up")
    assert "near-duplicate of other: similarity 1.00 (shape)" in found(checker, koan, pairs=(shape,))
    assert "near-duplicate of other: similarity 1.00 (shape)" in found(checker, koan, koans=(shape,))


def test_the_same_edit_in_a_similar_program(koan: Task) -> None:
    more = "\npub fn longest(lines: &[String]) -> Option<usize> {\n    lines.iter().map(|l| l.trim().len()).max()\n}\n"
    more += "\npub struct Page(pub u8);\n\nimpl Page {\n    pub fn turn(&mut self) {\n        self.0 += 1;\n    }\n}\n"
    broken, fix = (text.replace("words", "w").replace("total", "t") + more for text in (koan.broken, koan.fix))
    pair = replace(koan, id="pair", broken=broken, fix=fix)
    (finding,) = alike([koan], [pair])[1]
    assert re.fullmatch(
        r"near-duplicate of pair: similarity 0\.\d\d \(edit\), at most 0\.19 is allowed", finding.problem
    )
    other = replace(pair, fix=broken.replace("t(w);", "t(w.clone());"))
    assert alike([koan], [other])[1] == [] == alike([replace(koan, fix=koan.broken)], [pair])[1]
    assert alike([koan], [replace(pair, code="E0505")])[1] == []


def test_a_programs_own_names_do_not_tell_edits_apart_and_names_of_libraries_do() -> None:
    def print_of(name: str, call: str) -> EditPrint:
        text = f"pub struct Bag {{\n    {name}: u8,\n}}\n\nfn get(mut {name}: Bag) -> u8 {{\n    ({name}.{name})\n}}\n"
        return edit_print(text, text.replace(f"({name}.{name})", f"{call}({name}.{name})"))

    assert print_of("a", "Rc::new").like(print_of("b", "Rc::new")) == 1
    assert 0 < print_of("a", "Rc::new").like(print_of("a", "Box::from")) < 0.8
    assert print_of("a", "Rc::new").like(edit_print("fn f() {}", "fn g() {}")) == 0


def test_the_page_shows_both_programs_with_the_difference_marked(checker: Checker, koan: Task, tmp_path: Path) -> None:
    rows, findings = audit([koan], checker, [replace(koan, id="a_pair", broken="pub fn other() {}\n")])
    page = write_audit(tmp_path, TaskSet("mine", "3", (koan,)), rows, findings).read_text()
    assert "Audit of mine (version 3" in page and koan.description in page and "Nothing was found wrong" in page
    assert "<span class=cut>    let n = total(words);</span>" in page
    assert "<span class=new>    let n = total(&amp;words);</span>" in page
    assert "nearest koan none" in page and "borrow of moved value" in page
    with pytest.raises(DataError, match="1 problems"):
        write_audit(tmp_path, TaskSet("mine", "3", (koan,)), rows, [Finding(koan.id, "its <b>tests</b> pass")])
    assert "its &lt;b&gt;tests&lt;/b&gt; pass" in (tmp_path / "audit.html").read_text()


def test_proof_names_every_task(checker: Checker, koan: Task) -> None:
    with pytest.raises(DataError) as error:
        require_proof([koan, replace(koan, id="a", code="E1"), replace(koan, id="b", fix=koan.broken)], checker)
    assert "a: the broken program fails with" in str(error.value) and "b: the fix" in str(error.value)


def test_functions_are_found_whatever_surrounds_them() -> None:
    program = """
struct A<F: Fn(u32) -> u32> { f: F }
impl<F: Fn(u32) -> u32> A<F> { fn call(&self, n: u32) -> [u32; 2] { [(self.f)(n), 0] } }
trait T { fn declared(&self); fn given(&self) -> &'static str { "fn fake() { }" } }
fn outer() -> char { fn inner() {} '{' } // fn comment() {}
"""
    assert [f.name for f in functions(program)] == ["call", "given", "outer", "inner"]
    call = functions(program)[0]
    assert program[call.start : call.end].strip() == "[(self.f)(n), 0]"


def test_raw_strings_and_lifetimes_are_single_tokens() -> None:
    kinds = [(t.kind, t.text) for t in tokens("""r#"a "quoted" word"# 'a 'b' b'\\n' 1_000u64 1..2""")]
    assert kinds == [
        ("string", 'r#"a "quoted" word"#'),
        ("lifetime", "'a"),
        ("char", "'b'"),
        ("char", "b'\\n'"),
        ("number", "1_000u64"),
        ("number", "1"),
        ("mark", ".."),
        ("number", "2"),
    ]


@given(st.lists(st.sampled_from("abcde"), max_size=30), st.lists(st.sampled_from("abcde"), max_size=30))
def test_nearest_agrees_with_jaccard_by_hand(one: list[str], two: list[str]) -> None:
    a, b = fingerprint(" ".join(one)).exact, fingerprint(" ".join(two)).exact
    ((index, similarity),) = nearest([a], [b])
    assert similarity == pytest.approx(jaccard(a, b)) and (index == 0) == bool(a & b)
    assert 0 <= jaccard(a, b) <= 1 and jaccard(a, a) == 1 and jaccard(a, b) == jaccard(b, a)

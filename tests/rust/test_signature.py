"""Signatures: the same for the same kind of error, another for another kind."""

from __future__ import annotations

import keyword
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import Check, CheckJob, Diagnostic, Task
from sleepy.rust.signature import signature, signature_of
from sleepy.sandbox.checker import Checker


def said(message: str, code: str = "E0000") -> Diagnostic:
    return Diagnostic(code, message, ((3, "here"),), (), "")


SAME = [
    ("borrow of moved value: `words`", "borrow of moved value: `self.name`"),
    ("the trait bound `Vec<T>: Copy` is not satisfied", "the trait bound `(): From<u8>` is not satisfied"),
    ("it takes 2 arguments but 1 argument was supplied", "it takes 1 argument but 0 arguments were supplied"),
    ("not all trait items implemented, missing: `a`", "not all trait items implemented, missing: `b`, `c` and `d`"),
    ("missing field `a` in initializer of `A`", "missing fields `b`, `c` in initializer of `B`"),
    ('invalid path "a \\" b"', 'invalid path ""'),
    ("cannot borrow `*self` as mutable", "cannot borrow `x` as mutable"),
    ("patterns `(true, true)` and `','` not covered", "patterns `Some(_)` not covered"),
    ("type `!` cannot be summed", "type `u8` cannot be summed"),
]  # fmt: skip
OTHER = [
    ("borrow of moved value: `a`", "use of moved value: `a`"),
    ("`if` and `else` have incompatible types", "`match` arms have incompatible types"),
    ("expected `;`, found keyword `let`", "expected `;`, found keyword `fn`"),
    ("expected `;`, found `}`", "expected `,`, found `}`"),
    ("expected one of `!` or `::`, found `<eof>`", "expected one of `!` or `::`, found `x`"),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_names_numbers_and_texts_do_not_count(one: str, two: str) -> None:
    assert signature([said(one)]) == signature([said(two)])


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_another_kind_has_another_signature(one: str, two: str) -> None:
    assert signature([said(one, "")]) != signature([said(two, "")])


def test_a_sign_that_the_parser_misses_is_no_type() -> None:
    assert (
        signature([said("expected `!`", "")]) == "expected `!`"
        and signature([said("expected `!`")]) == "E0000 expected _"
    )


def test_codes_are_sorted_and_each_kind_counts_once() -> None:
    errors = [said(f"use of `{name}`", code) for name in "ab" for code in ("E0382", "E0100", "E0505", "E0001", "")]
    lines = signature(errors).split("\n")
    assert lines == ["E0001 use of _", "E0100 use of _", "E0382 use of _", "E0505 use of _", "use of _"]
    assert signature([said("use of `a`", "E0382")]) != signature([said("use of `a`", "E0383")])


names = st.from_regex(r"[a-z][a-z0-9_]{3,8}[0-9]", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))


@given(names, names, st.integers(0, 10**12))
def test_no_name_or_number_survives(one: str, two: str, number: int) -> None:
    text = signature([said(f'`{one}` needs {number} of `&\'a {two}<{one}>` and "{two}" past {number}u8')])
    assert text == "E0000 _ needs N of _ past N"


def test_of_the_real_compiler(checker: Checker, koan: Task) -> None:
    """The broken koan, the same with other names, another mistake, the fix."""
    renamed = (
        koan.broken.replace("words", "letters").replace("total", "sum_of").replace(" n ", " m ").replace(", n,", ", m,")
    )
    other = koan.fix.replace("words.len())", "words.size())")
    jobs = [CheckJob(program, (), "2021") for program in (koan.broken, renamed, other, koan.fix)]
    broken, same, wrong, fixed = map(signature_of, checker.check_all(jobs))
    assert renamed != koan.broken and broken == same == "E0382 borrow of moved value: _"
    assert wrong.startswith("E0599 no method named _ found") and fixed == ""


def test_a_compiler_that_died_is_no_program_that_compiles() -> None:
    died = Check("compile", "rustc did not end in time", timed_out=True)
    assert signature_of(died) == died.detail and signature_of(replace(died, stage="test")) == ""

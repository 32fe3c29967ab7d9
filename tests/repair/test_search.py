"""What the search asks, from where it goes on, and which answer it believes: recorded answers, the real compiler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import Check, Completion, Departure, Diagnostic, Edit, Task
from sleepy.repair.best_of_n import BestOfN
from sleepy.repair.search import Search
from sleepy.repair.single_shot import SingleShot
from sleepy.repair.strategy import Try
from sleepy.sandbox.checker import Checker
from tests.repair.recorded import repaired


def answered(text: str, chance: float, *departures: Departure) -> Completion:
    return Completion(text, 100, 10, 0.5, departures=departures, chance=chance)


def left(program: str, where: str, token: str, chance: float) -> Departure:
    """The departure that writes `token` in the place of `where`."""
    return Departure(program[: program.index(where)], token, chance, -0.5)


def body(program: str) -> str:
    return program.rstrip("\n")


def test_one_candidate_and_nothing_else_is_a_single_shot(koan: Task, checker: Checker) -> None:
    alone = Search(candidates=1, rounds=0, suggestions=False, rustfix_first=False)
    (broken,) = checker.check_all([koan.broken_job])
    assert alone.prompts(koan, broken, []) == SingleShot().prompts(koan, broken, [])
    result, asked = repaired(koan, checker, alone, body(koan.fix))
    other, same = repaired(koan, checker, SingleShot(), body(koan.fix))
    assert asked == same and (result.passed, result.chosen) == (other.passed, other.chosen) == (True, 0)


def test_it_departs_where_the_model_doubts_and_the_compiler_chooses(koan: Task, checker: Checker) -> None:
    doubts = [
        left(koan.broken, "words)", "&words", -1.0),
        left(koan.broken, "words)", "words.to", -2.0),
        left(koan.broken, "words)", "third", -2.5),
        left(koan.broken, "String {", "usize", -3.0),
    ]
    right = koan.broken.replace("total(words)", "total(&words)").replace(
        "words: Vec<String>) -> usize", "words: &[String]) -> usize"
    )
    search = Search(suggestions=False, rounds=0, candidates=4, rustfix_first=False)
    texts = [answered(body(koan.broken), -0.2, *doubts)]
    texts += [answered(body(t), -4.0) for t in (koan.broken.replace("String {", "usize {"), right, koan.fix)]
    result, asked = repaired(koan, checker, search, *texts)
    # the last place first, and two at one place at most
    assert [p.begun for p in asked[1:]] == [d.before + d.token for d in (doubts[0], doubts[1], doubts[3])]
    assert asked[1].copy_from == body(koan.broken[len(doubts[0].before) :]) + "\n```"
    assert result.passed and result.attempts[result.chosen].stage == "passed"


@given(st.data())
def test_candidates_are_distinct_and_none_is_the_broken_program_nor_the_first_answer(data: st.DataObject) -> None:
    program = "fn f(a: u8) -> u8 {\n    a\n}\n"
    task = Task(
        id="t",
        family="f",
        pattern="p",
        level=1,
        code="E0308",
        edition="2021",
        description="",
        broken=program,
        fix="",
        tests=(),
    )
    places = data.draw(st.lists(st.tuples(st.integers(0, len(program) - 2), st.sampled_from("xyz")), unique=True))
    first = program[:4] + data.draw(st.sampled_from(["xyz", "(a: u8)"]))
    departures = tuple(Departure(program[:at], token, -float(i), 0.0) for i, (at, token) in enumerate(places))
    search = Search(candidates=data.draw(st.integers(2, 9)), branches=data.draw(st.integers(1, 2)))
    check = Check(
        "compile", "", (Diagnostic("E0308", "", ((1, ""),), (), "", ((Edit(3, 4, "g"),), (Edit(0, 0, ""),))),)
    )
    root = search.prompts(task, check, [])
    answer = Try(0, root[0], first, first + "\n", lambda: check, 9, departures, -1.0)
    begun = [p.begun for p in search.prompts(task, check, [answer])]
    assert (
        len(set(begun)) == len(begun) <= search.candidates - 1 + 1
    )  # and rustc's one suggestion that changes something
    assert not any(program.startswith(b) or first.startswith(b) for b in begun)
    assert all(
        sum(b[:-1] == before for b in begun) <= search.branches for before in {b[:-1] for b in begun if b[-1] in "xyz"}
    )


def test_rustc_s_suggestions_are_candidates_too(koan: Task, checker: Checker) -> None:
    (broken,) = checker.check_all([koan.broken_job])
    assert broken.diagnostics[0].fixes  # words.clone()
    cloned = koan.broken.replace("total(words)", "total(words.clone())")
    result, asked = repaired(
        koan,
        checker,
        Search(candidates=1, rustfix_first=False),
        answered(body(koan.broken), -0.1),
        answered(body(cloned), -9.0),
    )
    assert asked[1].begun == body(cloned) and asked[1].copy_from == "\n```"
    assert result.chosen == 1 and result.attempts[1].stage != "compile"


def test_it_goes_on_from_what_is_better_and_stops_when_nothing_is(koan: Task, checker: Checker, other: str) -> None:
    two = other.replace("total(&words)", "totals(&words)")  # two errors
    search = Search(candidates=1, suggestions=False, rounds=3, rustfix_first=False)
    result, asked = repaired(koan, checker, search, body(two), body(other), body(koan.fix))
    assert result.passed and len(asked) == 3 and body(other) in asked[2].messages[1]["content"]
    result, asked = repaired(koan, checker, search, body(koan.broken))
    assert not result.passed and len(asked) == 1  # nothing to go on from
    result, asked = repaired(koan, checker, replace(search, rounds=1), body(two), body(other))
    assert len(asked) == 2
    result, asked = repaired(koan, checker, replace(search, budget=15), body(two), body(other))
    assert len(asked) == 2  # ten tokens each


@pytest.fixture
def other(koan: Task) -> str:
    """It does not compile, with another error than the broken program."""
    return koan.fix.replace("words.len())", "word.len())")


def test_what_looks_like_a_cheat_comes_last_and_then_the_rank_decides(koan: Task, checker: Checker) -> None:
    fix, clone = koan.fix, koan.broken.replace("total(words)", "total(words.clone())")
    stub = koan.fix.replace("words.iter().map(|w| w.len()).sum()", "todo!()")
    doubts = [Departure("", token, -1.0, 0.0) for token in "abc"]
    texts = [answered(body(t), c) for t, c in ((koan.broken, -0.1), (stub, -1.0), (clone, -3.0), (fix, -2.0))]
    texts[0] = replace(texts[0], departures=tuple(doubts))
    search = Search(candidates=4, branches=3, suggestions=False, rounds=0, rustfix_first=False)

    def chosen(**options: Any) -> str:
        result, _ = repaired(koan, checker, replace(search, **options), *texts)
        return body(result.attempts[result.chosen].program)

    assert chosen(rank="chance") == body(fix) and chosen(rank="chance", careful=False) == body(stub)
    assert chosen(rank="order") == body(clone) and chosen(rank="edit") == body(clone)
    texts.append(answered(body(fix), -2.5))
    texts[0] = replace(texts[0], departures=(*doubts, Departure("", "d", -1.0, 0.0)))
    search = replace(search, candidates=5, branches=4)
    assert chosen(rank="vote") == body(fix)


def test_identity_tells_the_options_apart() -> None:
    options = [Search(), Search(candidates=9), Search(rank="vote"), Search(patience=4), Search(rounds=1), BestOfN()]
    assert len({str(o.identity()) for o in options}) == len(options)

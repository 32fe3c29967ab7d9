"""Advice and worked examples in a prompt."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import Check, Diagnostic, Task
from sleepy.errors import ConfigError
from sleepy.exam.builtin import every_koan
from sleepy.options import problems_of
from sleepy.pairs.builtin import load_pairs
from sleepy.repair._hints import SHIPPED, advice, hints
from sleepy.repair._shots import nearest
from sleepy.repair.single_shot import SingleShot
from sleepy.rust.drawn import drawn_errors
from sleepy.rust.messages import short_message
from sleepy.sandbox.checker import Checker

PAIRS = load_pairs()


def test_every_code_of_the_training_pairs_has_advice() -> None:
    known = {hint.code for hint in hints()}
    assert {pair.code for pair in PAIRS} <= known
    assert all(hint.advice.endswith((".", ")")) and len(hint.advice) < 200 for hint in hints())
    fits = [(h.code, h.message) for pair in PAIRS for e in drawn_errors(pair) for h in hints() if h.fits(e)]
    assert {(h.code, h.message) for h in hints()} <= set(fits)  # none that no pair needs


def test_own_advice_goes_before_ours(koan: Task, checker: Checker, tmp_path: Path) -> None:
    broken = checker.check(*koan.broken_job)
    ours = advice(broken.diagnostics, "")[0]
    own = tmp_path / "own.json"
    own.write_text(
        json.dumps(
            [{"code": "E0382", "advice": "Mine.", "message": "of moved value"}, {"code": "E0000", "advice": "Never."}]
        )
    )
    prompt = SingleShot(hints=True, hints_file=str(own)).first(koan, broken).messages[1]["content"]
    assert "\n\nAdvice:\n- Mine.\n\nRepair the program." in prompt and ours not in prompt and "Never" not in prompt
    own.write_text("- {code: E0382, advice: Mine., message: of lost value}")
    hints.cache_clear()
    assert advice(broken.diagnostics, str(own)) == [ours]
    assert ours in SingleShot(hints=True).first(koan, broken).messages[1]["content"]
    assert "Advice" not in SingleShot().first(koan, broken).messages[1]["content"]


def test_each_piece_of_advice_is_given_once_and_few_of_them() -> None:
    errors = [Diagnostic(code, "m", (), (), "") for code in ("E0382", "E0382", "E0000", "E0004", "E0106", "E0061")]
    given = [h.advice for code in ("E0382", "E0004", "E0106") for h in hints() if h.code == code and not h.message]
    assert advice(errors, "") == given


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("code: E0382", "must be a list"),
        ("- {code: E0382}", "entry 1 must have code, advice"),
        ("- {code: E1, advice: a}\n- {code: E0382, advice: a, massage: b}", "entry 2"),
        ("- {code: E0382, advice: a, message: '('}", "not a regular expression"),
        ("- [", "no hints could be read"),
    ],
)
def test_a_bad_file_of_advice_is_a_problem_of_the_config(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        hints(str(path))
    (line,) = problems_of(SingleShot(hints=True, hints_file=str(path)), "repair")
    assert line.startswith("repair.hints_file: ") and str(path) in line
    assert "no hints could be read" in problems_of(SingleShot(hints=True, hints_file="/no.yaml"), "repair")[0]
    assert "Add repair.hints=true" in problems_of(SingleShot(hints_file=str(path)), "repair")[0]
    assert SHIPPED.is_file() and problems_of(SingleShot(hints=True), "repair") == []


def shown(pair: Task) -> Check:
    """What rustc says of a pair, as its message has it."""
    errors = drawn_errors(pair)
    return Check("compile", "", (replace(errors[0], rendered=pair.message), *errors[1:]))


def test_shots_are_alike_and_never_the_task_nor_a_koan() -> None:
    koans = {k.id for k in every_koan()} | {k.broken for k in every_koan()}
    alike = Counter[bool]()
    for pair in PAIRS.tasks[::9]:
        found = nearest(pair, shown(pair), 3)
        assert len(found) == 3 and pair not in found and not koans & {t for f in found for t in (f.id, f.broken)}
        assert all(f.code == pair.code for f in found[:1])
        alike[found[0].pattern == pair.pattern] += 1
    assert alike[True] > 6 * alike[False]  # of all pairs 634 and 75
    copy = replace(PAIRS.tasks[0], id="copy", skeleton="")
    assert PAIRS.tasks[0] not in nearest(copy, shown(copy), 16)


def test_a_shot_shows_the_error_as_a_question_does(checker: Checker) -> None:
    pairs = PAIRS.tasks[::70]
    same = [
        short_message(drawn_errors(p), p.broken) == short_message(c.diagnostics, p.broken)
        for p, c in zip(pairs, checker.check_all([p.broken_job for p in pairs]), strict=True)
    ]
    assert sum(same) > len(same) / 2  # the drawing does not tell all
    (twice,) = (p for p in PAIRS if p.id == "borrow_checker/assign_to_immutable/rain_streak")
    assert [number for number, _ in drawn_errors(twice)[0].labels] == [4, 2]  # where the error is, then what led to it
    (lint,) = {error.code for p in PAIRS if p.code == "clippy::len_zero" for error in drawn_errors(p)}
    assert lint == "clippy::len_zero"


def test_the_most_alike_shot_stands_next_to_the_question(koan: Task, checker: Checker) -> None:
    broken = checker.check(*koan.broken_job)
    near, far = nearest(koan, broken, 2)
    system, *talk, question = SingleShot(shots=2).first(koan, broken).messages
    assert [m["role"] for m in talk] == ["user", "assistant"] * 2
    assert far.broken.strip() in talk[0]["content"] and near.fix.strip() in talk[3]["content"]
    assert question == SingleShot().first(koan, broken).messages[1] and system["role"] == "system"
    short = drawn_errors(near)[0].message
    assert short in talk[2]["content"] and " --> " not in talk[2]["content"]
    full = SingleShot(shots=1, diagnostics="full").first(koan, broken).messages[1]["content"]
    assert near.message in full


def test_what_is_too_long_loses_examples_first_then_the_end_of_the_message(koan: Task, checker: Checker) -> None:
    broken = checker.check(*koan.broken_job)
    plain = SingleShot().first(koan, broken)
    room = SingleShot().size(plain.messages)
    assert SingleShot(shots=16, max_prompt=room).first(koan, broken).messages == plain.messages
    some = SingleShot(shots=16, max_prompt=6 * room).first(koan, broken).messages
    assert 4 <= len(some) < 34 and some[-1] == plain.messages[-1]
    assert nearest(koan, broken, 1)[0].fix.strip() in some[-2]["content"]
    wordy = replace(broken, diagnostics=tuple(replace(broken.diagnostics[0], message=f"m{i} " * 999) for i in range(5)))
    cut = SingleShot(max_prompt=room).first(koan, wordy)
    assert room - 3 < SingleShot().size(cut.messages) <= room and koan.broken.strip() in cut.messages[1]["content"]
    assert "error[E0382]: m0 m0 " in cut.messages[1]["content"]

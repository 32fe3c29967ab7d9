"""What each strategy asks, when it ends and what it chooses: recorded answers, the real compiler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from sleepy.artifacts import Check, Task
from sleepy.errors import ConfigError
from sleepy.repair._pick import normal
from sleepy.repair.best_of_n import BestOfN
from sleepy.repair.ensemble import Ensemble
from sleepy.repair.multi_turn import MultiTurn
from sleepy.repair.single_shot import SingleShot
from sleepy.repair.strategy import Try
from sleepy.sandbox.checker import Checker
from tests.repair.recorded import repaired


@pytest.fixture
def wrong(koan: Task) -> str:
    """It compiles, and the hidden tests fail."""
    return koan.fix.replace("let n = total(&words);", "let n = 1 + total(&words);")


@pytest.fixture
def other(koan: Task) -> str:
    """It does not compile, with another error than the broken program."""
    return koan.fix.replace("words.len())", "word.len())")


def test_a_program_that_compiles_ends_it_whatever_the_hidden_tests_say(
    koan: Task, checker: Checker, wrong: str, other: str
) -> None:
    result, asked = repaired(koan, checker, MultiTurn(), other, wrong, koan.fix)
    assert [a.stage for a in result.attempts] == ["compile", "test"] and len(asked) == 2
    assert not result.passed and result.within == (False, False)
    best, asked = repaired(koan, checker, BestOfN(n=3), other, wrong, koan.fix)
    assert best.chosen == 1 and not best.passed and len(asked) == 3


def test_a_strategy_sees_no_verdict_of_the_hidden_tests(koan: Task, checker: Checker, wrong: str) -> None:
    seen: list[Check] = []

    class Watching(SingleShot):
        def choose(self, tries: Sequence[Try]) -> int:
            seen.extend(t.check for t in tries)
            return super().choose(tries)

    results = [repaired(koan, checker, Watching(), text)[0].passed for text in (koan.fix, wrong)]
    assert results == [True, False] and seen[0] == seen[1]


def test_the_next_turn_shows_the_program_as_the_model_left_it(koan: Task, checker: Checker, other: str) -> None:
    result, (first, second) = repaired(koan, checker, MultiTurn(), other, koan.fix)
    assert result.passed and result.steps == 2 and result.within == (False, True)
    assert [a.signature for a in result.attempts] == ["E0425 cannot find value _ in this scope", ""]
    user = second.messages[1]["content"]
    assert len(second.messages) == 2 and other.strip() in user and "error[E0425]" in user and "E0382" not in user
    assert second.copy_from == other.strip() + second.stop[0] and koan.broken.strip() in first.messages[1]["content"]


def test_earlier_turns_stay_in_the_conversation_as_far_as_they_fit(koan: Task, checker: Checker, other: str) -> None:
    third = koan.fix.replace("total(&words)", "totals(&words)")
    _, asked = repaired(koan, checker, MultiTurn(turns=2), other, third, koan.fix)
    roles = [m["role"] for m in asked[2].messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    shown = [m["content"] for m in asked[2].messages]
    assert koan.broken.strip() in shown[1] and other.strip() in shown[2] and third.strip() in shown[4]
    assert "E0425" in shown[3] and koan.description not in shown[3]
    _, asked = repaired(koan, checker, MultiTurn(turns=1), other, third, koan.fix)
    assert [other.strip() in m["content"] for m in asked[2].messages] == [False, True, False, False]
    size = SingleShot().size(asked[2].messages)
    _, asked = repaired(koan, checker, MultiTurn(turns=2, max_prompt=size), other, third, koan.fix)
    assert len(asked[2].messages) == 4


def test_it_gives_up_when_the_model_repeats_itself(koan: Task, checker: Checker, other: str) -> None:
    same = koan.broken.replace("pub fn report", "// mended\npub  fn report")
    assert len(repaired(koan, checker, MultiTurn(), same, koan.fix)[1]) == 1
    alike = koan.fix.replace("words.len())", "wordz.len())")
    assert len(repaired(koan, checker, MultiTurn(), other, alike, koan.fix)[1]) == 3
    assert len(repaired(koan, checker, MultiTurn(stop="error"), other, alike, koan.fix)[1]) == 2
    assert len(repaired(koan, checker, MultiTurn(max_attempts=2), other, alike, koan.fix)[1]) == 2


def test_a_program_that_grew_too_long_ends_it(koan: Task, checker: Checker, other: str) -> None:
    long = other + "// and so on\n" * 200
    assert len(repaired(koan, checker, MultiTurn(max_prompt=800), long, koan.fix)[1]) == 1
    assert len(repaired(koan, checker, MultiTurn(max_prompt=2000), long, koan.fix)[1]) == 2


def test_the_majority_of_what_compiles_is_chosen(koan: Task, checker: Checker, wrong: str, other: str) -> None:
    texts = (other, wrong, koan.fix, other, other, koan.fix.replace("    ", "\t"))
    vote, asked = repaired(koan, checker, BestOfN(n=6, pick="vote"), *texts)
    assert vote.chosen == 2 and vote.passed and vote.within == (False, False, False, False, False, True)
    assert repaired(koan, checker, BestOfN(n=6), *texts)[0].chosen == 1
    assert repaired(koan, checker, BestOfN(n=2), other, other)[0].chosen == 0
    assert [p.temperature for p in asked] == [0.0] + [0.8] * 5
    assert len({p.seed for p in asked}) == 6 and len({replace(p, temperature=0, seed=0).max_tokens for p in asked}) == 1
    again = repaired(koan, checker, BestOfN(n=6), *texts)[1]
    seeds = [p.seed for p in repaired(koan, checker, BestOfN(n=6, seed=1), *texts)[1]]
    assert again == asked and not set(seeds[1:]) & {p.seed for p in asked}


def test_an_ensemble_asks_every_adapter(koan: Task, checker: Checker, wrong: str) -> None:
    result, asked = repaired(koan, checker, Ensemble(pick="vote"), wrong, koan.fix, koan.fix, adapters=["a", "b", "c"])
    assert [p.adapter for p in asked] == ["a", "b", "c"] and result.chosen == 1 and result.passed
    some = Ensemble(adapters=["c", "a"])
    result, asked = repaired(koan, checker, some, koan.fix, wrong, adapters=["a", "b", "c"])
    assert [p.adapter for p in asked] == ["c", "a"] and result.chosen == 0
    with pytest.raises(ConfigError, match=r"no adapter at all"):
        repaired(koan, checker, Ensemble(), koan.fix)
    with pytest.raises(ConfigError, match=r"has no adapter c; it is served with a, b"):
        repaired(koan, checker, some, koan.fix, adapters=["a", "b"])


def test_the_base_model_beside_an_ensemble_is_asked_as_a_single_shot(koan: Task) -> None:
    alone = Ensemble(ask="Please.", shots=1).alone()
    assert alone == SingleShot(ask="Please.", shots=1) and BestOfN().alone() == BestOfN()


def test_comments_and_spaces_make_no_other_program() -> None:
    assert normal("fn a( ) { } // no") == normal("fn a() {}") != normal("fn b() {}")


def test_identity_tells_strategies_and_their_data_apart() -> None:
    once = [SingleShot(), SingleShot(hints=True), SingleShot(shots=1)]
    options = [*once, MultiTurn(), BestOfN(), BestOfN(n=4), Ensemble()]
    found = [str(option.identity()) for option in options]
    assert len(set(found)) == len(found)
    assert "Arc::clone" in found[1] and "Arc::clone" not in found[0] and SingleShot(shots=2).identity()["pairs"]

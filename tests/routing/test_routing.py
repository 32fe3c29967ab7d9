"""Routers over the real training pairs: what they find, what they must not look at, where they fall back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sleepy.artifacts import Check, Diagnostic, Task, TaskSet
from sleepy.errors import ConfigError
from sleepy.exam.builtin import frozen
from sleepy.options import problems_of
from sleepy.pairs.builtin import load_pairs
from sleepy.routing.error_code import ErrorCode
from sleepy.routing.nearest import Nearest
from sleepy.routing.none import NoRouting
from sleepy.routing.oracle import Oracle
from sleepy.routing.other import Other
from sleepy.routing.route import Routing, accuracy
from sleepy.rust.messages import spoken
from sleepy.sandbox.checker import Checker
from tests.routing.held_out import held_out, said_of

LEARNED = pytest.mark.parametrize("routing", [ErrorCode(), Nearest()], ids=["error_code", "nearest"])


@pytest.fixture(scope="module")
def pairs() -> TaskSet:
    return load_pairs()


@pytest.fixture(scope="module")
def names(pairs: TaskSet) -> list[str]:
    return sorted({t.pattern for t in pairs})


def error(code: str, message: str) -> Check:
    return Check("compile", message, (Diagnostic(code, message, (), (), message),))


def test_error_code_finds_the_pattern_of_pairs_it_has_not_seen(pairs: TaskSet) -> None:
    found = held_out(ErrorCode(), pairs, whole_patterns=False)
    assert found["right"] > 0.87
    assert found["wrong"] < 0.09


def test_nearest_finds_the_pattern_of_pairs_it_has_not_seen(pairs: TaskSet) -> None:
    found = held_out(Nearest(), pairs, whole_patterns=False)
    assert found["right"] > 0.8
    assert found["wrong"] < 0.07


@LEARNED
def test_a_pattern_without_pairs_falls_to_the_base_more_often_than_not(routing: Routing, pairs: TaskSet) -> None:
    found = held_out(routing, pairs, whole_patterns=True)
    assert found["right"] > (0.82 if isinstance(routing, Nearest) else 0.54)
    assert found["missed"] == 0


@pytest.mark.slow
def test_the_threshold_is_the_best_of_the_training_pairs(pairs: TaskSet) -> None:
    def mean(threshold: float) -> float:
        routing = Nearest(threshold=threshold)
        return sum(held_out(routing, pairs, whole)["right"] for whole in (False, True)) / 2

    assert mean(0.6) >= max(mean(0.55), mean(0.65)) and mean(0.6) > min(mean(0.55), mean(0.65))


@pytest.mark.slow
@LEARNED
def test_held_out_koans_with_the_real_compiler(
    routing: Routing, pairs: TaskSet, names: list[str], checker: Checker
) -> None:
    koans = frozen("patterns")
    broken = checker.check_all([t.broken_job for t in koans])
    found = accuracy(routing.open(pairs, names), koans.tasks, broken, names)
    assert found["koans"] == 159
    assert found["right_share"] > 0.82
    assert found["wrong_share"] < 0.09


@LEARNED
def test_only_the_error_is_looked_at(routing: Routing, pairs: TaskSet, names: list[str]) -> None:
    route = routing.open(pairs, names)
    for task in pairs.tasks[::40]:
        blind = Task(
            id="x", family="", pattern="", level=1, code="", edition="2024", description="", broken="", fix="", tests=()
        )
        assert route(blind, said_of(task)) == route(task, said_of(task))


@LEARNED
def test_the_compiler_says_what_the_pairs_record(
    routing: Routing, pairs: TaskSet, names: list[str], checker: Checker
) -> None:
    route, some = routing.open(pairs, names), pairs.tasks[::90]
    for task, check in zip(some, checker.check_all([t.broken_job for t in some]), strict=True):
        assert route(task, check) == route(task, said_of(task)) == task.pattern


@LEARNED
def test_it_falls_back(routing: Routing, pairs: TaskSet, names: list[str], koan: Task) -> None:
    route = routing.open(pairs, names)
    assert route(koan, error("E9999", "error[E9999]: gremlins ate the borrow checker")) == ""
    assert route(koan, error("", "error: expected one of `!` or `::`, found `gremlin`")) == ""
    assert route(koan, Check("test", "a test failed")) == ""
    seen = next(t for t in pairs if t.pattern == "use_after_move")
    assert route(koan, said_of(seen)) == "use_after_move"
    without = routing.open(pairs, [n for n in names if n != "use_after_move"])
    assert without(koan, said_of(seen)) == ""


def test_a_second_error_decides_where_the_first_is_unknown(pairs: TaskSet, names: list[str], koan: Task) -> None:
    unknown, known = error("E9999", "error[E9999]: gremlins"), error("E0072", "error[E0072]: infinite size")
    both = replace(unknown, diagnostics=unknown.diagnostics + known.diagnostics)
    assert ErrorCode().open(pairs, names)(koan, both) == "recursive_type_without_box"


def test_the_message_decides_between_patterns_of_one_code(pairs: TaskSet, names: list[str], koan: Task) -> None:
    route = ErrorCode().open(pairs, names)
    index = "error[E0277]: the type `[Gremlin]` cannot be indexed by `u8`"
    share = "error[E0277]: `Rc<Gremlin>` cannot be sent between threads safely"
    assert route(koan, error("E0277", index)) == "index_not_usize"
    assert route(koan, error("E0277", share)) == "not_thread_safe"
    assert route(koan, error("E0308", "error[E0308]: mismatched types")) == ""  # eight patterns say no more


def test_a_higher_threshold_falls_back_more(pairs: TaskSet, names: list[str]) -> None:
    asked = frozen("koans_val").tasks[::7]
    checks = [error(t.code, f"error[{t.code}]: {t.description}") for t in asked]
    fallen = []
    for threshold in (0.0, 0.1, 1.0):
        route = Nearest(threshold=threshold).open(pairs, names)
        fallen.append(sum(not route(t, c) for t, c in zip(asked, checks, strict=True)))
    assert fallen[0] == 0 < fallen[1] < fallen[2] == len(asked)
    lines = problems_of(Nearest(threshold=1.5, neighbours=0), "routing")
    assert [line.split()[0] for line in lines] == ["routing.threshold", "routing.neighbours"]


def test_oracle_and_none(pairs: TaskSet, koan: Task) -> None:
    check = Check("compile", "")
    assert Oracle().open(pairs, ["use_after_move"])(koan, check) == "use_after_move"
    assert Oracle().open(pairs, ["missing_mut"])(koan, check) == ""
    assert NoRouting().open(pairs, ["use_after_move"])(koan, check) == ""
    assert [r.routes for r in (NoRouting(), Oracle(), ErrorCode(), Nearest())] == [False, True, True, True]


def test_other_never_asks_the_adapter_of_the_pattern_and_each_equally_often(pairs: TaskSet, koan: Task) -> None:
    names = sorted({t.pattern for t in pairs})[:7]
    route = Other().open(pairs, names[::-1])
    chosen = [route(replace(koan, pattern=p), Check("compile", "")) for p in names]
    assert sorted(chosen) == names and all(c != p for c, p in zip(chosen, names, strict=True))
    assert route(replace(koan, pattern="no_such"), Check("compile", "")) == ""
    with pytest.raises(ConfigError, match="at least two adapters"):
        Other().open(pairs, names[:1])


def test_a_routing_needs_an_engine_that_takes_adapters() -> None:
    NoRouting().check("ollama")
    for routing in (Oracle(), ErrorCode(), Nearest()):
        routing.check("llama_cpp")
        with pytest.raises(ConfigError, match=f"routing={routing.name} needs an engine .*engine=llama_cpp"):
            routing.check("ollama")


def test_identity_has_name_and_options() -> None:
    assert ErrorCode().identity() == {"routing": "error_code"}
    assert Nearest(neighbours=3).identity() == {"routing": "nearest", "threshold": 0.6, "neighbours": 3}


@LEARNED
def test_names_that_no_pattern_has_are_refused(routing: Routing, pairs: TaskSet) -> None:
    with pytest.raises(ConfigError, match=r"none of the adapters \(day\.1, night\) is named after .*use_after_move"):
        routing.open(pairs, ["day.1", "night"])


def test_accuracy_counts_by_hand(koan: Task) -> None:
    patterns = {"a": "a", "b": "a", "c": "", "d": "", "e": "b", "f": "arrow:3:1.0"}  # own pattern -> routed to
    tasks = [replace(koan, pattern=own) for own in patterns]
    checks = [Check("compile", "")] * 6
    found = accuracy(lambda task, check: patterns[task.pattern], tasks, checks, ["a", "b", "c", "f"])
    counts = {"koans": 6, "right": 2, "wrong": 2, "missed": 1, "mixed": 1}
    shares = {"right_share": 1 / 3, "wrong_share": 1 / 3, "missed_share": 1 / 6, "mixed_share": 1 / 6}
    assert found == {**counts, **shares}


def test_spoken_leaves_the_program_out() -> None:
    message = """error[E0382]: use of moved value: `a`
 --> main.rs:3:5
  |
2 |     let b = a; // help: not the compiler's
  |             - value moved here
3 |     a
  |     ^ value used here after move
  |
  = note: move occurs
help: consider cloning
  |
2 |     let b = a.clone();
  |              ++++++++
error: aborting"""
    assert spoken(message) == [
        "use of moved value: `a`",
        "value moved here",
        "value used here after move",
        "move occurs",
        "consider cloning",
        "aborting",
    ]

"""Mixes: proportions, copies, seeds, and nothing that was not measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import DataError, TrainingError
from sleepy.pairs.all import All
from sleepy.pairs.builtin import load_pairs, sample
from sleepy.pairs.failures import Failures
from sleepy.pairs.mix import draw
from sleepy.pairs.mixed import Mixed
from sleepy.pairs.pattern import Pattern
from sleepy.pairs.replay import Replay
from sleepy.pairs.targeted import Targeted
from sleepy.results import Result, Scores
from sleepy.train.settings import Train


def pairs(koan: Task, size: int = 20) -> TaskSet:
    return TaskSet("pairs", "1", tuple(replace(koan, id=f"p{i}", pattern=f"pattern{i % 4}") for i in range(size)))


def probed(tasks: TaskSet, passed: set[str]) -> Scores:
    results = tuple(Result(t.id, t.family, t.pattern, t.level, t.id in passed, ()) for t in tasks)
    return Scores("pairs", tasks.digest, "m", "e", results, 0.0)


def test_failures_are_what_the_baseline_failed(koan: Task) -> None:
    tasks = pairs(koan)
    asked = sample(tasks, 8, seed=3)
    passed = {t.id for t in asked.tasks[:3]}
    mix = Failures().compose(tasks, probed(asked, passed), seed=0)
    assert {t.id for t in mix.examples} == {t.id for t in asked.tasks[3:]} and mix.parts == {"hard": 5}


def test_a_baseline_that_fails_nothing_leaves_nothing_to_train_on(koan: Task) -> None:
    tasks = pairs(koan)
    with pytest.raises(TrainingError, match="no pair in hard"):
        Failures().compose(tasks, probed(tasks, {t.id for t in tasks}), seed=0)


def test_mixed_keeps_its_proportions_and_copies_the_few_hard_ones(koan: Task) -> None:
    tasks = pairs(koan)
    passed = {t.id for t in tasks.tasks[:18]}
    mix = Mixed(examples=100).compose(tasks, probed(tasks, passed), seed=0)
    assert mix.parts == {"replay": 44, "success": 42, "hard": 14} and len(mix.examples) == 100
    assert min([t.id for t in mix.examples].count(t.id) for t in tasks.tasks[18:]) >= 7


def test_in_a_stream_what_is_replayed_comes_from_the_tasks_before(koan: Task) -> None:
    tasks = pairs(koan)
    earlier, own = tasks.tasks[:8], TaskSet("own", "1", tasks.tasks[8:])
    old = {t.id for t in earlier}
    mix = Mixed(examples=50).compose(own, probed(own, set()), 0, earlier)
    assert sum(t.id in old for t in mix.examples) == mix.parts["replay"] == 38  # 44 of 44 + 14: nothing was passed
    assert {t.id for t in Replay(examples=12).compose(own, None, 0, earlier).examples} <= old


def test_hard_pairs_are_copied_as_often_as_asked(koan: Task) -> None:
    tasks = pairs(koan)
    scores = probed(tasks, {t.id for t in tasks.tasks[:18]})
    mix = Mixed(examples=30, copies=3).compose(tasks, scores, seed=0)
    assert mix.parts["hard"] == 6 and len(mix.examples) == 30 and mix.parts["replay"] + mix.parts["success"] == 24
    assert all([t.id for t in mix.examples].count(t.id) >= 3 for t in tasks.tasks[18:])


def test_targeted_takes_whole_patterns_that_the_baseline_fails(koan: Task) -> None:
    tasks = pairs(koan)
    asked = sample(tasks, 8, seed=0)
    weak = asked.tasks[0].pattern
    mix = Targeted().compose(tasks, probed(asked, {t.id for t in asked if t.pattern != weak}), seed=0)
    assert {t.id for t in mix.examples} == {t.id for t in tasks if t.pattern == weak}
    half = {t.id for t in asked if t.pattern != weak} | {next(t.id for t in asked if t.pattern == weak)}
    assert len(Targeted(failing=0.5).compose(tasks, probed(asked, half), seed=0).examples) == 5
    with pytest.raises(TrainingError, match="no pair in targeted"):
        Targeted(failing=0.6).compose(tasks, probed(asked, half), seed=0)


def test_replay_is_even_over_the_patterns(koan: Task) -> None:
    mix = Replay(examples=12).compose(pairs(koan), None, seed=0)
    counts = [[t.pattern for t in mix.examples].count(f"pattern{i}") for i in range(4)]
    assert counts == [3, 3, 3, 3] and mix.parts == {"replay": 12}


def test_pattern_takes_its_own_and_names_the_nearest_of_an_unknown_one(koan: Task) -> None:
    tasks = pairs(koan)
    assert {t.pattern for t in Pattern(patterns=["pattern2"]).compose(tasks, None, 0).examples} == {"pattern2"}
    with pytest.raises(DataError, match=r"no pairs have the pattern patern2\. Did you mean pattern"):
        Pattern(patterns=["patern2"]).compose(tasks, None, 0)
    assert "patterns is empty" in Pattern().problems()[0]


@given(st.floats(0.1, 4), st.integers(1, 200), st.integers(1, 8), st.integers(1, 4))
def test_epochs_are_as_many_steps_as_it_takes(epochs: float, examples: int, batch: int, accum: int) -> None:
    train = Train(epochs=epochs, batch_size=batch, grad_accum=accum).on(examples)
    assert (train.steps - 1) * batch * accum < epochs * examples <= train.steps * batch * accum
    assert train.epochs == 0 and Train(steps=7).on(examples).steps == 7


def test_an_empty_part_leaves_its_share_to_the_others(koan: Task) -> None:
    tasks = pairs(koan)
    mix = Mixed(examples=58).compose(tasks, probed(tasks, set()), seed=0)
    assert mix.parts == {"replay": 44, "success": 0, "hard": 14}


def test_all_and_its_seed(koan: Task) -> None:
    tasks = pairs(koan)
    one, same, other = (All().compose(tasks, None, seed=s) for s in (0, 0, 1))
    assert one.digest == same.digest != other.digest
    assert sorted(t.id for t in one.examples) == sorted(t.id for t in tasks)


def test_the_sample_is_spread_over_the_patterns(koan: Task) -> None:
    asked = sample(pairs(koan), 8, seed=0)
    assert sorted(t.pattern for t in asked) == sorted(f"pattern{i}" for i in (0, 1, 2, 3) * 2)
    assert asked == sample(pairs(koan), 8, seed=0) != sample(pairs(koan), 8, seed=1)
    few = [frozenset(t.pattern for t in sample(pairs(koan), 2, seed)) for seed in range(30)]
    assert all(len(patterns) == 2 for patterns in few) and len(set(few)) == 6  # every two of the four come up


@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 5), st.floats(0.01, 10)), min_size=1),
    st.integers(0, 60),
)
def test_shares_add_up_and_follow_the_weights(parts: dict[str, tuple[int, float]], total: int) -> None:
    blank = Task(
        id="", family="", pattern="", level=1, code="", edition="2021", description="", broken="", fix="", tests=()
    )
    pools = {name: [replace(blank, id=f"{name}{i}") for i in range(size)] for name, (size, _) in parts.items()}
    weights = {name: weight for name, (_, weight) in parts.items()}
    if not any(pools.values()):
        with pytest.raises(TrainingError):
            draw(pools, weights, total, 0)
        return
    mix = draw(pools, weights, total, 0)
    whole = sum(w for name, w in weights.items() if pools[name])
    assert len(mix.examples) == total == sum(mix.parts.values())
    for name, count in mix.parts.items():
        share = total * weights[name] / whole if pools[name] else 0
        assert abs(count - share) < 1
        seen = [sum(t.id == p.id for t in mix.examples) for p in pools[name]]
        assert not seen or max(seen) - min(seen) <= 1  # nothing is drawn again before all were drawn


def test_families_choose_pairs_and_a_wrong_one_is_named() -> None:
    pairs = load_pairs()
    mix = All(families=["lifetimes", "trait_bounds"]).compose(pairs, None, 0)
    assert {t.family for t in mix.examples} == {"lifetimes", "trait_bounds"}
    assert len(mix.examples) == sum(t.family in ("lifetimes", "trait_bounds") for t in pairs)
    with pytest.raises(DataError, match=r"no pairs have the family lifetime\. Choose from borrow_checker"):
        All(families=["lifetime"]).compose(pairs, None, 0)

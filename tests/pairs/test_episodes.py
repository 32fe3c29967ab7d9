"""The mix that episodes ask for: what failed last, what was repaired, and nothing of a koan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import Task, TaskSet
from sleepy.episodes.store import Episode, open_episodes
from sleepy.errors import DataError, NothingToLearn
from sleepy.pairs.episodes import Episodes
from tests.jobs import chosen

BLANK = dict.fromkeys(("family", "pattern", "prompt", "model", "adapter", "before", "after", "diff"), "")


@pytest.fixture
def pairs(koan: Task) -> TaskSet:
    return TaskSet("pairs", "1", tuple(replace(koan, id=f"p{i}", pattern=f"pattern{i % 4}") for i in range(20)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """On Monday p0 to p5 failed. On Tuesday p0 to p3 were repaired, p6 failed, and so did a koan."""
    days = [("mon", i, "test") for i in range(6)] + [("tue", i, "passed") for i in range(4)] + [("tue", 6, "compile")]
    with open_episodes(tmp_path / "e.db") as store:
        for number, (run, task, verdict) in enumerate([*days, ("tue", "koan", "compile")]):
            time = f"2026-03-01T12:00:00.{number:06}+00:00"
            numbers = {"attempt": 0, "prompt_tokens": 1, "completion_tokens": 1, "milliseconds": 1}
            name = f"p{task}" if isinstance(task, int) else task
            store.write(Episode(run=run, task=name, verdict=verdict, time=time, **BLANK, **numbers))
    return store.path


def drawn(option: Episodes, pairs: TaskSet, part: str) -> set[str]:
    """The ids of one part, which is drawn alone."""
    weights = {"replay": 0.0, "success": 0.0, "hard": 0.0, part: 1.0}
    return {t.id for t in replace(option, **weights).compose(pairs, None, 0).examples}


def test_the_newest_attempt_decides(pairs: TaskSet, path: Path) -> None:
    option = Episodes(path=str(path))
    assert drawn(option, pairs, "hard") == {"p4", "p5", "p6"}
    assert drawn(option, pairs, "success") == {"p0", "p1", "p2", "p3"}
    assert drawn(option, pairs, "replay") == {t.id for t in pairs}


def test_one_run_alone(pairs: TaskSet, path: Path) -> None:
    monday = Episodes(path=str(path), run="mon")
    assert drawn(monday, pairs, "hard") == {f"p{i}" for i in range(6)}
    assert drawn(Episodes(path=str(path), run="tue"), pairs, "hard") == {"p6"}


def test_one_pass_among_the_last_is_enough(pairs: TaskSet, path: Path) -> None:
    with open_episodes(path) as store:
        again = replace(store.newest(12)[-1], verdict="compile", time="2026-03-02T12:00:00.000000+00:00")
        assert again.task == "p0"
        store.write(again)
    assert "p0" in drawn(Episodes(path=str(path)), pairs, "hard")
    assert "p0" in drawn(Episodes(path=str(path), last=2), pairs, "success")


def test_shares_seed_and_stream(pairs: TaskSet, path: Path) -> None:
    option = Episodes(path=str(path), examples=100)
    mix = option.compose(pairs, None, 5)
    assert mix.parts == {"replay": 44, "success": 42, "hard": 14} and len(mix.examples) == 100
    assert mix == option.compose(pairs, None, 5) != option.compose(pairs, None, 6)
    own = TaskSet("own", "1", pairs.tasks[4:])
    old = option.compose(own, None, 0, pairs.tasks[:4])
    assert old.parts["success"] == 0 and old.parts["replay"] == sum(
        t.id in {"p0", "p1", "p2", "p3"} for t in old.examples
    )


def test_without_episodes_there_is_nothing_to_learn(pairs: TaskSet, path: Path, tmp_path: Path) -> None:
    gone = Episodes(path=str(tmp_path / "gone.db"))
    with pytest.raises(NothingToLearn, match=r"no attempt at a training pair .0 tasks.*Run a job with data=failures"):
        gone.compose(pairs, None, 0)
    assert not (tmp_path / "gone.db").exists()
    with pytest.raises(NothingToLearn, match="no attempt at a training pair in run wed"):
        Episodes(path=str(path), run="wed").compose(pairs, None, 0)
    others = TaskSet("others", "1", pairs.tasks[10:])
    with pytest.raises(NothingToLearn, match=r"no attempt at a training pair .8 tasks"):
        Episodes(path=str(path)).compose(others, None, 0)
    solved = TaskSet("solved", "1", pairs.tasks[:4])
    with pytest.raises(NothingToLearn, match="no failed pair"):
        Episodes(path=str(path), replay=0, success=0).compose(solved, None, 0)
    assert Episodes(path=str(path)).compose(solved, None, 0).parts["hard"] == 0  # the others take its share


def test_a_damaged_file_is_no_lack_of_episodes(pairs: TaskSet, path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match="left as it was"):
        Episodes(path=str(path)).compose(pairs, None, 0)


def test_the_option_reads_the_file_that_the_run_writes() -> None:
    found = chosen("data=episodes", "episodes=mine.db")
    assert found.data == Episodes(path="mine.db") and found.episodes == "mine.db"
    assert chosen("data=episodes").data == Episodes()
    assert Episodes(replay=0, success=0, hard=0).problems() == ["replay, success and hard must not all be 0"]

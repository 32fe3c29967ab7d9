"""A project's own tests among the judges of a repair: `cargo_test=true`. Recorded answers, the real cargo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sleepy.artifacts import Completion, Departure, Task
from sleepy.doubts.doubts import tried
from sleepy.own_code.project import mend
from sleepy.repair.best_of_n import BestOfN
from sleepy.repair.search import Search
from sleepy.repair.strategy import Strategy
from sleepy.results import Result
from sleepy.sandbox.checker import Checker, Judge
from tests.jobs import sleepy
from tests.repair.recorded import repaired

BROKEN = "pub fn len(s: &str) -> u8 {\n    s.len()\n}\n"
RUSTC = BROKEN.replace("s.len()", "s.len().try_into().unwrap()")  # what rustc suggests: it panics beyond 255 letters
RIGHT = BROKEN.replace("u8", "usize")
TEST = '#[test]\nfn long() {\n    assert_eq!(demo::len(&"a".repeat(300)) as usize, 300);\n}\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in (("src/lib.rs", BROKEN), ("tests/long.rs", TEST)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "demo"\nversion = "0.1.0"\nedition = "2021"\n')
    return tmp_path


@pytest.mark.parametrize(
    ("repair", "answers"),
    [
        (BestOfN(n=3, rustfix_first=True), [BROKEN, RUSTC, RIGHT]),
        (Search(candidates=2, rank="order", suggestions=False), [BROKEN, RIGHT]),
        (Search(candidates=2, rank="chance"), [BROKEN, RUSTC, RIGHT]),
    ],
    ids=["best_of_n", "rustfix_first", "suggestions"],
)
def test_what_passes_the_tests_comes_before_what_only_compiles(
    project: Path, checker: Checker, repair: Strategy, answers: list[str]
) -> None:
    found: list[tuple[str, Result]] = []

    def solve(task: Task, judge: Judge) -> str | None:
        texts = [Completion(answer.rstrip("\n"), 100, 10, 0.5, chance=-1.0) for answer in answers]
        texts[0] = replace(texts[0], departures=(Departure("pub fn len(s: &str) -> ", "usize", -1.0, -0.5),))
        result, _ = repaired(task, judge, repair, *texts)
        found.append((tried(repair, task, result), result))
        return result.attempts[result.chosen].program if result.passed else None

    (strict,) = mend(project, checker, solve, "2021", tests=True)
    assert strict.after == RIGHT
    said, result = found.pop()
    if RUSTC in answers:
        assert "2 compile, 1 passes its tests" in said and "test" in {a.stage for a in result.attempts}
    (mild,) = mend(project, checker, solve, "2021")
    assert mild.after == RUSTC  # the compiler's word alone


def test_a_single_file_has_no_tests(tmp_path: Path) -> None:
    (tmp_path / "a.rs").write_text(BROKEN)
    done = sleepy(tmp_path, "stages=[repair]", "file=a.rs", "cargo_test=true")
    assert done.returncode == 1 and "cargo_test: file=a.rs is one file" in done.stderr

"""The tree keeps the house rules (tests/house.py), and violations planted in a small tree are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house import (
    CHECKS,
    ROOT,
    constructors_are_typed,
    every_option_has_a_yaml,
    every_yaml_names_an_option,
    heavy_after,
    importing_is_light,
    modules_are_small,
    nothing_local_is_named,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_tree_keeps_the_rule(check: Callable[[Path], list[str]]) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize("flag", [["--help"], ["--cfg", "job"]], ids=" ".join)
def test_asking_run_py_is_light(flag: list[str]) -> None:
    run = "try: runpy.run_path('run.py', run_name='__main__')\nexcept SystemExit: pass"
    assert heavy_after(ROOT, f"sys.argv = ['run.py', *{flag!r}]\n{run}") == []


OPTION = '''
from dataclasses import dataclass
from sleepy.{room}._shared import Base

@dataclass(frozen=True, kw_only=True)
class {name}(Base):
    """steps: how many."""
    steps: int = 1
'''


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small tree that keeps every rule: one algorithm, one engine, the pipeline."""
    for room, group, stem in (("train", "algo", "naive"), ("engines", "engine", "echo")):
        write(tmp_path, f"sleepy/{room}/__init__.py", "")
        write(tmp_path, f"sleepy/{room}/_shared.py", "class Base: ...")
        write(tmp_path, f"sleepy/{room}/{stem}.py", OPTION.format(room=room, name=stem.title()))
        write(tmp_path, f"conf/{group}/{stem}.yaml", f"_target_: sleepy.{room}.{stem}.{stem.title()}\nsteps: 2")
    write(tmp_path, "sleepy/__init__.py", "")
    write(tmp_path, "sleepy/errors.py", "class SleepyError(Exception): ...")
    write(tmp_path, "sleepy/pipeline.py", "from sleepy.train import naive\nfrom sleepy.engines.echo import Echo")
    write(tmp_path, "conf/experiment/smoke.yaml", "steps: 3")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_a_tree_that_keeps_the_rules_is_not_accused(house: Path) -> None:
    assert [line for check in CHECKS for line in check(house)] == []


NAIVE, SHARED, LATE = "sleepy/train/naive.py", "sleepy/train/_shared.py", "sleepy/train/_late.py"
A_YAML = "conf/algo/naive.yaml"
INIT = "class A:\n    def __init__(self, {}): ..."
VIOLATIONS: list[tuple[Callable[[Path], list[str]], str, str, str]] = [
    (every_yaml_names_an_option, A_YAML, "steps: 2", "found _target_ ''"),
    (every_yaml_names_an_option, A_YAML, "_target_: torch.optim.SGD", "expected a class under sleepy."),
    (every_yaml_names_an_option, A_YAML, "_target_: sleepy.train._shared.Base", "belongs to its room only"),
    (every_yaml_names_an_option, A_YAML, "_target_: sleepy.train.naive.Gone", "there is no class"),
    (every_option_has_a_yaml, "sleepy/engines/orphan.py", "class Orphan(Base): ...", "engines.orphan.Orphan: no YAML"),
    (importing_is_light, SHARED, "import numpy\nclass Base: ...", "numpy is loaded"),
    (importing_is_light, SHARED, "import nowhere", "No module named 'nowhere'"),
    (modules_are_small, LATE, "x = 1\n" * 301, "expected at most 300"),
    (modules_are_small, "sleepy/train/__init__.py", "x = 1\n" * 301, "expected at most 300"),
    (modules_are_small, "tests/test_long.py", "x = 1\n" * 301, "tests/test_long.py: 302 lines"),
    (constructors_are_typed, NAIVE, "class Naive: ...", "expected @dataclass"),
    (constructors_are_typed, NAIVE, OPTION.format(room="train", name="Naive") + "    rate = 3", "rate: has no type"),
    (constructors_are_typed, LATE, INIT.format("x"), "__init__(x) has no type"),
    (constructors_are_typed, LATE, INIT.format("**options: int"), "takes **options"),
    (nothing_local_is_named, "docs/how.md", "see /" + "work/main", "docs/how.md:1 names"),
    (nothing_local_is_named, "setup.cfg", "index = https://pypi." + "org/simple", "setup.cfg:1 names"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "path", "text", "words"), VIOLATIONS)
def test_a_violation_is_named(
    house: Path, check: Callable[[Path], list[str]], path: str, text: str, words: str
) -> None:
    write(house, path, text)
    assert any(words in line for line in check(house)), check(house)


def test_a_tall_median_is_named(house: Path) -> None:
    for number in range(10):
        write(house, f"sleepy/train/_m{number}.py", "x = 1\n" * 150)
    assert modules_are_small(house) == ["the median module has 151 lines, expected under 120"]

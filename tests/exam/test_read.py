"""JSONL: what is wrong is named with file and line, all of it at once."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sleepy.artifacts import Task
from sleepy.errors import DataError
from sleepy.exam.builtin import Builtin
from sleepy.exam.file import File
from sleepy.exam.read import read_tasks
from sleepy.files import write_jsonl
from sleepy.pairs.builtin import load_pairs


def test_what_is_written_is_read(tmp_path: Path, koan: Task) -> None:
    write_jsonl(tmp_path / "k.jsonl", [koan])
    assert read_tasks(tmp_path / "k.jsonl") == (koan,)
    assert File(path=str(tmp_path / "k.jsonl")).load().tasks == (koan,)


@pytest.mark.parametrize(("change", "said"), [
    ({"level": 8}, "level must be a whole number from 1 to 7, not 8"),
    ({"edition": "2015"}, "edition must be one of 2018, 2021, 2024, not '2015'"),
    ({"level": True}, "level must be a whole number from 1 to 7, not True"),
    ({"tests": "assert!(true);"}, "tests must be a list of Rust statements, at least one, not 'assert!(true);'"),
    ({"tests": []}, "tests must be a list of Rust statements, at least one, not []"),
    ({"fix": ""}, "fix must be a text, not ''"),
    ({"colour": "red"}, "unknown colour"),
])  # fmt: skip
def test_a_wrong_field_is_named(tmp_path: Path, koan: Task, change: dict[str, object], said: str) -> None:
    write_jsonl(tmp_path / "k.jsonl", [koan, {**asdict(koan), "id": "b", **change}])
    with pytest.raises(DataError) as error:
        read_tasks(tmp_path / "k.jsonl")
    assert str(error.value).startswith(f"{tmp_path / 'k.jsonl'}:2: ") and said in str(error.value)


def test_every_bad_line_is_reported(tmp_path: Path, koan: Task) -> None:
    record = json.dumps(asdict(koan))
    missing = json.dumps({k: v for k, v in asdict(koan).items() if k != "fix"})
    for lines, wrong in ((["{oops", record, "[]"], [1, 3]), (["", missing, record, record], [2, 4])):
        (tmp_path / "k.jsonl").write_text("\n".join(lines))
        with pytest.raises(DataError) as error:
            read_tasks(tmp_path / "k.jsonl")
        said = str(error.value).splitlines()
        assert [int(line.split(":")[1]) for line in said] == wrong
    assert "missing fix" in said[0] and "stands on line 3" in said[1]


def test_a_pair_may_come_without_tests(tmp_path: Path, koan: Task) -> None:
    pair = replace(koan, tests=())
    write_jsonl(tmp_path / "pairs.jsonl", [pair])
    assert read_tasks(tmp_path / "pairs.jsonl", needs_tests=False) == (pair,)
    assert load_pairs(tmp_path).tasks == (pair,)


@pytest.mark.parametrize("sign", ["\u0085", "\u2028", "\u2029", "\x0c", "\x1c", "\r"], ids=ascii)
def test_signs_that_end_a_line_elsewhere_end_none_here(tmp_path: Path, koan: Task, sign: str) -> None:
    odd = replace(koan, id="odd", broken=f'{koan.broken}const ODD: &str = "a{sign}b";\n')
    write_jsonl(tmp_path / "k.jsonl", [odd, koan])
    assert read_tasks(tmp_path / "k.jsonl") == (odd, koan)


def test_a_missing_or_empty_file(tmp_path: Path) -> None:
    (problem,) = File(path=str(tmp_path / "none.jsonl")).problems()  # of the config: said before anything is loaded
    assert problem == f"path: there is no file {tmp_path / 'none.jsonl'}"
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="has no tasks"):
        File(path=str(tmp_path / "empty.jsonl")).load()


def test_a_changed_frozen_set_is_refused() -> None:
    with pytest.raises(DataError, match=r"koans was changed: its digest is [0-9a-f]{64}, but version 1 has 0+"):
        Builtin(folder="koans", version="1", sha256="0" * 64).load()

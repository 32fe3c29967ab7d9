"""Episodes as JSON lines and on the command line: exact there and back, and nothing of a damaged file."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleepy.episodes.__main__ import main
from sleepy.episodes.jsonl import export_episodes, import_episodes
from sleepy.episodes.store import Episode, open_episodes
from sleepy.errors import DataError
from sleepy.files import read_jsonl, write_jsonl
from tests.episodes.conftest import all_of


@pytest.fixture
def filled(tmp_path: Path, episode: Episode) -> Path:
    """A file of three episodes."""
    passed = replace(episode, attempt=1, verdict="passed", after="", time="2026-03-01T12:00:01.000000+00:00")
    with open_episodes(tmp_path / "e.db") as store:
        store.write_all([passed, episode, replace(passed, task="lifetimes/a", family="lifetimes")])
    return tmp_path / "e.db"


def exported(path: Path, to: Path) -> bytes:
    with open_episodes(path, create=False) as store:
        export_episodes(store, to)
    return to.read_bytes()


def test_there_and_back_is_exact(filled: Path, tmp_path: Path) -> None:
    lines = exported(filled, tmp_path / "a.jsonl")
    assert import_episodes(tmp_path / "a.jsonl", tmp_path / "b.db") == (3, 3)
    assert import_episodes(tmp_path / "a.jsonl", tmp_path / "b.db") == (0, 3)
    assert exported(tmp_path / "b.db", tmp_path / "b.jsonl") == lines and lines.count(b"\n") == 3


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.characters(codec="utf-8")), st.integers(0, 2**63 - 1))
def test_any_text_comes_back(tmp_path: Path, episode: Episode, text: str, tokens: int) -> None:
    odd = replace(episode, diff=text, task=text, prompt_tokens=tokens)
    assert write_jsonl(tmp_path / "a.jsonl", [odd, {"text": text}]) == 2
    assert read_jsonl(tmp_path / "a.jsonl") == [(1, asdict(odd)), (2, {"text": text})]
    write_jsonl(tmp_path / "a.jsonl", [odd])
    import_episodes(tmp_path / "a.jsonl", tmp_path / "e.db")
    assert odd in all_of(tmp_path / "e.db")


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"a": "x\u2028\u2029\x85\x1fy"}\r\n\n{"b": 1}'.replace("\x1f", "\\u001f").encode())
    assert read_jsonl(path) == [(1, {"a": "x\u2028\u2029\x85\x1fy"}), (3, {"b": 1})]


def test_every_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"run": "cut o\n{}\n[1, 2]\n\xff\n{"a": "\\ud800"}\n' + b"[" * 100_000)
    with pytest.raises(DataError) as caught:
        read_jsonl(path)
    words = [
        (1, "Unterminated string"),
        (3, "it is a list"),
        (4, "not in UTF-8: found the byte 0xff at place 1"),
        (5, "surrogates"),
        (6, "recursion"),
    ]
    for line, (number, word) in zip(str(caught.value).split("\n"), words, strict=True):
        assert line.startswith(f"{path}:{number}: ") and word in line
    with pytest.raises(DataError, match=r"gone.jsonl: cannot be read: No such file"):
        read_jsonl(tmp_path / "gone.jsonl")


DAMAGE = [
    ({"diff": None}, "diff must be a text, not None"),
    ({"attempt": "1"}, "attempt must be a whole number, at least 0, not '1'"),
    ({"attempt": True}, "attempt must be a whole number, at least 0, not True"),
    ({"milliseconds": -1}, "milliseconds must be a whole number, at least 0, not -1"),
    ({"prompt_tokens": 2**63}, "prompt_tokens must be a whole number, at least 0, not 9223372036854775808"),
    ({"verdict": "great"}, "verdict must be one of compile, test, passed, not 'great'"),
    ({"time": "2026-03-01T12:00:00Z"}, "time must be UTC, such as 2"),
    ({"time": "yesterday"}, "time must be UTC, such as 2"),
    ({"mood": "calm"}, "mood is unknown"),
    ({"run": ...}, "run is missing"),
]


def test_what_is_no_episode_is_named_and_nothing_is_imported(filled: Path, tmp_path: Path, episode: Episode) -> None:
    good = asdict(replace(episode, run="new"))
    damaged = [{k: v for k, v in {**good, **damage}.items() if v is not ...} for damage, _ in DAMAGE]
    source = tmp_path / "in.jsonl"
    write_jsonl(source, [good, *damaged])
    before = all_of(filled)
    with pytest.raises(DataError) as caught:
        import_episodes(source, filled)
    *lines, last = str(caught.value).split("\n")
    for number, (line, (_, words)) in enumerate(zip(lines, DAMAGE, strict=True), 2):
        assert line.startswith(f"{source}:{number}: {words}")
    assert last == "Nothing was imported" and all_of(filled) == before
    with pytest.raises(DataError):
        import_episodes(source, tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_the_command_line_shows_checks_exports_and_imports(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(filled), "--last", "2"]) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert said[:4] == [
        ["family", "compile", "test", "passed", "all"],
        ["borrow_checker", "1", "0", "1", "2"],
        ["lifetimes", "0", "0", "1", "1"],
        ["all", "1", "0", "2", "3"],
    ]
    assert sorted(line[2] for line in said[6:]) == ["borrow_checker/word_report", "lifetimes/a"]
    assert main(["check", str(filled)]) == 0
    assert main(["export", str(filled), str(tmp_path / "a.jsonl")]) == 0
    assert main(["import", str(tmp_path / "a.jsonl"), str(tmp_path / "b.db")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(str(tmp_path))[0] for line in said] == [
        "",
        "3 episodes written to ",
        "3 of 3 episodes were new to ",
    ]


def test_what_is_wrong_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.db").write_text("no database " * 100)
    for command, *names in (
        ["show", "bad.db"], ["check", "bad.db"], ["export", "gone.db", "a.jsonl"], ["import", "gone.jsonl", "e.db"],
        ["show", "."],
    ):  # fmt: skip
        assert main([command, *(str(tmp_path / name) for name in names)]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and names[0].rstrip(".") in said

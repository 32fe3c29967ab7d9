"""Episodes as JSON lines and on the command line: exact there and back, and nothing of a damaged file."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleepy.episodes.__main__ import main
from sleepy.episodes.jsonl import export_episodes, import_episodes
from sleepy.episodes.store import Episode, open_episodes
from sleepy.errors import DataError

ROOT = Path(__file__).resolve().parent.parent.parent


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
@given(st.text(), st.text(), st.integers(0, 2**63 - 1))
def test_any_text_comes_back(tmp_path: Path, episode: Episode, diff: str, task: str, tokens: int) -> None:
    odd = replace(episode, diff=diff, task=task, prompt_tokens=tokens)
    (tmp_path / "a.jsonl").write_text(json.dumps(asdict(odd)), encoding="utf-8")
    import_episodes(tmp_path / "a.jsonl", tmp_path / "e.db")
    with open_episodes(tmp_path / "e.db") as store:
        assert odd in list(store.episodes())


DAMAGE = [
    ('{"run": "cut o', "Unterminated string"),
    ("[1, 2]", "found no JSON object"),
    ({"diff": None}, "diff: found None, expected a text"),
    ({"attempt": "1"}, "attempt: found '1', expected a whole number from 0"),
    ({"attempt": True}, "attempt: found True"),
    ({"milliseconds": -1}, "milliseconds: found -1"),
    ({"prompt_tokens": 2**63}, "prompt_tokens: found 9223372036854775808"),
    ({"verdict": "great"}, "verdict: found 'great', expected one of compile, test, passed"),
    ({"time": "2026-03-01T12:00:00Z"}, "time: found '2026-03-01T12:00:00Z', expected UTC as in 2"),
    ({"time": "yesterday"}, "time: found 'yesterday'"),
    ({"mood": "calm"}, "mood is unknown"),
    ({"diff": "\ud800"}, "surrogates not allowed"),
    ({"run": ...}, "run is missing"),
    ("[" * 100_000, "recursion"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE)
def test_a_damaged_line_is_named_and_nothing_is_imported(
    filled: Path, tmp_path: Path, episode: Episode, damage: str | dict[str, object], words: str
) -> None:
    if isinstance(damage, dict):
        record = {name: value for name, value in {**asdict(episode), **damage}.items() if value is not ...}
        damage = json.dumps(record)
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(asdict(replace(episode, run="new"))) + "\n\n" + damage + "\n", encoding="utf-8")
    before = exported(filled, tmp_path / "before.jsonl")
    with pytest.raises(DataError) as caught:
        import_episodes(source, filled)
    assert f"{source}, line 3: " in str(caught.value) and words in str(caught.value)
    assert exported(filled, tmp_path / "after.jsonl") == before
    with pytest.raises(DataError):
        import_episodes(source, tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="line 1: 'utf-8' codec can't decode"):
        import_episodes(tmp_path / "in.jsonl", tmp_path / "e.db")


def test_the_command_line_shows_exports_and_imports(
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
    assert main(["export", str(filled), str(tmp_path / "a.jsonl")]) == 0
    assert main(["import", str(tmp_path / "a.jsonl"), str(tmp_path / "b.db")]) == 0
    assert "3 episodes written" in (out := capsys.readouterr().out) and "3 of 3 episodes were new" in out


def test_what_is_wrong_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_text("no database " * 100)
    for words in (
        ["show", "bad.db"],
        ["export", "gone.db", "a.jsonl"],
        ["import", "gone.jsonl", "e.db"],
        ["show", "."],
    ):
        command = [sys.executable, "-m", "sleepy.episodes", words[0], *(str(tmp_path / name) for name in words[1:])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
        assert words[1].rstrip(".") in done.stderr

"""`data=file` through the pipeline, and the example of the documentation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepy.artifacts import Task
from sleepy.errors import ConfigError, DataError
from sleepy.exam.audit import alike, audit, require_proof
from sleepy.exam.builtin import every_koan, frozen
from sleepy.exam.file import File as Exam
from sleepy.files import read_jsonl, write_jsonl
from sleepy.pairs.builtin import sample
from sleepy.pairs.file import File
from sleepy.sandbox.checker import Checker
from tests.jobs import ROOT, artifacts, chosen, job, sleepy

EXAMPLES = ROOT / "docs" / "examples"
KOANS, PAIRS, CHATS = (str(EXAMPLES / f"units-{name}.jsonl") for name in ("koans", "pairs", "chats"))
MEASURED = "stages=[fetch,prove,baseline,train,evaluate]"


def mix(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("**/data/mix.jsonl")
    return [row for _, row in read_jsonl(path)]


def test_a_job_learns_from_a_users_pairs_and_measures_those_held_out(run: Callable[..., Any]) -> None:
    done = run(MEASURED, "data=file", f"data.path={PAIRS}", "data.held_out=0.3", "data.examples=6")
    own = File(path=PAIRS, held_out=0.3).load()
    metrics = done.data.metrics
    assert metrics["data/file"] == 6 and metrics["held_out/pairs"] == len(own.unseen) > 0
    assert metrics["held_out/loss"] != metrics["held_out/loss_before"] > 0
    rows = mix(artifacts(done))
    assert {row["id"] for row in rows} <= {t.id for t in own} and len(rows) == 6
    assert all(row["message"].startswith("error[") for row in rows)  # rustc's, which the file leaves out


def test_a_job_learns_from_chats(run: Callable[..., Any]) -> None:
    done = run(MEASURED, "data=file", f"data.path={CHATS}", "data.held_out=0.3", "data.examples=0")
    own = File(path=CHATS, held_out=0.3).load()
    assert done.data.metrics["held_out/pairs"] == len(own.unseen) > 0
    assert sorted(row["id"] for row in mix(artifacts(done))) == sorted(chat.id for chat in own.chats)
    assert all(set(row) == {"id", "messages", "answer"} for row in mix(artifacts(done)))


def test_each_pattern_of_a_users_pairs_has_an_adapter(run: Callable[..., Any]) -> None:
    words = ["stream=each", "merge=average", "stages=[fetch,prove,baseline,train]"]
    done = run(*words, "data=file", f"data.path={PAIRS}", "data.examples=2", "train.steps=1")
    table = json.loads((artifacts(done) / "adapters.json").read_text())
    assert [row[table["columns"].index("pattern")] for row in table["data"]] == ["newtype_arithmetic", "newtype_wrap"]


def test_a_warning_about_the_gates_koans_stands_in_the_report(
    run: Callable[..., Any], tmp_path: Path, koan: Task
) -> None:
    seen = sample(frozen("koans_val"), 3, 0).tasks[0]
    write_jsonl(tmp_path / "mine.jsonl", [replace(koan, id="a"), replace(seen, id="b")])
    words = ["data=file", "data.path=mine.jsonl", "data.held_out=0", "train.steps=1", "export.proof_prompts=0"]
    with pytest.raises(
        DataError, match=rf"1 of 2 .*\n  mine.jsonl:2: similarity 1.00 as written to the koan {seen.id},"
    ):
        run(*words)
    run(*words, "data.contaminated=warn")
    (page,) = tmp_path.glob("outputs/*/report.md")
    assert "1 of 2 training pairs of mine.jsonl resemble koans" in page.read_text()


@pytest.mark.parametrize(("words", "error"), [
    (["algo=replay", PAIRS], r"algo=replay is fine-tuning on a mix that it draws itself \(data=mixed\)"),
    (["algo=targeted", CHATS], r"algo=targeted .*\(data=targeted\)"),
    (["stream=each", "merge=average", CHATS], "stream=each goes by the patterns of pairs, and the chats in units-"),
    (["stream=sequential", CHATS], "stream=sequential goes by the patterns"),
    (["stream=given", "algo=none", "stream.adapters=[a]", CHATS], "stream=given goes by the patterns"),
    (["algo=ssr", CHATS], "algo=ssr needs broken programs and their fixes, and the chats in units-chats"),
    (["algo=dpo", CHATS], "algo=dpo needs broken programs"),
    (["algo=grpo", CHATS], "algo=grpo needs broken programs"),
])  # fmt: skip
def test_what_cannot_learn_from_the_file_says_so_before_anything_is_loaded(
    words: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    *others, path = words
    with pytest.raises(ConfigError, match=error):
        job(tmp_path, "cache=none", *others, "data=file", f"data.path={path}")
    assert not (tmp_path / "none").exists()


def test_the_command_line_names_file_line_and_problem(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": "a", "completion": "b"}, {"messages": []}])
    done = sleepy(tmp_path, "data=file", "data.path=mine.jsonl", "cache=none")
    assert done.returncode == 1 and done.stderr.startswith("Error executing job") and "Traceback" not in done.stderr
    assert "error: mine.jsonl:2: messages must be a list of messages, not []" in done.stderr
    assert not (tmp_path / "none").exists()


def test_all_that_is_wrong_with_the_options_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        chosen("data=file", "data.path=gone.jsonl", "data.held_out=1", "data.contaminated=maybe")
    for problem in (
        "data.path: there is no file gone.jsonl",
        "data.held_out must be below 1, not 1.0",
        "data.contaminated must be one of refuse, warn, not 'maybe'",
    ):
        assert problem in str(error.value)


def test_a_pair_that_rustc_does_not_confirm_is_named(
    tmp_path: Path, koan: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = replace(koan, id="good", tests=())
    write_jsonl(tmp_path / "mine.jsonl", [good, replace(good, id="sound", broken=koan.fix)])
    own = ["data=file", "data.path=mine.jsonl", "data.held_out=0"]
    with pytest.raises(
        DataError, match=r"  mine.jsonl:2: sound: the broken program compiles, although it should fail with E0382"
    ):
        job(tmp_path, "stages=[prove]", "tasks=file", f"tasks.path={KOANS}", *own)


def test_the_example_is_sound(checker: Checker) -> None:
    exam, pairs = Exam(path=KOANS).load(), File(path=PAIRS, held_out=0.2).load()
    assert len(exam) == 10 and pairs.unseen and len(pairs) + len(pairs.unseen) == 22
    require_proof((*exam.tasks, *pairs.tasks, *pairs.unseen), checker)
    assert alike(exam.tasks, (*pairs.tasks, *pairs.unseen), every_koan())[1] == []
    gates = frozen("koans_val").tasks
    assert all(File(path=path).judged_by(File(path=path).load(), (*exam, *gates)) == "" for path in (PAIRS, CHATS))


@pytest.mark.slow
def test_the_example_passes_the_audit(checker: Checker) -> None:
    assert audit(Exam(path=KOANS).load().tasks, checker)[1] == []

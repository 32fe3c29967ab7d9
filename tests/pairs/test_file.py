"""A user's own pairs: read in two formats, split by what may not be parted, and kept apart from the exam."""

from __future__ import annotations

import codecs
import json
import random
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.artifacts import Task, TaskSet
from sleepy.errors import DataError
from sleepy.files import write_jsonl
from sleepy.pairs.file import File, parted, skeleton
from sleepy.pairs.material import Chat, Pairs
from tests.exam.test_contamination import OTHER, renamed
from tests.jobs import ROOT, chosen

EXAMPLES = ROOT / "docs" / "examples"
TALK = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "This."}]


def loaded(path: Path, **options: Any) -> Pairs:
    return File(path=str(path), **{"held_out": 0.0, **options}).load()


def chat(prompt: str, answer: str = "Yes.", name: str = "") -> Chat:
    return Chat(id=name or f"{prompt} {answer}", messages=({"role": "user", "content": prompt},), answer=answer)


def said(path: Path) -> str:
    with pytest.raises(DataError) as error:
        loaded(path)
    return str(error.value)


BLANK = Task(
    id="", family="f", pattern="p", level=1, code="E0308", edition="2021", description="d", broken="", fix="", tests=()
)
TASKS = st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["", "a", "b", "c", "d"])), max_size=30).map(
    lambda rows: [
        replace(BLANK, id=str(i), broken=f"fn f() {{ {'g(1);' * n} }}", skeleton=s) for i, (n, s) in enumerate(rows)
    ]
)
CHATS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), max_size=30).map(
    lambda rows: [chat(prompt, answer, str(i)) for i, (prompt, answer) in enumerate(rows)]
)


@given(st.one_of(TASKS, CHATS), st.floats(0, 1, exclude_max=True), st.integers(0, 99), st.randoms())
def test_a_pair_is_on_one_side_whatever_the_order_and_the_others(
    pairs: list[Any], share: float, size: int, rng: random.Random
) -> None:
    trained, unseen = parted(pairs, share)
    assert sorted(p.id for p in (*trained, *unseen)) == sorted(p.id for p in pairs)
    held = {p.id for p in unseen}
    shuffled = rng.sample(pairs, len(pairs))
    assert {p.id for p in parted(shuffled, share)[1]} == held
    fewer = pairs[:size]
    assert {p.id for p in parted(fewer, share)[1]} == held & {p.id for p in fewer}
    assert held <= {p.id for p in parted(pairs, (1 + share) / 2)[1]}
    keys = [{str(p.messages) if isinstance(p, Chat) else skeleton(p) for p in side} for side in (trained, unseen)]
    assert not keys[0] & keys[1]


def test_about_the_share_asked_for_is_held_out(koan: Task) -> None:
    pairs = [replace(koan, id=str(i), skeleton=str(i)) for i in range(2000)]
    for share in (0.0, 0.1, 0.5):
        assert abs(len(parted(pairs, share)[1]) / 2000 - share) <= (0.04 if share else 0)


def test_without_a_skeleton_the_shape_of_the_program_counts(koan: Task) -> None:
    other = replace(koan, id="b", broken=renamed(koan.broken), fix=renamed(koan.fix))
    assert skeleton(koan) == skeleton(other) != skeleton(replace(koan, broken=OTHER))
    assert skeleton(replace(koan, skeleton="mine")) == "mine"


def test_pairs_in_the_koan_format(tmp_path: Path, koan: Task) -> None:
    pairs = [replace(koan, id=f"p{i}", skeleton=f"s{i}", tests=()) for i in range(40)]
    write_jsonl(tmp_path / "mine.jsonl", pairs)
    found = loaded(tmp_path / "mine.jsonl", held_out=0.2)
    assert (found.name, found.chats) == ("mine", ()) and found.places["p2"] == f"{tmp_path / 'mine.jsonl'}:3"
    assert {*found.tasks} | {*found.unseen} == {*pairs} and 2 <= len(found.unseen) <= 16
    mix = File(path="x").compose(found, None, 0)
    assert {t.id for t in mix.examples} == {t.id for t in found} and mix.parts == {"file": len(found)}
    part = TaskSet("part", "", found.tasks[:3])  # a stream's task
    assert len(File(path="x", examples=7).compose(part, None, 0).examples) == 7
    assert File(path="x").compose(found, None, 1) != mix == File(path="x").compose(found, None, 0)


def test_chats_are_messages_or_prompt_and_completion(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    rows = [
        {"messages": [system, *TALK, *TALK]},
        {"prompt": "Which?", "completion": "That."},
        {"id": "c", "messages": TALK},
    ]
    write_jsonl(tmp_path / "c.jsonl", rows)
    found = loaded(tmp_path / "c.jsonl")
    assert found.tasks == () and found.unseen == ()
    first, second, third = found.chats
    assert first == Chat(id="line 1", messages=(system, *TALK, TALK[0]), answer="This.")
    assert second == Chat(id="line 2", messages=({"role": "user", "content": "Which?"},), answer="That.")
    assert third.id == "c" and found.places["c"].endswith("c.jsonl:3") and found.places["line 2"].endswith(":2")
    mix = File(path="x").compose(found, None, 0)
    assert {c.id for c in mix.examples} == {"line 1", "line 2", "c"} and len(mix.digest) == 64


@pytest.mark.parametrize(("row", "problem"), [
    ({"messages": []}, "messages must be a list of messages, not []"),
    ({"messages": "hello"}, "messages must be a list of messages, not 'hello'"),
    ({"messages": ["hi"]}, "message 1 must have the fields role and content: 'hi'"),
    ({"messages": [TALK[0], {**TALK[1], "weight": 0}]}, "message 2 must have the fields role and content: {'role'"),
    ({"messages": [TALK[0], {**TALK[1], "role": "tool"}]}, "message 2: role must be one of system, user"),
    ({"messages": [TALK[0], {"role": "assistant", "content": None}]}, "message 2: content must be a text, not None"),
    ({"messages": [{"role": "user", "content": " "}, TALK[1]]}, "message 1: content must be a text, not ' '"),
    ({"messages": TALK[:1]}, "the assistant last, and perhaps a system message before them, not user"),
    ({"messages": TALK[1:]}, "before them, not assistant"),
    ({"messages": [*TALK, TALK[1]]}, "before them, not user, assistant, assistant"),
    ({"messages": [{"role": "system", "content": "s"}]}, "before them, not system"),
    ({"messages": TALK, "tools": []}, "messages, or prompt and completion, and perhaps an id, not messages, tools"),
    ({"prompt": "a"}, "and perhaps an id, not prompt"),
    ({"messages": TALK, "id": 3}, "id must be a text, not 3"),
    ({"prompt": [], "completion": "b"}, "prompt must be a text"),
    ({"prompt": "a", "completion": "\n"}, "completion must be a text that is not empty, not '\\n'"),
    ({"id": "first", "messages": TALK}, "id 'first' stands on line 1 already"),
    ({"id": "x", "broken": "fn", "fix": "fn"}, "Chats and pairs in the koan format go into files of their own"),
])  # fmt: skip
def test_a_wrong_chat_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    path = tmp_path / "c.jsonl"
    write_jsonl(path, [{"id": "first", "messages": TALK}, row, {"prompt": "a", "completion": "b"}])
    assert said(path).startswith(f"{path}:2: ") and problem in said(path) and "\n" not in said(path)


def test_a_wrong_pair_and_a_wrong_format_are_named(tmp_path: Path, koan: Task) -> None:
    path = tmp_path / "p.jsonl"
    write_jsonl(path, [koan, {**asdict(koan), "id": "b", "edition": "2015"}, koan])
    assert said(path).splitlines() == [
        f"{path}:2: edition must be one of 2018, 2021, 2024, not '2015'",
        f"{path}:3: id 'borrow_checker/word_report' stands on line 1 already",
    ]
    write_jsonl(path, [{"conversations": []}])
    assert said(path).startswith(f"{path}:1: the fields conversations are neither a pair in the koan format")
    write_jsonl(path, [{name: value for name, value in asdict(koan).items() if name != "broken"}])
    assert said(path).startswith(f"{path}:1: missing broken. The fields are id,")
    write_jsonl(path, [koan, {"messages": TALK}])
    assert said(path).startswith(f"{path}:2: missing id, family,")


def test_of_many_problems_the_first_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    write_jsonl(path, [{"prompt": "a", "completion": ""}] * 50)
    *lines, last = said(path).splitlines()
    assert len(lines) == 20 and last == "... and 30 more"


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


CHAT = lines({"messages": TALK}, {"prompt": "a\u2028b", "completion": "c\x85d"})


@pytest.mark.parametrize("content", [
    CHAT, codecs.BOM_UTF8 + CHAT, CHAT.replace(b"\n", b"\r\n"), CHAT.rstrip(b"\n"), CHAT.replace(b"\n", b"\n\n"),
], ids=["plain", "byte order mark", "CRLF", "no last newline", "empty lines"])  # fmt: skip
def test_files_as_editors_write_them(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.jsonl").write_bytes(content)
    one, two = loaded(tmp_path / "c.jsonl").chats
    assert one.answer == "This." and (two.messages[0]["content"], two.answer) == ("a\u2028b", "c\x85d")


@pytest.mark.parametrize(("content", "problem"), [
    (b"", " has no tasks. It must have one JSON object per line"), (b"\xef\xbb\xbf\n", " has no tasks"),
    (CHAT.decode().encode("utf-16"), ": this is UTF-16. Save it as UTF-8"),
    (CHAT + '{"prompt": "caf\u00e9"}'.encode("latin-1"), ":3: not in UTF-8: found the byte 0xe9 at place 16"),
    (b'[\n {"prompt": "a"}\n]\n', ": this is a JSON array, but each line must be an object. Convert it: jq -c '.[]'"),
    (CHAT + b'{"prompt": "a",}\n', ":3: not a JSON object: "), (CHAT + b'"a"\n', ":3: not a JSON object: it is a str"),
], ids=["empty", "mark alone", "UTF-16", "Latin-1", "array", "comma", "text"])  # fmt: skip
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(content)
    assert said(path).startswith(f"{path}{problem}")


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    assert File().problems() == ["path is missing. Name a JSONL file: data.path=my_pairs.jsonl"]
    assert File(path=str(tmp_path)).problems() == [
        f"path: {tmp_path} is a folder. Name a JSONL file: data.path=my_pairs.jsonl"
    ]
    assert File(path="gone.jsonl").problems() == ["path: there is no file gone.jsonl"]
    assert File(path=str(EXAMPLES / "units-pairs.jsonl")).problems() == []


def test_a_file_of_which_everything_is_held_out(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "c.jsonl", [{"messages": TALK}, {"messages": TALK}])
    with pytest.raises(DataError, match=r"c.jsonl: all of its pairs \(2\) are held out. Lower data.held_out"):
        loaded(tmp_path / "c.jsonl", held_out=0.9999)


def judged(pairs: Sequence[Task | Chat], koans: Sequence[Task], contaminated: str = "refuse") -> str:
    places = {pair.id: f"mine.jsonl:{number}" for number, pair in enumerate(pairs, 1)}
    tasks = tuple(pair for pair in pairs if isinstance(pair, Task))
    chats = tuple(pair for pair in pairs if isinstance(pair, Chat))
    unseen = (replace(koans[0], id="unseen"),)  # what is not trained on may resemble anything
    own = Pairs("mine", "", tasks, places, chats, unseen)
    return File(path="mine.jsonl", contaminated=contaminated).judged_by(own, koans)


def test_a_pair_that_resembles_a_koan_is_refused_with_its_line(koan: Task) -> None:
    other = replace(koan, id="other", broken=OTHER, fix=OTHER.replace("2", "3"))
    assert judged([other], [koan]) == ""
    same, shape = replace(koan, id="same", fix=OTHER), replace(koan, id="shape", broken=renamed(koan.broken), fix=OTHER)
    with pytest.raises(DataError) as error:
        judged([other, same, shape], [other, koan][1:])
    head, *found, last = str(error.value).splitlines()
    assert head.startswith("data.path: 2 of 3 training pairs of mine.jsonl resemble koans that the result is measured")
    assert found == [
        f"  mine.jsonl:2: similarity 1.00 as written to the koan {koan.id}, expected at most 0.4",
        f"  mine.jsonl:3: similarity 1.00 in shape to the koan {koan.id}, expected at most 0.6",
    ]
    assert "data.contaminated=warn" in last
    assert judged([other, same], [koan], "warn").startswith("1 of 2 training pairs of mine.jsonl resemble koans")


def test_the_same_change_to_a_program_of_much_the_same_shape_counts(koan: Task) -> None:
    more = """
pub enum Side { Left, Right }

pub fn turn(side: Side, steps: [i8; 3]) -> Option<i8> {
    match side {
        Side::Left => steps.first().map(|step| -step),
        Side::Right if steps[1] > 0 => Some(steps[1]),
        _ => None,
    }
}
"""
    broken, fix = (re.sub(r"\b(total|words|report|w|n)\b", r"\1_x", text) for text in (koan.broken, koan.fix))
    pair = replace(koan, id="p", broken=broken + more, fix=fix + more)
    with pytest.raises(DataError, match=r"mine.jsonl:1: similarity 0\.\d\d in what is changed to the koan"):
        judged([pair], [koan])


def test_a_chat_with_a_koans_program_is_refused(koan: Task) -> None:
    prose = " ".join(f"{a} word {b}" for a in "+-*/%&|^" for b in "<>=!?;:,.")
    for text in (
        koan.broken,
        f"{prose}\n```rust\n{koan.broken}```",
        f"Repair this:\n```rust\n{koan.broken}```\nThanks",
        f"So:\n```\n{renamed(koan.fix)}",
    ):
        with pytest.raises(DataError, match=r"mine.jsonl:2: similarity .* to the koan borrow_checker/word_report"):
            judged([chat("hi"), chat(text)], [koan])
        with pytest.raises(DataError, match=r"mine.jsonl:1: similarity"):
            judged([chat("hi", text)], [koan])
    fixed = replace(koan, broken="fn other() {}\n")  # only its fix is in the chat
    with pytest.raises(DataError, match=r"mine.jsonl:1: similarity 1.00 as written to the koan"):
        judged([chat("hi", koan.fix)], [fixed])
    assert judged([chat("How do I borrow?", f"Like this:\n```rust\n{OTHER}```")], [koan]) == ""


def test_the_options_of_the_yaml_are_the_defaults() -> None:
    path = str(EXAMPLES / "units-chats.jsonl")
    assert chosen("data=file", f"data.path={path}").data == File(path=path)

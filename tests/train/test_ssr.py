"""Rehearsal pairs that models wrote: what holds before a real compiler, what is new, what is chosen, what is kept.

The answers are texts written for the test. That a real model gives usable ones is measured in
docs/results/one-stream.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sleepy.artifacts import Adapter, BaseModel, Completion, Prompt, Task
from sleepy.errors import TrainingError
from sleepy.exam.builtin import every_koan
from sleepy.repair.single_shot import SingleShot
from sleepy.rust.tokens import KEYWORDS
from sleepy.sandbox.checker import Checker
from sleepy.train import _ssr
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Example
from sleepy.train.lora import Lora
from sleepy.train.sft import Sft
from sleepy.train.ssr import Ssr
from sleepy.train.training import Past, Tools
from tests.train import fitting
from tests.train.fitting import EXAMPLES

REPAIR = SingleShot()


def moved(name: str, text: str = "String::new()") -> tuple[str, str]:
    """A program that uses a value after its move, and its repair."""
    broken = f"pub fn {name}() -> usize {{\n    let {name}s = {text};\n    drop({name}s);\n    {name}s.len()\n}}\n"
    return broken, broken.replace(f"drop({name}s)", f"drop({name}s.clone())")


def pair(name: str, pattern: str = "use_after_move") -> Task:
    broken, fix = moved(name)
    return Task(
        id=f"pairs/{name}", family="borrow_checker", pattern=pattern, level=1, code="E0382", edition="2021",
        description=f"Counts {name}s.", broken=broken, fix=fix, tests=("assert!(true);",),
    )  # fmt: skip


PAIRS = [pair(name) for name in ("apple", "banana", "cherry", "damson")]


@dataclass
class Recorded:
    """Answers given in order, whatever is asked; the base model's and the latest one's apart."""

    base: Sequence[str] = ()
    latest: Sequence[str] = ()
    checker: Checker | None = None
    prompts: list[tuple[bool, Prompt]] = field(default_factory=list)

    def ask(self, prompts: Sequence[Prompt], latest: bool) -> list[Completion]:
        texts = self.latest if latest else self.base
        start = sum(one is latest for one, _ in self.prompts)
        self.prompts += [(latest, p) for p in prompts]
        return [Completion(texts[(start + i) % len(texts)], 1, 1, 0.0) for i in range(len(prompts))]

    def examples(self, tasks: Sequence[Task]) -> list[Example]:
        assert self.checker is not None
        checks = self.checker.check_all([t.broken_job for t in tasks])
        return [Example(REPAIR.first(t, c), REPAIR.answer(t.fix), t) for t, c in zip(tasks, checks, strict=True)]

    @property
    def tools(self) -> Tools:
        assert self.checker is not None
        return Tools(self.checker.check_all, self.ask, REPAIR.program, self.examples)


def past_of(*steps: Sequence[Task], adapter: Path | None = None) -> Past:
    prompt = EXAMPLES[0].prompt
    return Past(tuple(tuple(Example(prompt, t.fix, t) for t in step) for step in steps), adapter)


def made(found: Sequence[Example]) -> list[Task]:
    return [e.task for e in found if e.task]


KOAN = every_koan()[0]
RENAMED = re.sub(r"\b[A-Za-z_]\w*", lambda m: m[0] if m[0] in KEYWORDS else f"{m[0]}_x", KOAN.broken)
ORDINARY = [moved("grape"), moved("lemon", "vec![1, 2]"), moved("melon"), moved("olive")]
BROKEN = [program for program, _ in ORDINARY]
FIXES = [program for _, program in ORDINARY]
BASE = [
    *BROKEN,
    FIXES[0],  # compiles
    moved("apple")[0],  # a demonstration once more
    KOAN.broken,
    RENAMED,
    "Here is what it should do.",  # prose
    "",
    BROKEN[0] + "```\n\nRepaired:",  # said already
    BROKEN[0].replace("grape", "peach") + "fn half(",  # an error, but none with a code
]
LATEST = [FIXES[0], FIXES[1] + "\n", BROKEN[2], "pub fn lost() {}"]


def test_only_what_rustc_confirms_and_no_koan_has_is_rehearsed(
    checker: Checker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = Recorded(BASE, LATEST, checker)
    found = made(material(Ssr(asked=12, kept=8), past_of(PAIRS), recorded.tools, tmp_path))
    assert [(t.broken, t.fix) for t in found] == ORDINARY[:2]
    for task in found:
        broken, fixed = checker.check(*task.broken_job), checker.check(*task.repaired_job(task.fix))
        assert not broken.compiles and task.code in broken.codes and fixed.passed
    told = capsys.readouterr().err
    assert "of 12 programs asked for rustc rejects 8, of which 4 are new; 2 are repaired, 2 kept" in told


def test_a_repair_that_is_a_koan_is_not_rehearsed(checker: Checker, tmp_path: Path) -> None:
    recorded = Recorded(BROKEN[:1], [FIXES[0] + KOAN.fix], checker)
    ssr, past = Ssr(asked=1, kept=1), past_of(PAIRS)
    assert material(ssr, past, recorded.tools, tmp_path / "koan") == []
    assert len(material(ssr, past, Recorded(BROKEN, FIXES, checker).tools, tmp_path / "own")) == 1


def test_an_error_is_named_by_its_code_and_a_lint_is_one(checker: Checker) -> None:
    tools = Recorded(checker=checker).tools
    unknown = replace(PAIRS[0], broken="pub fn f() -> u8 { unknown }\n")
    lint = replace(PAIRS[0], code="clippy::needless_return", broken="pub fn f() -> u8 {\n    return 1;\n}\n")
    plain = replace(lint, code="E0382")
    assert [t.code for t in _ssr.rejected([unknown, lint, plain], tools)] == ["E0425", "clippy::needless_return"]


def test_what_is_said_already_is_not_new() -> None:
    one, other = pair("quince"), pair("rowan")
    again = replace(one, id="again", broken=one.broken.replace("let ", "let  /* a */ "))
    assert _ssr.new([one, again, other, KOAN], [other]) == [one]


def test_pairs_are_trained_on_as_others_are(checker: Checker, tmp_path: Path) -> None:
    recorded = Recorded(BROKEN, FIXES, checker)
    found = material(Ssr(asked=1, kept=1), past_of(PAIRS), recorded.tools, tmp_path, EXAMPLES)
    assert list(found[:-1]) == EXAMPLES
    broken = checker.check(*found[-1].task.broken_job) if found[-1].task else None
    assert broken and found[-1].prompt == REPAIR.first(made(found)[0], broken)
    assert "E0382" in found[-1].prompt.messages[-1]["content"] and found[-1].answer == REPAIR.answer(FIXES[0])


def test_the_base_sees_two_demonstrations_and_the_latest_model_the_program(checker: Checker, tmp_path: Path) -> None:
    recorded = Recorded(BASE, LATEST, checker)
    material(Ssr(asked=12, kept=8), past_of(PAIRS), recorded.tools, tmp_path)
    orders = []
    for prompt in (p for latest, p in recorded.prompts if not latest):
        last = prompt.messages[-1]["content"]
        answers = [m["content"] for m in prompt.messages if m["role"] == "assistant"]
        two = tuple(next(t for t in PAIRS if t.broken in a and t.fix in a) for a in answers)
        third = [t for t in PAIRS if t.description in last]
        assert len(set(two)) == 2 and len(third) == 1 and third[0] not in two and "E0382" in last
        orders.append(two)
    assert len(orders) == len(set(orders)) == 12
    repaired = [p.messages[-1]["content"] for latest, p in recorded.prompts if latest]
    assert len(repaired) == 4 and BROKEN[0] in repaired[0] and "E0382" in repaired[0]


def test_demonstrations_are_of_one_pattern_where_there_are_two(koan: Task) -> None:
    other = pair("date", "other")
    requests = _ssr.requests([*PAIRS, *PAIRS, other], 99, 0)
    assert len(requests) == 12 and {like.pattern for like, _ in requests} == {"use_after_move"}
    assert {like.description for like, _ in requests} & {other.description}
    assert len(_ssr.requests([PAIRS[0], other, pair("elder", "third")], 99, 0)) == 6
    assert _ssr.requests(PAIRS, 5, 0) == _ssr.requests(PAIRS, 5, 0) != _ssr.requests(PAIRS, 5, 1)
    assert _ssr.requests(PAIRS[:2], 5, 0) == []
    assert _ssr.requests([*PAIRS[:2], replace(koan, broken="x" * 9999)], 5, 0) == []


def test_k_means_takes_one_of_each_kind() -> None:
    loops = [f'pub fn f{i}(v: &[u32]) {{ for x in v {{ println!("{{}}", x) }} }}' for i in range(9)]
    types = [f"pub struct S{i} {{ pub name: String, pub age: u8 }}" for i in range(3)]
    maps = [f"use std::collections::HashMap; pub type M{i} = HashMap<String, Vec<u8>>;" for i in range(2)]
    tasks = [replace(PAIRS[0], id=str(i), broken=text) for i, text in enumerate([*loops, *types, *maps])]
    chosen = _ssr.diverse(tasks, 3)
    assert [(int(t.id) >= 9) + (int(t.id) >= 12) for t in chosen] == [0, 1, 2] and chosen == _ssr.diverse(tasks, 3)
    assert _ssr.diverse(tasks, 14) == tasks
    same = [replace(t, broken=loops[0]) for t in tasks[:5]]
    assert len(_ssr.diverse(same, 3)) == 3


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    prompts = [prompt for _, prompt in _ssr.requests([pair(f"p{i}") for i in range(6)], 30, 0)]
    record, first = tmp_path / "asked.jsonl", Recorded([f"answer {i}" for i in range(30)], ["other"])
    dying = Recorded([f"answer {i}" for i in range(30)])

    def ask(asked: Sequence[Prompt], latest: bool) -> list[Completion]:
        if dying.prompts:
            raise KeyboardInterrupt
        return dying.ask(asked, latest)

    no = Tools(lambda jobs: [], ask, str, lambda tasks: [])
    with pytest.raises(KeyboardInterrupt):
        _ssr.asked(no, prompts, False, record)
    assert 0 < len(dying.prompts) < 30
    rest = Recorded([f"answer {i}" for i in range(len(dying.prompts), 30)], ["other"])
    texts = _ssr.asked(replace(no, ask=rest.ask), prompts, False, record)
    assert texts == _ssr.asked(replace(no, ask=first.ask), prompts, False, tmp_path / "fresh.jsonl")
    assert len(rest.prompts) == 30 - len(dying.prompts)
    assert _ssr.asked(replace(no, ask=rest.ask), prompts[:1], True, record) == ["other"]  # of the latest model: anew


def fit(base: BaseModel, folder: Path, algorithm: Algorithm, past: Past, tools: Tools | None) -> Adapter:
    return fitting.fit(base, folder, algorithm, past, tools=tools, steps=2, lora=Lora(r=4))


def material(
    ssr: Ssr, past: Past, tools: Tools | None, folder: Path, examples: Sequence[Example] = ()
) -> Sequence[Example]:
    """What is trained on; `folder` is the checkpoint's."""
    nowhere = BaseModel("none", folder, folder, folder, "")
    given = fitting.training(nowhere, folder, past, examples=examples, tools=tools)
    return ssr.material(replace(given, checkpoint=folder))


def test_a_stream_remembers_repeats_and_resumes(tiny: BaseModel, checker: Checker, tmp_path: Path) -> None:
    ssr = Ssr(asked=4, kept=2)
    start = fit(tiny, tmp_path / "0", ssr, past_of(), None)
    recorded = Recorded(BROKEN, FIXES, checker)
    one = fit(tiny, tmp_path / "1", ssr, past_of(PAIRS, adapter=start.folder), recorded.tools)
    plain = fit(tiny, tmp_path / "n", Sft(), past_of(PAIRS, adapter=start.folder), None)
    assert one.digest != plain.digest
    same = Recorded(BROKEN, FIXES, checker)
    (tmp_path / "1" / "checkpoint" / "state.pt").unlink()  # as if killed before the first step
    again = fit(tiny, tmp_path / "1", ssr, past_of(PAIRS, adapter=start.folder), same.tools)
    assert again.digest == one.digest and not same.prompts
    names = ("plum", "quince", "rowan", "sloe")
    later = Recorded([moved(n)[0] for n in names], [moved(n)[1] for n in names], checker)
    past = past_of(PAIRS, [pair("fig"), pair("kiwi"), pair("mango")], adapter=one.folder)
    found = made(material(ssr, past, later.tools, tmp_path / "x"))
    assert [t.id.split("/")[1] for t in found] == ["0", "0", "1", "1"]
    assert [latest for latest, _ in later.prompts] == [False] * 4 + [True] * 4  # for the newest step alone
    assert {t.broken for t in found[:2]} <= set(BROKEN)  # made once, two steps ago
    two = fit(tiny, tmp_path / "2", ssr, past, later.tools)
    lines = (two.folder / "memory" / "rehearsal.jsonl").read_text().splitlines()
    assert len(lines) == 2 and all(t.id in lines[i // 2] for i, t in enumerate(found))


def test_without_anything_to_rehearse_it_is_naive_and_says_so(
    tiny: BaseModel, checker: Checker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = fit(tiny, tmp_path / "n", Sft(), Past(), None)
    assert fit(tiny, tmp_path / "a", Ssr(), past_of(), None).digest == plain.digest
    assert "ssr: no earlier pairs to rehearse" in capsys.readouterr().err
    useless = Recorded(["I cannot do that."], ["no"], checker)
    assert fit(tiny, tmp_path / "b", Ssr(), past_of(PAIRS), useless.tools).digest == plain.digest
    assert "no usable pair was written" in capsys.readouterr().err


def test_a_past_without_tools_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="neither a model nor a compiler to ask"):
        material(Ssr(), past_of(PAIRS), None, tmp_path)


def test_more_kept_than_asked_is_a_problem() -> None:
    assert Ssr(asked=4, kept=5).problems() == ["kept must be at most algo.asked=4, not 5"]
    assert Ssr().problems() == []

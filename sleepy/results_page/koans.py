"""Every koan by every run: what passed, and behind it program, answers and the compiler's word, each text once."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sleepy.artifacts import Check, CheckJob, Task
from sleepy.exam.strata import stratum_of
from sleepy.results import Result, Scores
from sleepy.results_page.rows import Row
from sleepy.rust.messages import full_message

Judge = Callable[[CheckJob], Check | None]
"""What the compiler said of a program; None where that is not known."""
Exams = Mapping[str, Mapping[str, Task]]
"""Digest of a task set -> its tasks by id."""


@dataclass(frozen=True)
class Column:
    """Scores on every koan. row: the number of its row, 0 for an untouched model. against: the column that it is paired
    with."""

    label: str
    row: int
    seed: str
    scores: Scores
    against: int | None


def columns(rows: Sequence[Row]) -> list[Column]:
    """The untouched models that runs are paired with, each once; then the runs, in the rows' order."""
    runs = [(number, row, i) for number, row in enumerate(rows, 1) for i in range(len(row.jobs))]
    own = {id(row.after[i]) for _, row, i in runs}
    untouched = {_content(b): b for row in rows for b in row.before if b and id(b) not in own}
    places = {content: place for place, content in enumerate(untouched)}
    places |= {id(row.after[i]): place for place, (_, row, i) in enumerate(runs, len(untouched))}
    made = [Column(f"untouched {b.model}", 0, "", b, None) for b in untouched.values()]
    for number, row, i in runs:
        before, seed = row.before[i], row.seeds[i] if len(row.jobs) > 1 else ""
        against = None if before is None else places[id(before) if id(before) in own else _content(before)]
        made.append(Column(row.label, number, seed, row.after[i], against))
    return made


def _content(scores: Scores) -> Any:
    return scores.tasks_digest, tuple((r.passed, r.attempts[r.chosen].program) for r in scores.results)


def outcomes(found: Sequence[Column], exams: Exams) -> dict[str, Any]:
    """For JSON: the columns, each with a letter for each koan (p passed, f failed, - not asked), and the koans."""
    known = {name: task for tasks in exams.values() for name, task in tasks.items()}
    koans = {r.task: r for column in found for r in column.scores.results}
    passed = [{r.task: "pf"[not r.passed] for r in column.scores.results} for column in found]
    return {
        "columns": [
            {
                "label": c.label,
                "row": c.row,
                "seed": c.seed,
                "against": c.against,
                "outcomes": "".join(own.get(koan, "-") for koan in koans),
            }
            for c, own in zip(found, passed, strict=True)
        ],
        "koans": [
            {
                "id": name,
                "family": r.family,
                "pattern": r.pattern,
                "level": r.level,
                "stratum": stratum_of(name),
                "about": known[name].description if name in known else "",
            }
            for name, r in koans.items()
        ],
    }


class _Texts:
    """Texts by number, each once; 0 is the empty one."""

    def __init__(self) -> None:
        self.known = {"": 0}

    def number(self, text: str) -> int:
        return self.known.setdefault(text, len(self.known))


def details(found: Sequence[Column], exams: Exams, judge: Judge, done: Callable[[], object] = lambda: None) -> str:
    """What a click shows, as JSON, compressed (gzip) and in base64: `texts`; `koans`, each with the numbers of its
    program, message and fix; `answers`, by koan the distinct ones as [program, where it ended, message, attempts];
    `given`, by koan the number of each column's answer (-1: not asked). `done` is called once a koan."""
    texts, koans, answers, given = _Texts(), list[Any](), list[Any](), list[Any]()
    by_task = [{r.task: r for r in column.scores.results} for column in found]
    for name in dict.fromkeys(r.task for column in found for r in column.scores.results):
        digest = next(c.scores.tasks_digest for c, own in zip(found, by_task, strict=True) if name in own)
        task = exams.get(digest, {}).get(name)
        own_answers = dict[Any, int]()
        line = []
        for column, own in zip(found, by_task, strict=True):
            result = own.get(name)
            if result is None:
                line.append(-1)
                continue
            same = task if column.scores.tasks_digest == digest else None
            answer = _answer(result, same, judge, texts)
            line.append(own_answers.setdefault(answer, len(own_answers)))
        koans.append(_koan(task, judge, texts))
        answers.append([list(answer) for answer in own_answers])
        given.append(line)
        done()
    record = {"texts": list(texts.known), "koans": koans, "answers": answers, "given": given}
    packed = gzip.compress(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(), mtime=0)
    return base64.b64encode(packed).decode()


def _koan(task: Task | None, judge: Judge, texts: _Texts) -> list[int]:
    if task is None:
        return [0, 0, 0]
    said = judge(task.broken_job)
    return [texts.number(task.broken), texts.number(_message(said)), texts.number(task.fix)]


def _answer(result: Result, task: Task | None, judge: Judge, texts: _Texts) -> tuple[Any, ...]:
    chosen = result.attempts[result.chosen]
    said = judge(task.repaired_job(chosen.program)) if task and not result.passed else None
    ended = " ".join([chosen.stage, *dict.fromkeys(chosen.codes), *(["(cut for length)"] if chosen.cut else [])])
    message = _message(said) or (chosen.signature if not result.passed else "")
    return texts.number(chosen.program), ended, texts.number(message), len(result.attempts)


def _message(said: Check | None) -> str:
    if said is None:
        return ""
    return full_message(said.diagnostics) or ("" if said.passed else said.detail)

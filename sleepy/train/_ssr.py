"""Rehearsal pairs that models write, the compiler confirms and k-means chooses from."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from sleepy.artifacts import Prompt, Task, digest_of
from sleepy.exam.contamination import contaminated
from sleepy.files import read_jsonl, write_jsonl
from sleepy.rust.length import at_most_tokens
from sleepy.rust.tokens import functions, tokens
from sleepy.train.training import Tools

_SYSTEM = "You write exercises for people who learn to repair Rust programs."
_FENCE = "```"
_LONGEST = 1200  # tokens of a demonstration, at most: two of them leave room for the answer
_AT_ONCE = 16  # prompts between two records of the answers


def requests(pairs: Sequence[Task], count: int, seed: int) -> list[tuple[Task, Prompt]]:
    """Up to `count` prompts for a broken program, each with two demonstrations, and what is known of the answer:
    pattern and code are those of the second, the description is that of a third pair, whose programs are not shown.
    Decoding is greedy, so variety comes from which three they are. The two are of one pattern, unless no pattern has
    two."""
    short = [t for t in dict.fromkeys(pairs) if at_most_tokens(t.broken + t.fix) <= _LONGEST]
    ordered = [(a, b) for a in short for b in short if a is not b] if len(short) > 2 else []
    ordered = [(a, b) for a, b in ordered if a.pattern == b.pattern] or ordered
    rng = random.Random(f"{seed} ssr")
    found = []
    for a, b in rng.sample(ordered, min(count, len(ordered))):
        about = rng.choice([t for t in short if t is not a and t is not b]).description
        found.append((replace(b, description=about), _prompt(a, b, about)))
    return found


def _prompt(a: Task, b: Task, about: str) -> Prompt:
    def ask(code: str, description: str) -> str:
        return f"{description} Write a short Rust program for it that rustc rejects with {code}, and its repair."

    turns = [("system", _SYSTEM)]
    for shown in (a, b):
        programs = (("Broken", shown.broken), ("Repaired", shown.fix))
        answer = "\n\n".join(f"{name}:\n{_FENCE}rust\n{text.rstrip()}\n{_FENCE}" for name, text in programs)
        turns += [("user", ask(shown.code, shown.description)), ("assistant", answer)]
    turns.append(("user", ask(b.code, about)))
    end, longer = f"\n{_FENCE}", max(a.broken, b.broken, key=len)
    messages = tuple({"role": role, "content": content} for role, content in turns)
    return Prompt(messages, f"Broken:\n{_FENCE}rust\n", (end,), longer.rstrip("\n") + end)


def asked(tools: Tools, prompts: Sequence[Prompt], latest: bool, record: Path) -> list[str]:
    """Answers by the base model, or the latest one. What `record` holds already is not asked again."""
    rows = read_jsonl(record) if record.is_file() else []
    known = {row["prompt"]: row["text"] for _, row in rows}
    keys = {digest_of([latest, asdict(p)]): p for p in prompts}
    missing = [key for key in keys if key not in known]
    for at in range(0, len(missing), _AT_ONCE):
        part = missing[at : at + _AT_ONCE]
        for key, answer in zip(part, tools.ask([keys[key] for key in part], latest), strict=True):
            known[key] = answer.text
        write_jsonl(record, [{"prompt": key, "text": text} for key, text in known.items()])
    return [known[digest_of([latest, asdict(p)])] for p in prompts]


def written(text: str, like: Task, name: str) -> Task:
    """The broken program in an answer, as a task called `name` that is otherwise `like` another, without its repair."""
    broken = text.partition(_FENCE)[0].rstrip() + "\n"
    return replace(like, id=name, broken=broken, fix="", tests=(), skeleton="", message="")


def rejected(tasks: Sequence[Task], tools: Tools) -> list[Task]:
    """Those whose broken program the compiler rejects with an error that has a code (prose and half programs have
    none), under that code."""
    found = []
    for task, check in zip(tasks, tools.check([t.broken_job for t in tasks]), strict=True):
        codes = [] if check.compiles else [code for code in check.codes if code]
        if codes:
            found.append(task if task.code in codes else replace(task, code=codes[0]))
    return found


def repaired(tasks: Sequence[Task], answers: Sequence[str], tools: Tools) -> list[Task]:
    """Those whose answer repairs them: it compiles, and has all functions still."""
    fixed = [replace(task, fix=tools.program(answer)) for task, answer in zip(tasks, answers, strict=True)]
    checks = tools.check([task.repaired_job(task.fix) for task in fixed])
    return [t for t, c in zip(fixed, checks, strict=True) if c.passed and _names(t.broken) <= _names(t.fix)]


def _names(program: str) -> set[str]:
    return {f.name for f in functions(program)}


def new(tasks: Sequence[Task], known: Sequence[Task]) -> list[Task]:
    """The tasks whose programs are no near-duplicates of a koan's, and whose broken program is not, token for token,
    one of `known` or of a task before."""
    seen = {_words(t.broken) for t in known}
    found = []
    for task, koan in zip(tasks, contaminated(tasks), strict=True):
        if not koan and _words(task.broken) not in seen:
            found.append(task)
        seen.add(_words(task.broken))
    return found


def _words(program: str) -> tuple[str, ...]:
    return tuple(t.text for t in tokens(program))


def diverse(tasks: Sequence[Task], count: int) -> list[Task]:
    """`count` of the tasks, in order: of each cluster that k-means finds the one nearest to its centre. A task is the
    TF-IDF of those tokens of its broken program that another has too, tf (ln((1 + N) / (1 + df)) + 1), of length 1.
    The first centre is the task nearest to the mean, each other one the task farthest from those before."""
    if len(tasks) <= count:
        return list(tasks)
    import numpy as np
    from scipy.cluster.vq import kmeans2
    from scipy.spatial.distance import cdist

    bags = [Counter(_words(t.broken)) for t in tasks]
    df = Counter(word for bag in bags for word in bag)
    words = sorted(word for word, seen in df.items() if seen > 1)
    idf = [np.log((1 + len(tasks)) / (1 + df[word])) + 1 for word in words]
    points = np.array([[bag[word] for word in words] for bag in bags]) * np.array(idf)
    points /= np.linalg.norm(points, axis=1, keepdims=True).clip(1e-9)
    first = [int(cdist(points, points.mean(0, keepdims=True)).argmin())]
    while len(first) < count:
        first.append(int(cdist(points, points[first]).min(1).argmax()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster, whose centre then chooses as the others do
        centres, _ = kmeans2(points, points[first], minit="matrix")
    chosen: list[int] = []
    for order in cdist(centres, points).argsort(1, kind="stable"):
        chosen.append(next(int(i) for i in order if i not in chosen))
    return [tasks[i] for i in sorted(chosen)]

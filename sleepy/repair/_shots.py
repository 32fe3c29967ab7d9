"""Worked examples for a prompt: the training pairs whose error is most like the task's."""

from __future__ import annotations

import functools
import re

from sleepy.artifacts import Check, Task, TaskSet
from sleepy.pairs.builtin import load_pairs
from sleepy.rust.drawn import undrawn
from sleepy.rust.messages import full_message

_WORD = re.compile(r"[A-Za-z_]+|[&*?'<>]")


@functools.cache
def pairs() -> TaskSet:
    """The training pairs; koans are never examples."""
    return load_pairs()


@functools.cache
def _words_of_pairs() -> tuple[frozenset[str], ...]:
    return tuple(_words(pair.message) for pair in pairs())


def _words(rendered: str) -> frozenset[str]:
    """What rustc says, without the program's lines that it draws."""
    return frozenset(_WORD.findall(undrawn(rendered)))


def nearest(task: Task, broken: Check, count: int) -> list[Task]:
    """The `count` pairs most like a task, the most alike first: by error code, then by Jaccard similarity of the words
    of rustc's messages. Never the task itself, nor one made from the same program."""
    words = _words(full_message(broken.diagnostics))

    def unlike(place: int) -> tuple[bool, float, int]:
        pair, theirs = pairs().tasks[place], _words_of_pairs()[place]
        alike = len(words & theirs) / max(1, len(words | theirs))
        return pair.code not in broken.codes, -alike, place

    own = {task.id, task.skeleton, task.broken}
    others = [i for i, p in enumerate(pairs()) if not own & {p.id, p.skeleton or p.id, p.broken}]
    return [pairs().tasks[i] for i in sorted(others, key=unlike)[:count]]

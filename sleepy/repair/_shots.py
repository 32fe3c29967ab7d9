"""Worked examples for a prompt: the training pairs whose error is most like the task's."""

from __future__ import annotations

import functools

from sleepy.artifacts import Check, Task, TaskSet
from sleepy.pairs.builtin import load_pairs
from sleepy.rust.drawn import undrawn_words
from sleepy.rust.messages import full_message
from sleepy.rust.similarity import jaccard


@functools.cache
def pairs() -> TaskSet:
    """The training pairs; koans are never examples."""
    return load_pairs()


@functools.cache
def _words_of_pairs() -> tuple[frozenset[str], ...]:
    return tuple(undrawn_words(pair.message) for pair in pairs())


def nearest(task: Task, broken: Check, count: int) -> list[Task]:
    """The `count` pairs most like a task, the most alike first: by error code, then by Jaccard similarity of the words
    of rustc's messages. Never the task itself, nor one made from the same program."""
    words = undrawn_words(full_message(broken.diagnostics))

    def distance(place: int) -> tuple[bool, float, int]:
        other_code = pairs().tasks[place].code not in broken.codes
        return other_code, -jaccard(words, _words_of_pairs()[place]), place

    own = {task.id, task.skeleton, task.broken}
    others = [i for i, p in enumerate(pairs()) if not own & {p.id, p.skeleton or p.id, p.broken}]
    return [pairs().tasks[i] for i in sorted(others, key=distance)[:count]]

"""The order in which programs that compile are believed. Only the compiler is asked: the hidden tests stay hidden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

from sleepy.repair._pick import normal
from sleepy.repair.strategy import Try
from sleepy.rust.suspicion import suspicious
from sleepy.rust.tokens import tokens


def edit_size(before: str, after: str) -> int:
    """How many tokens the programs do not share: those taken out and those put in."""
    a, b = [t.text for t in tokens(before)], [t.text for t in tokens(after)]
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return len(a) + len(b) - 2 * sum(block.size for block in blocks)


def ranked(rule: str, tries: Sequence[Try], chances: Sequence[float], broken: str, careful: bool) -> list[int]:
    """The places of the tries that compile and changed something, the best first.

    `rule`: "order" is as they were asked for, "chance" by `chances`, the log-probability of each answer; "edit" by the
    size of the edit, and "vote" by how many answers agree; the likeliest comes first among equals. `careful` puts those
    last that are suspicious as repairs of `broken`. Before all counts whether a user's own tests pass.
    """
    own = normal(broken)
    good = [i for i, t in enumerate(tries) if t.check.compiles and normal(t.program) != own]
    votes = Counter(normal(tries[i].program) for i in good)
    keys = {
        "order": lambda i: i,
        "chance": lambda i: -chances[i],
        "edit": lambda i: edit_size(broken, tries[i].program),
        "vote": lambda i: -votes[normal(tries[i].program)],
    }

    def key(i: int) -> tuple[bool, bool, float, float]:
        doubtful = careful and suspicious(broken, tries[i].program)
        return not tries[i].check.passed, doubtful, keys[rule](i), -chances[i]

    return sorted(good, key=key)

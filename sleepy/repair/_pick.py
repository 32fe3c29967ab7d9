"""Which of several answers counts. Only the compiler is asked: the hidden tests stay hidden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sleepy.repair.strategy import Try
from sleepy.rust.tokens import normal


def pick(rule: str, tries: Sequence[Try]) -> int:
    """The place of the first try that compiles ("first"), or of the first with the program that most of those give that
    compile ("vote"); 0 where none compiles. Those that pass a user's own tests count alone, if there are any."""
    good = [i for i, t in enumerate(tries) if t.check.passed] or [i for i, t in enumerate(tries) if t.check.compiles]
    if rule == "first" or not good:
        return good[0] if good else 0
    votes = Counter(normal(tries[i].program) for i in good)
    return max(good, key=lambda i: votes[normal(tries[i].program)])

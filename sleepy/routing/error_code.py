"""Routing by the compiler's error code, and by the rest of its message if patterns share a code."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Check, Task, TaskSet
from sleepy.routing.route import Route, Routing, require_pairs
from sleepy.rust.messages import full_message, spoken_lines


@dataclass(frozen=True, kw_only=True)
class ErrorCode(Routing):
    """Looks up the koan's error codes in the training pairs; the first known code decides.

    If several patterns share the code, the pairs that have the most message lines in common with the koan vote, and a
    pattern needs more than half of their votes. Otherwise the base model answers.
    """

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open."""
        require_pairs(pairs, names, self.name)
        seen: dict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
        for pair in pairs:
            seen[pair.code].append((pair.pattern, spoken_lines(pair.message)))

        def route(task: Task, broken: Check) -> str:
            known = next((seen[code] for code in broken.codes if code in seen), [])
            pattern = _decide(known, spoken_lines(full_message(broken.diagnostics)))
            return pattern if pattern in names else ""

        return route


def _decide(known: Sequence[tuple[str, frozenset[str]]], lines: frozenset[str]) -> str:
    """The pattern of the (pattern, lines) that fit best; "" if there are none, or if they do not agree."""
    if len(patterns := {pattern for pattern, _ in known}) < 2:
        return next(iter(patterns), "")
    shared = [(len(lines & own), pattern) for pattern, own in known]
    most = max(n for n, _ in shared)
    votes = Counter(pattern for n, pattern in shared if n == most > 0)
    pattern, n = next(iter(votes.most_common(1)), ("", 0))
    return pattern if 2 * n > votes.total() else ""

"""How alike two programs are: Jaccard similarity of token 5-grams.

The sets here are small (a few thousand programs), so the exact figure is computed through an inverted index; MinHash
would only estimate it.
"""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from sleepy.rust.tokens import anonymous, tokens, with_library_names

N = 5
T = TypeVar("T")


def _grams(words: Sequence[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(words[i : i + N]) for i in range(max(1, len(words) - N + 1)))


@dataclass(frozen=True)
class Fingerprint:
    """A program's 5-grams, as written and with names and literals anonymised."""

    exact: frozenset[tuple[str, ...]]
    shape: frozenset[tuple[str, ...]]


def fingerprint(program: str) -> Fingerprint:
    """The fingerprint of a program; comments and white space do not count."""
    return Fingerprint(_grams([t.text for t in tokens(program)]), _grams(anonymous(program)))


@dataclass(frozen=True)
class EditPrint:
    """A repair: what is changed, and the 5-grams of the program that it is changed in. Names that the program declares
    and literals are anonymised, those of libraries are not: `Rc::clone` and `Vec::new` are different edits."""

    edit: frozenset[tuple[str, ...]]
    program: frozenset[tuple[str, ...]]

    def like(self, other: EditPrint) -> float:
        """The similarity of the edits times that of the programs; 0 where only own names or literals change."""
        edits = jaccard(self.edit, other.edit) if self.edit and other.edit else 0.0
        return edits and edits * jaccard(self.program, other.program)


def edit_print(broken: str, fix: str) -> EditPrint:
    """The print of a repair. The edit: 2-grams of the tokens deleted and inserted at each place, with one token of
    context on either side."""
    before, after, found = with_library_names(broken), with_library_names(fix), set()
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind != "equal":
            cut, new = before[a:b], after[c:d]
            words = ["<", *before[max(0, a - 1) : a], "cut", *cut, "new", *new, "end", *before[b : b + 1], ">"]
            found |= set(pairwise(words))
    return EditPrint(frozenset(found), _grams(before))


def jaccard(a: frozenset[T], b: frozenset[T]) -> float:
    """|a & b| / |a | b|, 1.0 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 1.0


def nearest(
    of: Sequence[frozenset[tuple[str, ...]]], among: Sequence[frozenset[tuple[str, ...]]], same: bool = False
) -> list[tuple[int, float]]:
    """For each set of `of` the index of its most similar set in `among`, and the similarity (-1, 0.0 where nothing is
    shared). With `same` the two lists are one list, and a set is not its own neighbour."""
    index: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for j, grams in enumerate(among):
        for gram in grams:
            index[gram].append(j)
    found = []
    for i, grams in enumerate(of):
        shared: Counter[int] = Counter()
        for gram in grams:
            shared.update(index.get(gram, ()))
        if same:
            shared.pop(i, None)
        best = max(((n / (len(grams) + len(among[j]) - n), -j) for j, n in shared.items()), default=(0.0, 1))
        found.append((-best[1], best[0]))
    return found

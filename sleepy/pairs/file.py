"""A user's own training pairs, or chats for those who have no compiler in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from sleepy.artifacts import Task, TaskSet, digest_of
from sleepy.errors import DataError, several
from sleepy.exam.contamination import LIMITS, Near, most_alike_edits, nearest_koans
from sleepy.exam.read import file_problems, read_set
from sleepy.options import choice, ranged
from sleepy.pairs.chats import is_chats, programs_in, read_chats
from sleepy.pairs.material import Chat, Mix, Pairs
from sleepy.pairs.mix import Data, draw
from sleepy.results import Scores
from sleepy.rust.tokens import anonymous

_WORDS = {"exact": "as written", "shape": "in shape", "edit": "in what is changed"}
Pair = TypeVar("Pair", Task, Chat)


@dataclass(frozen=True, kw_only=True)
class File(Data):
    """Every pair of a JSONL file, in the koan format or as chats, but for a part that is held out: the loss on it is
    measured with and without the adapter. Pairs of one skeleton, and chats of one prompt, are never parted, and a pair
    stays on its side whatever else is in the file.

    path: a JSONL file. A relative path starts where the command was started.
    examples: examples in the mix. 0 takes each pair once (at least 0).
    held_out: share of the skeletons, or prompts, that are not trained on (at least 0, below 1).
    contaminated: what happens when a pair is a near-duplicate of a koan that the result is measured on: "refuse" ends
        the run before it begins, "warn" trains all the same and says so in the report.
    """

    own: ClassVar[bool] = True

    path: str = ""
    examples: int = ranged(0, at_least=0)
    held_out: float = ranged(0.1, at_least=0, below=1)
    contaminated: str = choice("refuse", "warn")

    @property
    def probe(self) -> int:
        """The baseline is not asked."""
        return 0

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        return file_problems(self.path, "data.path=my_pairs.jsonl")

    def load(self) -> Pairs:
        """See Data.load."""
        path = Path(self.path).expanduser()
        if is_chats(path):
            read, places = read_chats(path)
            chats, held = parted(read, self.held_out)
            found = Pairs(path.stem, "", (), places, tuple(chats), tuple(held))
        else:
            whole = read_set(path, needs_tests=False)
            tasks, kept = parted(whole.tasks, self.held_out)
            found = Pairs(path.stem, "", tuple(tasks), whole.places, (), tuple(kept))
        if not found.tasks and not found.chats:
            raise DataError(f"{path}: all of its pairs ({len(found.unseen)}) are held out. Lower data.held_out")
        return found

    def judged_by(self, pairs: Pairs, koans: Sequence[Task]) -> str:
        """See Data.judged_by."""
        lines = list(_resembling(pairs, koans))
        if not lines:
            return ""
        count = f"{len(lines)} of {len(pairs) + len(pairs.chats)} training pairs of {self.path}"
        if self.contaminated == "warn":
            return f"{count} resemble koans that the result is measured on: a gain on those says little"
        raise DataError(
            f"data.path: {count} resemble koans that the result is measured on:\n{several(lines)}\n"
            "Remove these lines, or train on them all the same with data.contaminated=warn"
        )

    def compose(self, pairs: TaskSet, probed: Scores | None, seed: int | str, earlier: Sequence[Task] = ()) -> Mix:
        """See Data.compose."""
        pool: Sequence[Task | Chat] = pairs.chats if isinstance(pairs, Pairs) and pairs.chats else pairs.tasks
        return draw({"file": pool}, {"file": 1.0}, self.examples or len(pool), seed)


def parted(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """The pairs to train on, and about a `share` of them that is held out. A hash of what may not be parted decides,
    and nothing else: neither the order of the pairs nor the others."""
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for pair in pairs:
        key = digest_of(pair.messages) if isinstance(pair, Chat) else skeleton(pair)
        place = int(hashlib.sha256(key.encode()).hexdigest()[:13], 16) / 16**13  # 52 bits: exact as a float
        sides[place < share].append(pair)
    return sides


def skeleton(pair: Task) -> str:
    """A pair's skeleton; of one that names none the shape of its program, whatever its names and literals."""
    return pair.skeleton or " ".join(anonymous(pair.broken))


def _resembling(pairs: Pairs, koans: Sequence[Task]) -> Iterator[str]:
    """A line for each pair that is trained on and is a near-duplicate of a koan: by the measure of the audit, or, in a
    chat, with a program that is one of a koan's broken program or fix."""
    known = [(k.id, k.broken) for k in koans]
    if pairs.chats:
        known += [(k.id, k.fix) for k in koans]
    programs = nearest_koans([*([t.broken] for t in pairs), *map(programs_in, pairs.chats)], known)
    edits = most_alike_edits(pairs.tasks, koans) or [Near()] * len(programs)
    names = [*(t.id for t in pairs), *(chat.id for chat in pairs.chats)]
    for name, program, edit in zip(names, programs, edits, strict=True):
        near = program if program.excess > 1 else edit
        if near.excess > 1:
            yield (
                f"  {pairs.places[name]}: similarity {near.similarity:.2f} {_WORDS[near.kind]} to the koan "
                f"{near.task}, expected at most {LIMITS[near.kind]}"
            )

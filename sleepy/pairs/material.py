"""What may be trained on, and what is."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sleepy.artifacts import Task, TaskSet, digest_of


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A training example that no compiler judges: the messages of a chat (dicts of role and content) up to the
    assistant's last one, and that one, which is learned."""

    id: str
    messages: tuple[dict[str, str], ...]
    answer: str


@dataclass(frozen=True)
class Pairs(TaskSet):
    """What may be trained on: `tasks`, or `chats` where no compiler is in it (then there are no tasks). `unseen` are
    held out: the loss on them is measured, nothing is trained on them."""

    chats: tuple[Chat, ...] = ()
    unseen: tuple[Task | Chat, ...] = ()


@dataclass(frozen=True)
class Mix:
    """Training examples in the order they are drawn, and how many each named part gave."""

    examples: tuple[Task | Chat, ...]
    parts: dict[str, int]

    @property
    def digest(self) -> str:
        return digest_of([asdict(task) for task in self.examples])

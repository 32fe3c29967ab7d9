"""Chats from JSONL: `messages`, or `prompt` and `completion`. A line that cannot be used is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sleepy.errors import DataError, several
from sleepy.files import read_jsonl
from sleepy.pairs.material import Chat

_ROLES = ("system", "user", "assistant")
_FORMS = (("messages",), ("prompt", "completion"))
_BLOCK = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


def is_chats(path: Path) -> bool:
    """Whether a JSONL file holds chats, and not pairs in the koan format: its first line decides. Raises DataError for
    a line that is neither, and as read_jsonl."""
    number, first = next(iter(read_jsonl(path)), (0, {"broken": ""}))
    if any(name in first for form in _FORMS for name in form):
        return True
    if not {"broken", "fix", "code", "pattern"} & set(first):
        raise DataError(
            f"{path}:{number}: the fields {', '.join(first) or 'of no name'} are neither a pair in the koan format "
            "(docs/reference/koan-format.md) nor a chat: messages, or prompt and completion"
        )
    return False


def read_chats(path: Path) -> tuple[tuple[Chat, ...], dict[str, str]]:
    """Every chat of a JSONL file, in order, and its place by id (the line's number where the line has no id). Raises
    DataError that names the file and each line that is wrong."""
    found: list[Chat] = []
    problems: list[str] = []
    first: dict[str, int] = {}
    for number, record in read_jsonl(path):
        try:
            name, messages = _name(record) or f"line {number}", _messages(record)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        if name in first:
            problems.append(f"{path}:{number}: id {name!r} stands on line {first[name]} already")
        first.setdefault(name, number)
        found.append(Chat(id=name, messages=tuple(messages[:-1]), answer=messages[-1]["content"]))
    if problems:
        raise DataError(several(problems))
    return tuple(found), {name: f"{path}:{number}" for name, number in first.items()}


def programs_in(chat: Chat) -> list[str]:
    """The programs in a chat: its code blocks, and each message without one as it is."""
    texts = [*(m["content"] for m in chat.messages), chat.answer]
    return [program for text in texts for program in _BLOCK.findall(text) or [text]]


def _name(record: dict[str, Any]) -> str:
    """The record's id, "" for one without. Raises ValueError for fields that do not belong in a chat."""
    fields = [name for name in record if name != "id"]
    if not any(sorted(fields) == sorted(form) for form in _FORMS):
        raise ValueError(
            f"the fields must be messages, or prompt and completion, and perhaps an id, not "
            f"{', '.join(record) or 'of no name'}. Chats and pairs in the koan format go into files of their own"
        )
    name = record.get("id", "")
    if not isinstance(name, str):
        raise ValueError(f"id must be a text, not {name!r}")
    return name


def _messages(record: dict[str, Any]) -> list[dict[str, str]]:
    """The record as messages, the assistant's answer last. Raises ValueError for what is none."""
    if "messages" not in record:
        for name in ("prompt", "completion"):
            if not _is_text(record[name]):
                raise ValueError(f"{name} must be a text that is not empty, not {_short(record[name])}")
        return [_says("user", record["prompt"]), _says("assistant", record["completion"])]
    messages = record["messages"]
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"messages must be a list of messages, not {_short(messages)}")
    for place, message in enumerate(messages, 1):
        if not isinstance(message, dict) or sorted(message) != ["content", "role"]:
            raise ValueError(f"message {place} must have the fields role and content: {_short(message)}")
        if message["role"] not in _ROLES:
            raise ValueError(f"message {place}: role must be one of {', '.join(_ROLES)}, not {_short(message['role'])}")
        if not _is_text(message["content"]):
            raise ValueError(f"message {place}: content must be a text, not {_short(message['content'])}")
    roles = [message["role"] for message in messages]
    talk = roles[1:] if roles[0] == "system" else roles
    if len(talk) % 2 or talk != ["user", "assistant"] * (len(talk) // 2) or not talk:
        raise ValueError(
            f"messages must be user and assistant in turn, the assistant last, and perhaps a system message before "
            f"them, not {', '.join(roles)}"
        )
    return messages


def _says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

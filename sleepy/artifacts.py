"""What passes between the stages. Frozen, and plain enough to be written as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


def digest_of(value: Any) -> str:
    """SHA-256, in hex, of a JSON-able value with sorted keys: equal values have equal digests."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class CheckJob(NamedTuple):
    """What a sandbox judges: a program, its test blocks, the edition, and a lint that counts as an error, rustc's or
    Clippy's."""

    program: str
    tests: tuple[str, ...]
    edition: str
    lint: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A koan or a training pair: a broken Rust program, and how a repair of it is judged.

    `tests` are blocks of Rust statements, run in order inside a module that sees the program's private items; each
    must finish. `level` is 1 (a one-token fix), 2 (a decision), 3 (two places, or an obvious edit that breaks
    behaviour) or a rung of the ladder: 4 (level 1's edit in a long program), 5 (level 2's decision in a short one),
    6 (a trap in a short one), 7 (two places, no trap). `skeleton` names the generator's program shape of a training
    pair: a split never parts one. `message` is rustc's own for the broken program, as a prompt shows it; koans leave it
    empty and it is taken from the compiler.
    """

    id: str
    family: str
    pattern: str
    level: int
    code: str
    edition: str
    description: str
    broken: str
    fix: str
    tests: tuple[str, ...]
    skeleton: str = ""
    message: str = ""

    @property
    def lint(self) -> str:
        """The lint that the broken program is about, rustc's or Clippy's; "" where its code is an error's. Lints are
        written in lower case."""
        return self.code if self.code.islower() else ""

    @property
    def broken_job(self) -> CheckJob:
        """What a sandbox compiles to see the broken program fail."""
        return CheckJob(self.broken, (), self.edition, self.lint)

    def repaired_job(self, program: str) -> CheckJob:
        """What a sandbox compiles and runs to judge `program` as a repair."""
        return CheckJob(program, self.tests, self.edition, self.lint)


@dataclass(frozen=True)
class TaskSet:
    """Tasks that belong together, under a name and a version; the digest covers every byte of every task. `places` says
    of a user's own tasks, by id, in which file and line they stand."""

    name: str
    version: str
    tasks: tuple[Task, ...]
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def digest(self) -> str:
        return digest_of([asdict(task) for task in self.tasks])

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)


class Edit(NamedTuple):
    """A part of a program, as places of its UTF-8 bytes from `start` up to `end`, and what stands there instead."""

    start: int
    end: int
    text: str

    def touches(self, other: Edit) -> bool:
        """Whether the two edits are not independent: they overlap, or begin at one place."""
        return self.start == other.start or (self.start < other.end and other.start < self.end)


Fix = tuple[Edit, ...]
"""A suggestion of rustc's: edits that belong together, by place; none overlap."""


@dataclass(frozen=True)
class Diagnostic:
    """One error of rustc's JSON output. `labels` are (line, text) with lines counted from 1. `fixes` are what rustc or
    Clippy suggests to write instead, in their order, whatever its confidence."""

    code: str
    message: str
    labels: tuple[tuple[int, str], ...]
    helps: tuple[str, ...]
    rendered: str
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True)
class Check:
    """What the sandbox found about one program: `stage` is where it ended, "compile", "test" or "passed".

    `timed_out`: the wall clock ended it while it was still working. `killed`: something outside ended it (SIGKILL), as
    a machine does that is out of memory. `blocks`: how many test blocks passed, up to the first that did not; None
    where there are none, and in a verdict that was cached before they were counted.
    """

    stage: str
    detail: str
    diagnostics: tuple[Diagnostic, ...] = ()
    timed_out: bool = False
    killed: bool = False
    blocks: int | None = None

    @property
    def by_load(self) -> bool:
        """Whether the load of the machine may have failed it, and not the program."""
        return self.timed_out or self.killed

    @property
    def passed(self) -> bool:
        return self.stage == "passed"

    @property
    def compiles(self) -> bool:
        return self.stage != "compile"

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(d.code for d in self.diagnostics)


@dataclass(frozen=True)
class BaseModel:
    """A model ready for use. `gguf` is the file an engine serves, `gguf_f16` the same weights as f16 GGUF,
    `weights` a Hugging Face folder (f16 safetensors, tokenizer, chat template). `digest` identifies the source."""

    name: str
    gguf: Path
    gguf_f16: Path
    weights: Path
    digest: str


@dataclass(frozen=True)
class Adapter:
    """A trained LoRA adapter: a PEFT folder, the digest of its weights, and its loss at every step. `resumed`: how many
    steps a checkpoint brought, which `seconds` does not count."""

    folder: Path
    digest: str
    base: str
    losses: tuple[float, ...]
    seconds: float
    trainable: int
    tokens: int
    resumed: int = 0


@dataclass(frozen=True)
class GgufFile:
    """An exported model file (or adapter file) with its SHA-256 and size in bytes."""

    path: Path
    quantization: str
    digest: str
    size: int

    @classmethod
    def of(cls, path: Path, quantization: str) -> GgufFile:
        """The record of a finished file."""
        return cls(path, quantization, digest_of_file(path), path.stat().st_size)


@dataclass(frozen=True)
class Prompt:
    """What an engine is asked: chat messages, the beginning of the answer, and where to stop.

    `copy_from` is text that the answer probably repeats (the broken program and the stop). `max_tokens` bounds the
    answer; at 0 the bound is half again as many tokens as `copy_from` has, and 64, counted by the engine.
    `adapter` names the one of `Served.adapters` that answers; "" is the model as it is. At a `temperature` above 0 the
    answer is drawn, and `seed` says which; at 0 it is the likeliest, token by token.

    `begun` is a part of the answer that is given: the model goes on from there, and the completion's text contains it.
    `departures`: how many of the likeliest departures from `copy_from` are to be reported with the answer. `scored`:
    whether the answer's log-probability is. A scored answer is given up, and ends where it is, once its log-probability
    is below `least`.
    """

    messages: tuple[dict[str, str], ...]
    prefill: str
    stop: tuple[str, ...]
    copy_from: str = ""
    max_tokens: int = 0
    adapter: str = ""
    temperature: float = 0.0
    seed: int = 0
    begun: str = ""
    departures: int = 0
    scored: bool = False
    least: float | None = None

    @property
    def data(self) -> dict[str, Any]:
        """What names an answer that is kept. Later fields count where they are set, so that older answers stay
        valid."""
        later = {"begun": "", "departures": 0, "scored": False, "least": None}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}


@dataclass(frozen=True)
class Departure:
    """A place where a model might have left the text that it was expected to copy: `before` is what stands before it,
    `token` what the model would write instead of the text's own next token, which is `instead`. `chance` is the natural
    logarithm of the probability of `token`, and `so_far` of all of `before`, token by token."""

    before: str
    token: str
    chance: float
    so_far: float
    instead: str = ""


@dataclass(frozen=True)
class HotAdapter:
    """An adapter that an engine puts on a loaded model: its name, its GGUF file and its PEFT folder."""

    name: str
    gguf: Path
    folder: Path


@dataclass(frozen=True)
class Served:
    """A model as an engine takes it: the GGUF file, the same weights as a Hugging Face folder, and a digest of all that
    may answer. `adapters` are switched on by a prompt's word, without a merge."""

    name: str
    gguf: Path
    weights: Path
    digest: str
    adapters: tuple[HotAdapter, ...] = ()


@dataclass(frozen=True)
class Completion:
    """An engine's answer, without prefill and stop text. Tokens are counted by the engine. `cut`: it was cut for
    length, before the model ended it. `departures`, the likeliest first, and `chance`, the natural logarithm of the
    answer's probability (its end included), are there where the prompt asks for them."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cut: bool = False
    departures: tuple[Departure, ...] = ()
    chance: float | None = None

"""From an attempt that was judged to an episode."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from sleepy.artifacts import Check, Prompt, Task, digest_of
from sleepy.episodes.store import Episode, EpisodeStore, now
from sleepy.results import Attempt
from sleepy.rust.signature import signature_of

Record = Callable[[Task, int, Prompt, Attempt, Check, Check], None]
"""Takes a task, the attempt's number from 0, what was asked, the attempt, and what the sandbox found of the program
before it and of its own."""


def recorder(store: EpisodeStore, run: str, model: str, adapters: Mapping[str, str]) -> Record:
    """What stores every attempt at once. `model` is the digest of the model that is asked, `adapters` name -> digest of
    those a prompt may name; under "" the one in the model's own weights, if there is one. Any other name is a mixture
    of them all (see routing=arrow): its digest is that of their digests, sorted."""
    named = sorted(digest for name, digest in adapters.items() if name)

    def record(task: Task, number: int, prompt: Prompt, attempt: Attempt, before: Check, after: Check) -> None:
        store.write(
            Episode(
                run=run,
                task=task.id,
                family=task.family,
                pattern=task.pattern,
                attempt=number,
                prompt=digest_of(prompt.data),
                model=model,
                adapter=adapters.get(prompt.adapter, digest_of(named) if prompt.adapter else ""),
                before=signature_of(before),
                after=signature_of(after),
                diff=diff(task.broken, attempt.program),
                verdict=after.stage,
                prompt_tokens=attempt.prompt_tokens,
                completion_tokens=attempt.completion_tokens,
                milliseconds=round(attempt.seconds * 1000),
                time=now(),
            )
        )

    return record


def diff(broken: str, program: str, name: str = "program.rs") -> str:
    """The unified diff of the file `name` as `git apply` takes it, "" when nothing changed."""
    before, after = broken.split("\n"), program.split("\n")  # not splitlines: to rustc a form feed ends no line
    lines = list(difflib.unified_diff(_ended(before), _ended(after), f"a/{name}", f"b/{name}"))
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _ended(lines: list[str]) -> list[str]:
    """Lines with their line ends; what follows the last end, if anything, has none."""
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])

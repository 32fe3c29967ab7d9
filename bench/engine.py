"""Our llama.cpp session against its bound and against a plain loop over llama-cpp-python, on the same prompts and file.

    python bench/engine.py                       koans_mini, Qwen2.5-Coder-0.5B
    python bench/engine.py qwen2.5-coder-1.5b long 12
    python bench/engine.py qwen2.5-coder-0.5b koans 100

The bound is (prompt tokens that no earlier prompt shares + answer tokens) / prompt speed: every token once, all at the
speed of a batch. The plain loop is `create_completion`, greedy, prompt after prompt; llama-cpp-python keeps what a
prompt shares with the one before it. "full" shows rustc's messages as it prints them. Prints ratios, and
how many texts are the same.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from hydra import compose, initialize_config_dir

from sleepy.artifacts import BaseModel, Prompt, Served, Task
from sleepy.engines.engine import up_to_stop
from sleepy.engines.llama_cpp import LlamaCpp, LlamaSession, _common_prefix
from sleepy.exam.builtin import every_koan
from sleepy.options import CONF
from sleepy.settings import Settings, register, settings

LONG = range(35, 46)  # lines of a program


def chosen(
    model: str, which: str, count: int
) -> tuple[Served, list[Task], list[Prompt], list[Prompt], Settings, BaseModel]:
    """The model, the tasks, their prompts with short and with full messages, all options, and the model's files."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        opts = settings(compose("config", [f"model={model}", *([] if which == "long" else [f"tasks={which}"])]))
    cache = Path(opts.cache).expanduser()
    base = opts.model.fetch(cache)
    long = [t for t in every_koan() if len(t.broken.splitlines()) in LONG]
    tasks = (long if which == "long" else list(opts.tasks.load()))[:count]
    checker = opts.sandbox.open(cache)
    broken = checker.check_all([t.broken_job for t in tasks])
    repair: Any = opts.repair
    short, full = (
        [replace(repair, diagnostics=kind).first(t, b) for t, b in zip(tasks, broken, strict=True)]
        for kind in ("short", "full")
    )
    return Served(base.name, base.gguf, base.weights, base.digest), tasks, short, full, opts, base


def prompt_speed(session: LlamaSession, tokens: Sequence[int]) -> float:
    """Tokens a second in batches of 512, the median of five."""
    part = list(tokens)[:512]
    found = []
    for _ in range(5):
        session._forget(0)
        start = time.perf_counter()
        session._decode(part, 0)
        found.append(len(part) / (time.perf_counter() - start))
    return median(found)


def unshared(rows: Sequence[Sequence[int]]) -> int:
    """Prompt tokens that have to be evaluated when what all rows begin with is evaluated once."""
    common = _common_prefix(rows)
    return common + sum(len(row) - common for row in rows)


def ours(session: LlamaSession, prompts: Sequence[Prompt]) -> tuple[list[str], float, int]:
    """Texts, seconds and answer tokens of our session."""
    start = time.perf_counter()
    found = session.generate(prompts)
    return [c.text for c in found], time.perf_counter() - start, sum(c.completion_tokens for c in found)


def plain(session: LlamaSession, prompts: Sequence[Prompt]) -> tuple[list[str], float]:
    """Texts and seconds of the plain loop, on the same loaded model."""
    llama, texts = session._llama, []
    llama.reset()
    start = time.perf_counter()
    for prompt in prompts:
        said = llama.create_completion(
            session._encode(prompt),
            max_tokens=64 + 3 * len(session._copy(prompt.copy_from)) // 2,
            temperature=0.0,
            stop=list(prompt.stop),
        )
        texts.append(up_to_stop(said["choices"][0]["text"], prompt.stop)[0])
    return texts, time.perf_counter() - start


def main(model: str = "qwen2.5-coder-0.5b", which: str = "koans_mini", count: str = "42") -> None:
    """Measure and print."""
    served, tasks, short, full, *_ = chosen(model, which, int(count))
    with LlamaCpp(threads=len(os.sched_getaffinity(0))).open(served) as session:
        rows = [session._encode(p) for p in short]
        tokens = [t for row in rows for t in row]
        session.generate(short[:1])  # warm
        speed = prompt_speed(session, tokens)
        texts, seconds, answered = ours(session, short)
        # before and after: the machine is not the same all the time
        speed = (speed + prompt_speed(session, tokens)) / 2
        bound = (unshared(rows) + answered) / speed
        plain_texts, plain_seconds = plain(session, short)
        _, full_seconds = plain(session, full)
    same = sum(a == b for a, b in zip(texts, plain_texts, strict=True))
    print(f"{served.name}, {len(tasks)} {which}: prompt speed {speed:.0f} tokens/s")
    print(f"  {sum(map(len, rows))} prompt tokens, {unshared(rows)} of them unshared, {answered} answer tokens")
    print(f"  ours {seconds:.1f} s, bound {bound:.1f} s, ratio {seconds / bound:.2f}")
    print(f"  plain loop, same prompts {plain_seconds:.1f} s, ratio to ours {plain_seconds / seconds:.2f}")
    print(f"  plain loop, full messages {full_seconds:.1f} s, ratio to ours {full_seconds / seconds:.2f}")
    print(f"  same text {same} of {len(tasks)}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One answer after another on a quiet and on a busy machine, with OpenMP threads that wait in several ways.

    python bench/busy.py [MODEL]       qwen2.5-coder-0.5b

Prints the seconds of each case over those of sleepy's own way on the quiet machine. The machine is made busy by
processes that this script starts, two a core. A case that takes 10 times as long is ended and shown as "> 10".
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from hydra import compose, initialize_config_dir

from sleepy.artifacts import Prompt, Served
from sleepy.engines.llama_cpp import LlamaCpp
from sleepy.machine import cores
from sleepy.options import CONF
from sleepy.settings import register, settings

WAYS: dict[str, dict[str, str]] = {
    "spin briefly (sleepy)": {},
    "sleep at once": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
    "spin": {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "infinite"},
}
PROGRAM = "fn total(items: &[u32]) -> u32 {\n    items.iter().sum()\n}\n"


def answer(gguf: Path) -> float:
    """Seconds of four answers of 48 tokens, after one that warms up."""
    prompts = [Prompt(({"role": "user", "content": f"{i}: explain\n{PROGRAM}"},), "", (), "", 48) for i in range(5)]
    with LlamaCpp(lookup=False).open(Served("bench", gguf, gguf.parent, "")) as session:
        session.generate(prompts[:1])
        start = time.perf_counter()
        session.generate(prompts[1:])
        return time.perf_counter() - start


def timed(gguf: str, variables: dict[str, str], limit: float | None) -> float | None:
    """Seconds of `answer` in a process of its own, or None when it took longer than `limit` seconds."""
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--answer", gguf],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout.split()[-1])


def main(model: str = "qwen2.5-coder-0.5b") -> None:
    """Print the table."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        opts = settings(compose("config", [f"model={model}"]))
    gguf = str(opts.model.fetch(Path(opts.cache).expanduser()).gguf)
    timed(gguf, {}, None)  # the file is in memory then
    unit = timed(gguf, {}, None)
    assert unit is not None
    print("machine  waiting threads        ratio")
    rivals: list[subprocess.Popen[bytes]] = []
    try:
        for machine in ("quiet", "busy"):
            if machine == "busy":
                rivals = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * cores())]
            for name, variables in WAYS.items():
                took = timed(gguf, variables, 10 * unit + 20)
                print(f"{machine:8} {name:22} " + (f"{took / unit:.2f}" if took else "> 10"), flush=True)
    finally:
        for rival in rivals:
            rival.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        print(answer(Path(sys.argv[2])))
    else:
        main(*sys.argv[1:])

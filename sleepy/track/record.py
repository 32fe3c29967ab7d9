"""What a run was made with. Nothing here fails: what cannot be found out is left out."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import sleepy
from sleepy.artifacts import digest_of_file

MAIN_PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "llama-cpp-python", "gguf", "hydra-core", "mlflow", "numpy",
)  # fmt: skip
MAX_DIFF = 2_000_000  # characters
MAX_FILE = 10_000_000  # bytes of a file outside of git up to which it is digested
NOT_IN_GIT, CUT, NO_DIGEST = "# not in git: ", " characters]\n", "not-digested"
_VECTORS = re.compile(r"(?:avx|sse|ssse|fma|amx|f16c|neon|asimd|sve|i8mm|bf16|fphp)\w*")
_SECONDS = 20.0


class Record(NamedTuple):
    """The code as tags, the environment as parameters, long texts under artifact names."""

    tags: dict[str, str]
    params: dict[str, str]
    texts: dict[str, str]


def record(folder_of_code: Path) -> Record:
    """Code revision with the uncommitted changes, package versions, interpreter, compiler and machine.

    `folder_of_code` is any folder of the git checkout; without one the tag `sleepy.code` says so.
    """
    import psutil

    tags, texts = _code(folder_of_code)
    installed = [d for d in metadata.distributions() if d.metadata["Name"]]  # a half-removed one has no name
    # Of two copies of a package the first is the one that is imported.
    packages = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in reversed(installed)}
    texts["record/packages.txt"] = "".join(f"{name}=={version}\n" for name, version in sorted(packages.items()))
    lscpu = _answer("lscpu")  # Linux; sysctl has it on macOS
    cpu, flags = re.search(r"Model name: *(.+)", lscpu), re.search(r"Flags: *(.+)", lscpu)
    cores = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    gpus = _answer("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    environment = {
        "python": platform.python_version(),
        "sleepy": sleepy.__version__,
        "rustc": _answer("rustc", "--version"),
        **{name: packages.get(name, "") for name in MAIN_PACKAGES},
        "cpu": cpu[1] if cpu else _answer("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine(),
        # How numbers are rounded hangs on the instructions for vectors and on the number of threads.
        "cpu_features": " ".join(sorted(x for x in flags[1].split() if _VECTORS.fullmatch(x))) if flags else "",
        "cores": cores,
        "threads": os.environ.get("OMP_NUM_THREADS") or cores,
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.1f}",
        "os": platform.platform(),
        "gpu": gpus.strip().replace("\n", "; ") or "none",
    }
    return Record(tags, {f"env.{name}": value.strip() for name, value in environment.items() if value}, texts)


def _code(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    def git(*words: str) -> str:
        return _answer("git", "-C", str(folder), *words)

    root = git("rev-parse", "--show-toplevel").strip()
    # A package installed in the ignored .venv of somebody's project is not part of that project.
    if not root or git("check-ignore", str(folder)):
        return {"sleepy.code": "not in a git checkout that can be read"}, {}
    folder = Path(root)
    commit = git("rev-parse", "--verify", "--quiet", "HEAD").strip()
    changed = git("diff", "--no-color", "--no-ext-diff", "HEAD" if commit else "--cached")
    untracked = git("ls-files", "--others", "--exclude-standard").splitlines()
    dirty = bool(changed or untracked)
    tags = {
        "sleepy.code": f"{commit[:12] or 'no commit yet'}{' with changes' if dirty else ''}",
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": git("rev-parse", "--abbrev-ref", "HEAD").strip() if commit else "",
        "mlflow.source.git.dirty": str(dirty).lower(),
    }
    if len(changed) > MAX_DIFF:
        changed = f"{changed[:MAX_DIFF]}\n[cut, {len(changed)}{CUT}"
    # Lines before the first diff are comments to `git apply`.
    patch = "".join(f"{NOT_IN_GIT}{name}\n" for name in untracked) + changed
    texts = {"record/untracked.txt": "".join(f"{_digest(root, name)}  {name}\n" for name in untracked)}
    return {name: value for name, value in tags.items() if value}, texts | (
        {"record/changes.patch": patch} if dirty else {}
    )


def _digest(root: str, name: str) -> str:
    """The digest of a file outside of git, unless it is large or cannot be read. Git quotes unusual names, which
    are not found here."""
    path = Path(root, name)
    try:
        return NO_DIGEST if path.stat().st_size > MAX_FILE else digest_of_file(path)
    except OSError:
        return NO_DIGEST


def _answer(*command: str) -> str:
    """What a command prints, or nothing if it is missing, fails or hangs."""
    # Inside a git hook, GIT_DIR and its like point elsewhere; optional locks would disturb the user's own git.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env = outside | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, env=env, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""

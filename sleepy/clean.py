"""`python -m sleepy.clean`: lists what runs left behind and what takes room: checkpoints of trainings that did not come
to their end, exported GGUF files, and in the cache the answers of evaluations that were interrupted."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sleepy.errors import SleepyError
from sleepy.evaluate.answers import ANSWERS, MEASURED
from sleepy.files import explained, remove, size_of
from sleepy.train.checkpoint import progress_in


def main(words: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sleepy.clean", description=__doc__)
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        default=[Path("outputs"), Path("multirun")],
        help="where runs are (outputs and multirun)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(os.environ.get("SLEEPY_CACHE", "~/.cache/sleepy")),
        help="the cache (SLEEPY_CACHE, or ~/.cache/sleepy)",
    )
    parser.add_argument("--remove", action="store_true", help="remove what is listed; not while a job is running")
    asked = parser.parse_args(words)
    found = sorted({path for folder in asked.folders for path in left_behind(folder)}) + answers(asked.cache)
    total = 0
    try:
        for path in found:
            total += (bytes_in := size_of(path))
            print(f"{bytes_in / 1e6:10.1f} MB  {path}{_progress(path)}")
            if asked.remove:
                with explained(path):
                    remove(path)
    except SleepyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    did = "removed" if asked.remove else "found; --remove removes them"
    print(f"{total / 1e6:10.1f} MB in {len(found)} files and folders {did}" if found else "Nothing to remove")
    return 0


def left_behind(folder: Path) -> list[Path]:
    """The folders of checkpoints and the exported GGUF files below `folder`."""
    checkpoints = [path for path in folder.rglob("checkpoints/*") if path.is_dir()]
    return checkpoints + [path for path in folder.rglob("export/*.gguf") if path.is_file()]


def answers(cache: Path) -> list[Path]:
    """The files of answers whose evaluation was interrupted; the same command would resume it."""
    return sorted((cache.expanduser() / MEASURED).glob(f"*{ANSWERS}"))


def _progress(path: Path) -> str:
    progress = progress_in(path)
    return f" (step {progress.done} of {progress.steps})" if progress else ""


if __name__ == "__main__":
    sys.exit(main())

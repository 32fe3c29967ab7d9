"""How long `--help` and `--cfg job` take against an empty Hydra application. Prints ratios of medians, run in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
EMPTY = """import hydra

@hydra.main(version_base="1.3", config_path=None)
def app(config):
    pass

if __name__ == "__main__":
    app()
"""
TURNS = 9


def seconds(argv: list[str], folder: str) -> float:
    """Wall time of one run, in seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *argv], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        for words in (["--help"], ["--cfg", "job"]):
            ours, theirs = [], []
            for turn in range(TURNS + 1):
                pair = seconds([str(ROOT / "run.py"), *words], folder), seconds([str(empty), *words], folder)
                if turn:  # the first only fills caches
                    ours.append(pair[0])
                    theirs.append(pair[1])
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            mine, empty_one = statistics.median(ours), statistics.median(theirs)
            print(f"{' '.join(words):10} {mine:.3f} s, empty application {empty_one:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()

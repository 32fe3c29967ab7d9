"""Stages as a person watches them: a bar with its time for each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class Stages:
    """Shows stages and remembers how long each took, in seconds. Where it is known what they may take (`expect`), each
    bar says how long the whole job still needs from that stage's beginning on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._expected: dict[str, float] = {}
        self._repeat = False

    def expect(self, seconds: Mapping[str, float], *, repeat: bool) -> None:
        """What stages are expected to take. With `repeat` a stage may come several times, and so is not over after the
        first."""
        self._expected, self._repeat = dict(seconds), repeat

    @property
    def left(self) -> float:
        """Seconds that the stages to come are expected to take; 0 where nothing is known."""
        return sum(max(0.0, seconds - self.seconds.get(name, 0.0)) for name, seconds in self._expected.items())

    @contextmanager
    def stage(self, name: str, total: int = 1, unit: str = "step") -> Iterator[Callable[..., None]]:
        """A bar over `total` units for the block; the function it gets advances it by one, and shows what it is told.
        A stage of a single step is done when its block is."""
        from tqdm import tqdm

        start = time.perf_counter()
        form = "{desc:<10} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}{postfix}]"
        form += f" job: {spoken(self.left)} left" if self.left >= 1 else ""
        interval = 0.1 if sys.stderr.isatty() else 30.0  # a log file wants few lines
        with tqdm(
            total=total,
            desc=name,
            unit=unit,
            bar_format=form,
            mininterval=interval,
            maxinterval=interval,
            file=sys.stderr,
        ) as bar:

            def advance(**shown: object) -> None:
                if shown:
                    bar.set_postfix(shown, refresh=False)
                bar.update()

            yield advance
            bar.update(total - bar.n)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        if not self._repeat:
            self._expected.pop(name, None)


def spoken(seconds: float) -> str:
    """A time to come, as people say it: "8 s", "12 min", "1.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def hush() -> None:
    """Silence what libraries print of themselves into our bars: PEFT's use of an old name, and the kernels that
    bitsandbytes would rather have, included."""
    import logging
    import warnings

    from transformers.utils import logging as theirs

    theirs.disable_progress_bar()
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
    for name in ("gguf", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def say(text: str) -> None:
    """A line for the user that does not tear a bar apart."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)

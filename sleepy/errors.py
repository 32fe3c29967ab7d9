"""What can go wrong in a way that a user can fix.

A `SleepyError` is shown as its message alone and ends the program with exit code 1. Its message says what is
wrong and what to do. A model's wrong answer is a result and never one of these.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST = 20  # problems that are listed one by one


def several(problems: Sequence[str]) -> str:
    """Problems, a line each; of many the first ones and how many there are."""
    more = len(problems) - MOST
    return "\n".join([*problems[:MOST], *([f"... and {more} more"] if more > 0 else [])])


class SleepyError(Exception):
    """Anything a user can fix: shown without a traceback unless `debug=true`."""


class ConfigError(SleepyError):
    """An option that is unknown, of the wrong type, out of range, or at odds with another."""


class DataError(SleepyError):
    """A koan, pair or record that cannot be read, or is not what it claims to be."""


class ModelError(SleepyError):
    """Weights that cannot be fetched, do not match their digest, or do not fit each other."""


class DiskError(SleepyError):
    """A disk that is full, or that may not be written."""


class NetworkError(SleepyError):
    """A server that does not answer, or refuses what it is asked."""


class SandboxError(SleepyError):
    """The compiler or the sandbox itself is broken. Never scored as a failed koan."""


class TrainingError(SleepyError):
    """Training cannot go on: a loss that is not finite, no memory."""


class NothingToLearn(TrainingError):
    """There is no pair to train on: an error of a run, but no reason for a stream to stop at one of its tasks."""


class EngineError(SleepyError):
    """The engine that generates text died or does not answer. Never scored as a failed koan."""

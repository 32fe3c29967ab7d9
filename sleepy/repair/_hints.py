"""Advice by error code and message, kept as data: hints.yaml, and a user's own file on top of it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import yaml

from sleepy.artifacts import Diagnostic
from sleepy.errors import ConfigError

SHIPPED = Path(__file__).parent / "hints.yaml"
_MOST = 3  # pieces of advice in one prompt


@dataclass(frozen=True)
class Hint:
    """Advice for errors of a code; `message` is a regular expression that must be found in what rustc says of the error
    (message, labels, helps)."""

    code: str
    advice: str
    message: str = ""

    def fits(self, error: Diagnostic) -> bool:
        """Whether this is advice on an error."""
        said = "\n".join([error.message, *(label for _, label in error.labels), *error.helps])
        return self.code == error.code and re.search(self.message, said) is not None


@functools.cache
def hints(own: str = "") -> tuple[Hint, ...]:
    """The hints in the order in which they are tried: those of the file `own`, then ours. Raises ConfigError for a file
    that is none."""
    return (_read(Path(own).expanduser()) if own else ()) + _read(SHIPPED)


def _read(path: Path) -> tuple[Hint, ...]:
    """The hints of a YAML or JSON file."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: no hints could be read: {error}") from error
    if not isinstance(entries, list):
        raise ConfigError(f"{path} must be a list of entries with code and advice, not a {type(entries).__name__}")
    return tuple(_hint(entry, f"{path}, entry {number}") for number, entry in enumerate(entries, 1))


def _hint(entry: object, where: str) -> Hint:
    known = [f.name for f in fields(Hint)]
    if not isinstance(entry, dict) or not {"code", "advice"} <= set(entry) <= set(known):
        raise ConfigError(f"{where} must have code, advice and perhaps message (a regular expression), not {entry!r}")
    hint = Hint(**{key: str(value).strip() for key, value in entry.items()})
    try:
        re.compile(hint.message)
    except re.error as error:
        raise ConfigError(f"{where}: {hint.message!r} is not a regular expression: {error}") from error
    return hint


def advice(errors: Sequence[Diagnostic], own: str) -> list[str]:
    """Advice on errors: for each kind of them the first hint that fits, each once."""
    found = [next((h.advice for h in hints(own) if h.fits(error)), "") for error in errors]
    return [text for text in dict.fromkeys(found) if text][:_MOST]


def as_data(own: str) -> list[dict[str, str]]:
    """All hints, for the key of what hangs on them."""
    return [asdict(hint) for hint in hints(own)]

"""A sweep's command line, as it was typed and as Hydra is given it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from sleepy.errors import ConfigError
from sleepy.explain import swept_values
from sleepy.options import CONF, groups

RECORDED = "++hydra.sweeper._target_=hydra_plugins.sleepy_sweeper.SleepySweeper"  # for a config that chose no sweeper
# The launchers that come with an extra, and the module that it brings.
_SUBMITIT = ("submitit", "hydra_plugins.hydra_submitit_launcher")
_EXTRAS = {
    "joblib": ("joblib", "hydra_plugins.hydra_joblib_launcher"),
    "ray": ("ray", "ray"),
    **dict.fromkeys(("slurm", "submitit_slurm", "submitit_local"), _SUBMITIT),
}
_TYPED: dict[str, str] = {}  # words of the command line as they were typed, by what Hydra was given in their place


def first_choices(line: list[str], overrides: list[str]) -> list[str]:
    """A sweep's command line as Hydra is to compose it before the first job: of each choice that is swept, the first.

    Hydra leaves out what is swept there. It would find the default of each such group, and refuse every option that
    only the swept choices have, whether it stands on the command line or in an experiment's file. The sweeper takes the
    words as they were typed before it makes jobs of them. `overrides` are the words of `line` with a key.
    """
    for word in overrides:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException:  # Hydra will say so
            continue
        group = override.key_or_group
        if override.is_sweep_override() and override.package is None and group in (*groups(), "experiment"):
            known = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
            if values := swept_values(override, known):
                _TYPED[f"{group}={values[0]}"] = word
    given = {word: first for first, word in _TYPED.items()}
    return [given.get(word, word) for word in line]


def require_launcher(overrides: Sequence[str]) -> None:
    """Raises ConfigError for a launcher whose package is not installed."""
    for word in overrides:
        key, _, name = word.partition("=")
        extra, module = _EXTRAS.get(name, ("", "")) if key == "hydra/launcher" else ("", "")
        if extra and find_spec(module) is None:
            raise ConfigError(f"{word} needs a package that is not installed: pip install -e '.[{extra}]'")


def typed(words: Sequence[str]) -> list[str]:
    """The words as they were typed."""
    return [_TYPED.get(word, word) for word in words]


def command() -> str:
    """This process's command line, for a shell."""
    return shlex.join(["python", "run.py", *(word for word in typed(sys.argv[1:]) if word != RECORDED)])


def swept_keys(words: Sequence[str]) -> list[str]:
    """The keys that have several values."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    return [override.get_key_element() for override in parsed if override.is_sweep_override()]

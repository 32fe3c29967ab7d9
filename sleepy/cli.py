"""What the command line gets back: the job's result, or every problem with it in words."""

from __future__ import annotations

import difflib
import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sleepy.errors import ConfigError, SleepyError
from sleepy.options import CONF, GROUPS, options

# what people type, and what it means
_MEANT = {"+experiment=": "experiment=", "cycles=": "stream.cycles="}
_DEBUG = {f"debug={word}" for word in ("true", "yes", "on", "1")}  # the config may be what is wrong
_SHORT = re.compile("^(?:" + "|".join(map(re.escape, _MEANT)) + ")")


def help_text() -> str:
    """What can be chosen: every option with its own first line, and the config with its comments. Made from conf/
    alone: Hydra's own help would compose everything and read each group several times to say less."""
    lines = [
        "usage: python run.py [key=value ...]            one job",
        "       python run.py -m key=a,b [key=value ...]     a sweep: every combination is a job",
        "       python run.py --cfg job [key=value ...]     shows the config that would run",
        "       python run.py --hydra-help                  Hydra's own flags",
        "",
        "== Choices (group=option) ==",
    ]
    for group in (*GROUPS, "experiment"):
        lines.append(f"\n{group}")
        for path in sorted((CONF / group).glob("*.yaml")):
            comments = [
                x[2:]
                for x in path.read_text(encoding="utf-8").splitlines()
                if x.startswith("# ") and "@package" not in x
            ]
            lines.append(f"  {path.stem:20} {comments[0] if comments else ''}")
    return "\n".join(
        [
            *lines,
            "",
            "== Config: override anything (key=value) ==",
            "",
            (CONF / "config.yaml").read_text(encoding="utf-8"),
        ]
    )


def only_shows() -> bool:
    """Whether the command line asks to be shown something and sets nothing."""
    words = sys.argv[1:]
    return bool({"--help", "-h", "--cfg", "-c"} & set(words)) and not any("=" in word for word in words)


def guarded(app: Callable[[], object]) -> None:
    """Run a Hydra application. Whatever a user can mend becomes its message and exit code 1; Ctrl-C becomes 130."""
    sys.argv[1:] = [_SHORT.sub(lambda found: _MEANT[found[0]], word) for word in sys.argv[1:]]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand the exceptions to us
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended politely is ended like Ctrl-C
    try:
        if {"--help", "-h"} & set(sys.argv[1:]):
            print(help_text(), flush=True)
        else:
            app()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        _end("interrupted. The same command goes on from the last checkpoint", 130)
    except (HydraException, OmegaConfBaseException) as error:
        _end("\n".join(_explain(_overrides())) or str(error), 1)
    except SleepyError as error:
        _end(str(error), 1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            _unexpected(error)
        _end(f"no disk space left ({error.filename or error}). Free some and give the same command again", 1)
    except Exception as error:
        _unexpected(error)


def _overrides() -> list[str]:
    return [word for word in sys.argv[1:] if not word.startswith("-") and ("=" in word or word.startswith("~"))]


def _unexpected(error: BaseException) -> None:
    _end(
        f"unexpected {type(error).__name__}: {error}\nThis is a mistake in sleepy. The same command with debug=true "
        "shows where",
        1,
    )


def _end(message: str, code: int) -> None:
    if _DEBUG & {word.lower() for word in sys.argv}:
        traceback.print_exc()
    print(f"error: {message}" if code == 1 else message, file=sys.stderr)
    raise SystemExit(code)


def _explain(words: list[str]) -> list[str]:
    """What is wrong with each override, tried one by one on top of the groups that are chosen rightly."""
    problems: list[str] = []
    choices: list[str] = []
    rest: list[Any] = []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            problems.append(f"{word}: cannot be read as key=value ({str(error).splitlines()[0]})")
            continue
        group = override.key_or_group
        if group in GROUPS or group == "experiment":
            known = sorted(p.stem for p in (CONF / group).glob("*.yaml"))
            wrong = [value for value in _values(override) if value not in known]
            problems += [
                f"{group}: found {value!r}, expected one of {', '.join(known)}{_nearest(value, known)}"
                for value in wrong
            ]
            choices += [] if wrong else [f"{group}={_values(override)[0]}"]
        elif not group.startswith("hydra"):
            rest.append(override)
    base = _compose(choices)
    keys = list(_keys(base)) if isinstance(base, DictConfig) else []
    for override in rest:
        key = override.key_or_group
        if keys and key not in keys:
            problems.append(f"{key}: no such option{_nearest(key, keys)}")
            continue
        for value in _values(override):
            result = _compose([*choices, f"{key}={value}"])
            if isinstance(result, Exception):
                problems.append(f"{key}: found {value!r}: {str(result.__cause__ or result).splitlines()[0]}")
    return ["the command line has problems:", *(f"  {p}" for p in problems)] if problems else []


def _values(override: Any) -> list[str]:
    """The override's value, or each of a sweep's."""
    return (
        list(override.sweep_string_iterator())
        if override.is_sweep_override()
        else [override.get_value_element_as_str()]
    )


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 3, 0.6)
    near = near or [k for k in known if k.rsplit(".", 1)[-1] == word.rsplit(".", 1)[-1]][:3]
    return f"; nearest: {', '.join(near)}" if near else ""


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and isinstance(node._get_node(key), DictConfig):
            yield from _keys(node[key], f"{prefix}{key}.")


def _compose(words: list[str]) -> DictConfig | Exception:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", words)
    except (HydraException, OmegaConfBaseException) as error:
        return error


def check_sweep(words: list[str]) -> None:
    """Compose and check every job of a sweep before the first one starts. Raises ConfigError that names each job with a
    problem."""
    from hydra import compose
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = OverridesParser.create().parse_overrides(words)
    problems = []
    for job in (job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch):
        try:
            options(compose("config", list(job)))
        except SleepyError as error:
            problems.append(f"{' '.join(job)}: {error}")
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError("\n".join(_explain(words)) or str(error)) from error
    if problems:
        raise ConfigError("jobs of this sweep have problems; none was started:\n" + "\n".join(problems))

"""What the command line gets back: help, the job's result, or every problem with it in words."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from sleepy.errors import SleepyError
from sleepy.files import REFUSALS, refusal_text
from sleepy.options import CONF, groups, targets

# Other spellings that people use, and what they mean.
_MEANT = {
    "+experiment=": "experiment=",
    "cycles=": "stream.cycles=",
    "replay=": "replay.run=",
    "record=": "record.run=",
    "name=": "record.name=",
    "merge=default": "merge=none",
    "stream.gate_on=": "gate.tasks=",
    "stream.gate_koans=": "gate.koans=",
    "evaluate.adapter=merged": "export.measure=true",
    "evaluate.adapter=hot": "export.measure=false",
    "evaluate.adapter=auto": "export.measure=false",
}
_SHORT = re.compile("^(?:" + "|".join(map(re.escape, _MEANT)) + ")")
_DEBUG = {f"debug={word}" for word in ("true", "yes", "on", "1")}  # the config may be what is wrong
_USAGE = """\
usage: python run.py [key=value ...]            one job
       python run.py -m key=a,b [key=value ...]     a sweep: every combination is a job
       python run.py replay=ID                      repeats a recorded run and says what is the same
       python run.py --help GROUP=OPTION            the keys of one option, such as algo=share
       python run.py --cfg job [key=value ...]      shows the config that would run
       python run.py --hydra-help                   Hydra's own flags
"""


def register() -> None:
    """Tell Hydra what the options are. Who only wants to be shown something pays for no checks: half the time of a
    `--cfg` would go into them."""
    words = sys.argv[1:]
    if _wants_help(words) or ({"--cfg", "-c"} & set(words) and not any("=" in word for word in words)):
        store = ConfigStore.instance()
        store.store(name="_root", node={})
        for group, target in targets():
            store.store(group=group, name=f"_{target.split('.')[-2]}", node={})
    else:
        from sleepy import settings

        settings.register()


def guarded(app: Callable[[], object]) -> None:
    """Run a Hydra application. Whatever a user can fix becomes its message and exit code 1; Ctrl-C becomes 130."""
    sys.argv[1:] = [meant(word) for word in sys.argv[1:]]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand the exceptions to us
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended politely is ended like Ctrl-C
    typed = sys.argv[1:]
    try:
        if _wants_help(typed):
            print(help_text(typed), flush=True)
        else:
            sys.argv[1:] = _for_hydra(typed)
            app()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        _end("Interrupted. Run the same command again to resume from the last checkpoint.", 130)
    except (HydraException, OmegaConfBaseException) as error:
        _end(_explained(error, get_args_parser().parse_args(typed)), 1)
    except SleepyError as error:
        _end(str(error), 1)
    except OSError as error:
        if error.errno not in REFUSALS:
            _unexpected(error)
        _end(refusal_text(error, "a file"), 1)
    except Exception as error:
        _unexpected(error)


def meant(word: str) -> str:
    """A word of the command line, with an old spelling replaced."""
    return _SHORT.sub(lambda found: _MEANT[found[0]], word)


def help_text(words: list[str]) -> str:
    """What can be chosen and set: every option with its first line, and every key with its comment. Made from conf/
    alone: Hydra's own help would compose everything and read each group several times to say less. A word such as
    algo=share shows that option's own keys instead."""
    asked = [CONF / f"{word.replace('=', '/', 1)}.yaml" for word in words if "=" in word]
    if asked and all(path.is_file() for path in asked):
        return "\n".join(_keys_of(path.read_text(encoding="utf-8")) for path in asked)
    lines = [_USAGE, "== Choices (group=option) =="]
    for group in (*groups(), "experiment"):
        lines.append(f"\n{group}")
        for path in sorted((CONF / group).glob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            comments = [x[2:] for x in text.splitlines() if x.startswith("# ") and "@package" not in x]
            lines.append(f"  {path.stem:20} {comments[0] if comments else ''}")
    return "\n".join([*lines, "", "== Keys (key=value, section.key=value) ==", "", _keys_of(_config())])


def _keys_of(text: str) -> str:
    """A YAML file's own keys with their comments, without what is Hydra's."""
    text = re.sub(r"^defaults:.*\n(?:  .*\n)*\n?", "", text, flags=re.MULTILINE)
    return re.sub(r"^_target_:.*\n|^hydra:\n(?:  .*\n|\n)*", "", text, flags=re.MULTILINE).strip() + "\n"


def _config() -> str:
    return (CONF / "config.yaml").read_text(encoding="utf-8")


def _wants_help(words: list[str]) -> bool:
    return bool({"--help", "-h"} & set(words))


def _for_hydra(typed: list[str]) -> list[str]:
    """The command line as Hydra is given it."""
    asked, line = get_args_parser().parse_args(typed), typed
    if not (asked.config_path or asked.config_name):  # a recorded config has its choices written out
        line = [*line, *_searching(asked.overrides)]
    sweeps = asked.multirun or "hydra.mode=MULTIRUN" in asked.overrides
    if sweeps:
        from sleepy.sweep.words import require_launcher

        require_launcher(asked.overrides)
    if asked.config_path:  # Hydra would look for it beside run.py alone
        here = Path(asked.config_path).resolve()
        line = [str(here) if word == asked.config_path and here.is_dir() else word for word in line]
        if sweeps:
            from sleepy.sweep.words import RECORDED

            line.append(RECORDED)
    elif sweeps:
        from sleepy.sweep.words import first_choices

        line = first_choices(line, asked.overrides)
    return line


def _searching(words: list[str]) -> list[str]:
    """`repair=search` with further rounds, for the stages that show or repair one program, where the command line says
    nothing else: neither how the model is asked nor by which engine, which may be one that tells no probabilities."""
    said = {word.partition("=")[0].lstrip("+") for word in words}
    stages = [word.partition("=")[2] for word in words if word.startswith("stages=")]
    alone = stages and set(re.findall(r"\w+", stages[-1])) <= {"repair", "doubts"}
    if not alone or said & {"repair", "engine", "experiment"}:
        return []
    return ["repair=search", *([] if "repair.rounds" in said else ["repair.rounds=2"])]


def _explained(error: Exception, asked: argparse.Namespace) -> str:
    """What is wrong with a command line that Hydra refused."""
    if asked.config_path or asked.config_name:
        chosen = [word for word in asked.overrides if word.partition("=")[0].lstrip("+~") in (*groups(), "experiment")]
        fixed = (
            f"{' '.join(chosen)}: the choices of a recorded config cannot be changed. Instead run the command in "
            "overrides.yaml again, with that choice changed"
        )
        return fixed if chosen else " ".join(f"{error} {error.__cause__ or ''}".split())
    from sleepy.explain import explain

    folders = [Path(asked.config_dir).resolve()] if asked.config_dir else []
    return "\n".join(explain(asked.overrides, folders)) or str(error)


def _unexpected(error: BaseException) -> None:
    _end(
        f"unexpected {type(error).__name__}: {error}\nThis is a bug in sleepy. Add debug=true to see the traceback.", 1
    )


def _end(message: str, code: int) -> None:
    if _DEBUG & {word.lower() for word in sys.argv}:
        traceback.print_exc()
    print(f"error: {message}" if code == 1 else message, file=sys.stderr)
    raise SystemExit(code)

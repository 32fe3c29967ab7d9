"""What is checked before anything is loaded: the stages, and options that do not go together."""

from __future__ import annotations

from collections.abc import Sequence

from sleepy.errors import ConfigError
from sleepy.own_code.repair import find
from sleepy.settings import Settings
from sleepy.track.tracker import Tracker

NEEDS: dict[str, tuple[str, ...]] = {
    "fetch": (), "prove": (), "audit": ("prove",), "baseline": ("fetch", "prove"), "train": ("baseline",),
    "evaluate": ("train",), "gate": ("evaluate",), "merge": ("train",), "export": ("merge",), "report": ("gate",),
    "subspace": (), "repair": (),
}  # fmt: skip


def planned(asked: Sequence[str]) -> tuple[str, ...]:
    """The stages in the pipeline's order. Raises ConfigError for one that is unknown or lacks what it needs."""
    problems = [f"stages: {s!r} is no stage, must be some of {', '.join(NEEDS)}" for s in asked if s not in NEEDS]
    problems += [
        f"stages: {s} needs {n}, which is not asked for" for s in asked for n in NEEDS.get(s, ()) if n not in asked
    ]
    if problems or not asked:
        raise ConfigError("\n".join(problems) or f"stages: got none, must be some of {', '.join(NEEDS)}")
    return tuple(s for s in NEEDS if s in asked)


def check(s: Settings, stages: Sequence[str], choices: dict[str, str], tracker: Tracker) -> None:
    """Raises ConfigError, before anything is loaded, for options that do not go together or cannot be had here."""
    if "repair" in stages:
        find(s.file)
    elif s.file or s.write:
        raise ConfigError(f"file: got {s.file!r}, but no stage repairs it. Add stages=[repair]")
    if {"baseline", "repair"} & set(stages):
        s.engine.check_machine()
    if s.repair.needs_chances and not s.engine.tells_chances and {"baseline", "evaluate", "repair"} & set(stages):
        raise ConfigError(
            f"repair={choices['repair']} reads where the model doubts, which engine={choices['engine']} does not tell. "
            "Use engine=llama_cpp or transformers, or repair=best_of_n"
        )
    if "evaluate" in stages and not s.engine.loads:
        raise ConfigError(
            f"engine={choices['engine']} asks a model that is served elsewhere, but the stage evaluate asks the model "
            "trained here. Use another engine, or stages=[fetch,prove,baseline]"
        )
    if "evaluate" in stages and not s.engine.hot and (s.algo.trains or not s.stream.learns):
        raise ConfigError(
            f"engine={choices['engine']} cannot put an adapter on the loaded model, which is how a result is measured. "
            "Use engine=llama_cpp, and the exported file elsewhere"
        )
    if s.export.measure and not ("export" in stages and s.engine.reads_gguf):
        raise ConfigError(
            "export.measure=true asks the exported GGUF file: it needs the stage export and an engine that loads such "
            "a file (engine=llama_cpp or ollama)"
        )
    if "merge" in stages and "export" not in stages and not s.merge.keep:
        raise ConfigError("stages: merge without export keeps nothing. Add export, or merge.keep=true")
    if "baseline" in stages and not s.routing.routes:
        s.repair.alone().serving([])  # an ensemble says early what it needs
    if "train" in stages and not s.repair.asks:
        raise ConfigError("repair=rustfix asks no model, so none can be trained for it. Use repair=single_shot")
    if "train" in stages:
        if s.algo.trains and s.stream.learns:
            s.algo.check_machine(s.train, s.device)
        s.routing.check(choices["engine"])
        s.stream.check(s.algo, s.merge, s.routing, tracker)

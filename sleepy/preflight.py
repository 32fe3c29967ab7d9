"""What is checked before anything is loaded: the stages, and options that do not go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from sleepy.errors import ConfigError
from sleepy.options import CONF
from sleepy.own_code.repair import find
from sleepy.own_code.subject import subject
from sleepy.pairs.material import Pairs
from sleepy.settings import Settings
from sleepy.track.tracker import Tracker

NEEDS: dict[str, tuple[str, ...]] = {
    "fetch": (), "prove": (), "audit": ("prove",), "baseline": ("fetch", "prove"), "train": ("baseline",),
    "evaluate": ("train",), "gate": ("evaluate",), "merge": ("train",), "export": ("merge",), "report": ("gate",),
    "subspace": (), "repair": (), "doubts": (),
}  # fmt: skip


def planned(asked: Sequence[str]) -> tuple[str, ...]:
    """The stages in the pipeline's order. Raises ConfigError for one that is unknown or lacks what it needs."""
    needs = {} if asked == ["report"] else NEEDS  # alone it is about runs that are there, see check
    problems = [f"stages: there is no stage {s}. Choose from {', '.join(NEEDS)}" for s in asked if s not in NEEDS]
    problems += [f"stages: {s} needs {n}; add it" for s in asked for n in needs.get(s, ()) if n not in asked]
    if problems or not asked:
        raise ConfigError("\n".join(problems) or f"stages is empty. Choose from {', '.join(NEEDS)}")
    return tuple(s for s in NEEDS if s in asked)


def check(s: Settings, stages: Sequence[str], choices: dict[str, str], tracker: Tracker) -> tuple[str, ...]:
    """What a reader of the result must know of its data. Raises ConfigError, before anything is loaded, for options
    that do not go together or are not available here, and DataError for koans and pairs that cannot be used."""
    if "repair" in stages:
        place = find(s.file)
        if s.cargo_test and not place.is_dir():
            raise ConfigError(f"cargo_test: file={s.file} is one file, which has no tests. Name the project's folder")
    elif s.write or (s.file and "doubts" not in stages):
        raise ConfigError(f"file={s.file} is only used by the stages repair and doubts. Add 'stages=[repair]'")
    if "doubts" in stages:
        subject(s.file, s.tasks, s.edition)
        _check_doubts(s, choices)
    if s.report.runs and tuple(stages) != ("report",):
        raise ConfigError(
            "report.runs makes a page of runs that are there. It is only used with 'stages=[report]' alone"
        )
    if tuple(stages) == ("report",) and not s.report.runs:
        raise ConfigError(
            "stages: report alone makes a page of runs that are there. Say which: report.runs=[<id>,...]. To report "
            "on a new run, add the stages up to gate"
        )
    asking = {"baseline", "evaluate", "repair", "doubts"} & set(stages)
    if asking:
        s.engine.check_machine()
    if asking and s.repair.needs_chances and not s.engine.tells_chances:
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
            "export.measure=true measures the exported GGUF file: it needs the stage export and an engine that loads "
            "such a file (engine=llama_cpp or ollama)"
        )
    if "merge" in stages and "export" not in stages and not s.merge.keep:
        raise ConfigError("stages: merge without export keeps nothing. Add export, or merge.keep=true")
    if "baseline" in stages and not s.routing.routes:
        s.repair.alone().serving([])  # an ensemble says early what it needs
    if s.evaluate.samples and not s.repair.asks:
        raise ConfigError(
            f"evaluate.samples: got {s.evaluate.samples}, but repair={choices['repair']} asks no model that could draw "
            "answers. Use repair=single_shot, or evaluate.samples=0"
        )
    if "train" in stages and not s.repair.asks:
        raise ConfigError("repair=rustfix asks no model, so none can be trained for it. Use repair=single_shot")
    if "train" in stages and s.algo.trains and s.stream.learns:
        s.algo.check_machine(s.train, s.device)
    return _check_data(s, stages, choices, tracker) if "prove" in stages else ()


def _check_data(s: Settings, stages: Sequence[str], choices: dict[str, str], tracker: Tracker) -> tuple[str, ...]:
    pairs = s.data.load()
    if "train" in stages:
        if s.data.own:
            _check_own(s, pairs, choices)
        s.routing.check(choices["engine"])
        s.stream.check(s.algo, s.merge, s.routing, tracker, pairs)
    exam = s.stream.exam(s.tasks.load(), pairs, s.seed)
    panel = s.gate.panel(exam, s.seed) if {"gate", "train"} <= set(stages) else ()
    warnings = [s.data.judged_by(pairs, tuple(dict.fromkeys((*exam, *panel))))]
    if "train" in stages and s.algo.needs_past and choices["stream"] == "single" and not s.data.probe:
        warnings.append(
            f"algo={choices['algo']} is plain fine-tuning here: it protects what was learned before, and "
            f"data={choices['data']} does not ask which pairs the model already passes. Add data=failures, or use "
            "stream=sequential"
        )
    return tuple(filter(None, warnings))


def _check_own(s: Settings, pairs: Pairs, choices: dict[str, str]) -> None:
    """Raises ConfigError for what cannot learn from a user's own pairs."""
    algo, stream = (f"{group}={choices[group]}" for group in ("algo", "stream"))
    if mix := _own_mix(choices["algo"]):
        raise ConfigError(
            f"{algo} is fine-tuning on a mix that it draws itself (data={mix}): with data={choices['data']} nothing of "
            "it is left. Use algo=naive"
        )
    if pairs.chats and s.stream.by_pattern:
        raise ConfigError(
            f"{stream} goes by the patterns of pairs, and the chats in {pairs.name} have none. Use stream=single, or "
            "pairs in the koan format"
        )
    if pairs.chats and s.algo.needs_programs:
        raise ConfigError(
            f"{algo} needs broken programs and their fixes, and the chats in {pairs.name} have none. Use another algo, "
            "or pairs in the koan format"
        )


def _own_mix(algo: str) -> str:
    """The data option that an algorithm's file chooses; "" where it leaves that to config.yaml."""
    file = CONF / "algo" / f"{algo}.yaml"
    chosen: Any = OmegaConf.load(file) if file.is_file() else {}
    overrides = [entry for entry in chosen.get("defaults", []) if not isinstance(entry, str)]
    return next((str(mix) for entry in overrides for key, mix in entry.items() if "/data" in str(key)), "")


def _check_doubts(s: Settings, choices: dict[str, str]) -> None:
    if not s.engine.tells_chances:
        raise ConfigError(
            f"The stage doubts reads where the model doubts, which engine={choices['engine']} does not tell. "
            "Use engine=llama_cpp or transformers"
        )
    if not s.repair.asks:
        raise ConfigError(
            f"repair={choices['repair']} asks no model, so there are no doubts to show. Use repair=search"
        )

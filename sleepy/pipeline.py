"""The stages, in order. Read it as a table of contents: each takes what the ones before it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sleepy.artifacts import Adapter, BaseModel, Comparison, Course, Scores, Served, TaskSet, Verdict
from sleepy.data._pairs import load_pairs
from sleepy.errors import ConfigError
from sleepy.evaluate.harness import write_scores
from sleepy.evaluate.stats import compare
from sleepy.progress import Stages, hush
from sleepy.report._summary import RunSummary
from sleepy.schema import options
from sleepy.stream._learner import Learner
from sleepy.tasks._audit import audit, require_proof
from sleepy.tasks._page import write_audit
from sleepy.tasks.builtin import every_koan
from sleepy.track import _log
from sleepy.track._run import Run
from sleepy.track._sweep import sweep_key
from sleepy.track._tracker import Tracker

NEEDS: dict[str, tuple[str, ...]] = {
    "fetch": (), "prove": (), "audit": ("prove",), "baseline": ("fetch", "prove"), "train": ("baseline",),
    "merge": ("train",), "export": ("merge",), "evaluate": ("export",), "gate": ("evaluate",), "report": ("gate",),
}  # fmt: skip


def run(config: DictConfig) -> None:
    """One job from its composed config: checked whole, then done stage by stage inside one MLflow run.

    Raises ConfigError with every problem of the config before anything is loaded.
    """
    chosen = options(config)
    stages = _stages(chosen["root"].stages)
    if "train" in stages and chosen["algo"].trains:
        chosen["algo"].check_machine(chosen["train"], chosen["root"].device)
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    choices = {k: str(v) for k, v in hydra.runtime.choices.items() if "/" not in k}
    tracker = chosen["track"].open()
    name = " ".join(overrides) or "defaults"
    parent = None
    if hydra.mode == RunMode.MULTIRUN:
        parent = tracker.parent(sweep_key(hydra.sweep.dir), "sweep")
    tags = {
        "experiment": choices.get("experiment", "None").replace("None", ""),
        "algorithm": choices["algo"],
        "model": choices["model"],
        "tasks": choices["tasks"],
        "data": choices["data"],
        "stream": choices["stream"],
    }
    if "fetch" in stages:
        hush()
    with tracker.run(name=name, tags=tags, parent=parent) as tracked:
        resolved: Any = OmegaConf.to_container(config, resolve=True)
        _log.config(tracked, resolved, overrides)
        job = Job(chosen, choices, overrides, Path(hydra.runtime.output_dir), tracker, tracked)
        for stage in stages:
            getattr(job, stage)()
        tracked.metrics({f"seconds/{k}": v for k, v in job.stages.seconds.items()})


def _stages(asked: list[str]) -> list[str]:
    """The stages in the pipeline's order. Raises ConfigError for one that is unknown or lacks what it needs."""
    problems = [f"stages: found {s!r}, expected some of {', '.join(NEEDS)}" for s in asked if s not in NEEDS]
    problems += [
        f"stages: {s} needs {n}, which is not asked for" for s in asked for n in NEEDS.get(s, ()) if n not in asked
    ]
    if problems or not asked:
        raise ConfigError("\n".join(problems) or f"stages: found none, expected some of {', '.join(NEEDS)}")
    return [s for s in NEEDS if s in asked]


class Job:
    """One run on its way through the stages. Each method is a stage; what it makes is an attribute."""

    base: BaseModel
    tasks: TaskSet
    pairs: TaskSet
    before: Scores
    after: Scores
    learner: Learner
    adapter: Adapter | None = None
    course: Course | None = None
    merged: Path
    exported: Any
    comparison: Comparison
    verdict: Verdict

    def __init__(
        self,
        chosen: dict[str, Any],
        choices: dict[str, str],
        overrides: list[str],
        folder: Path,
        tracker: Tracker,
        tracked: Run,
    ) -> None:
        self.chosen, self.choices, self.overrides, self.folder = chosen, choices, overrides, folder
        self.tracker, self.tracked = tracker, tracked
        self.root = chosen["root"]
        self.cache = Path(self.root.cache).expanduser()
        self.stages = Stages()

    def fetch(self) -> None:
        """The model: brought once, mapped afterwards."""
        with self.stages.stage("fetch", unit="model"):
            self.base = self.chosen["model"].fetch(self.cache)

    def prove(self) -> None:
        """Koans, each proven by rustc; pairs are proven when they are drawn."""
        self.pairs = load_pairs()
        self.tasks = self.chosen["stream"].exam(self.chosen["tasks"].load(), self.pairs, self.root.seed)
        self.checker = self.chosen["sandbox"].open(self.cache)
        with self.stages.stage("prove", 2 * len(self.tasks), "check") as done:
            require_proof(self.tasks.tasks, self.checker, done)
        _log.task_set(self.tracked, self.tasks, "evaluation")

    def audit(self) -> None:
        """The exam examined: cheats and near-duplicates too. Raises DataError when anything is found."""
        with self.stages.stage("pairs", 2 * len(self.pairs), "check") as done:
            require_proof(self.pairs.tasks, self.checker, done)
        with self.stages.stage("audit", 3 * len(self.tasks), "check") as done:
            own = {t.id for t in self.tasks}
            others = [t for t in every_koan() if t.id not in own]
            rows, findings = audit(self.tasks.tasks, self.checker, self.pairs.tasks, done, others)
        page = write_audit(self.folder, self.tasks, rows, findings)
        self.tracked.artifact(page)

    def baseline(self) -> None:
        """The untouched model on the koans; measured once for a model, task set, prompt and engine."""
        self.learner = Learner(
            self.chosen, self.root, self.choices["algo"], self.base, self.pairs, self.tasks, self.checker,
            self.tracked, self.stages, self.folder,
        )  # fmt: skip
        self.before = self.learner.measure(self.tasks, stage="baseline")
        _log.scores(self.tracked, self.before, "baseline")
        page = self.chosen["report"].scores(self.folder, self.before, "baseline")
        self.tracked.artifact(page, "report")
        if "report" not in self.root.stages:
            print(f"\n{page.read_text(encoding='utf-8')}\nrun {self.tracked.id}")

    def train(self) -> None:
        """Adapters from mixes, in the stream's order."""
        if self.chosen["algo"].trains:
            self.adapter, self.course = self.chosen["stream"].run(self.learner)
            if self.adapter:  # of a stream's adapters the one that it ends with
                self.tracked.tags({"adapter.digest": self.adapter.digest})
            if self.course:
                _log.course(self.tracked, self.folder, self.course)

    def merge(self) -> None:
        """The adapter added to the weights."""
        with self.stages.stage("merge", unit="model"):
            self.merged = self.chosen["merge"].merge(self.adapter, self.base, self.folder / "merged")

    def export(self) -> None:
        """Files to take away, and the proof that they say what the merged weights say."""
        with self.stages.stage("export", unit="model"):
            prompts = [e.prompt for e in self.learner.examples(self.tasks.tasks[:2])]
            self.exported = self.chosen["export"].export(
                self.merged,
                self.base,
                self.adapter,
                prompts,
                self.folder / "export",
                f"{self.base.name} {self.choices['algo']}",
            )
        _log.export(self.tracked, self.exported)

    def evaluate(self) -> None:
        """The exported model on the same koans."""
        name = f"{self.base.name}+{self.choices['algo']}"
        served = Served(name, self.exported.gguf.path, self.merged, self.exported.gguf.digest)
        self.after = self.learner.measure_export(served)
        write_scores(self.folder / "scores.json", self.after)
        self.chosen["merge"].clean(self.merged, self.base)
        _log.scores(self.tracked, self.after, "eval")

    def gate(self) -> None:
        """Paired, koan by koan: may the result replace what is in use?"""
        with self.stages.stage("gate", unit="verdict"):
            self.comparison = compare(self.before, self.after)
            self.verdict = self.chosen["gate"].decide(self.comparison, self.before, self.after)
            _log.verdict(self.tracked, self.comparison, self.verdict)
            _log.koans(self.tracked, self.before, self.after)
            if self.verdict.promoted and self.adapter is not None:
                self.tracker.promote(self.tracked.id, f"sleepy-{self.base.name}")

    def report(self) -> None:
        """The table in the terminal, and the page with its pictures."""
        code = _log.code(self.tracked)
        with self.stages.stage("report", unit="page"):
            summary = RunSummary(
                name=" ".join(self.overrides) or "defaults",
                overrides=tuple(self.overrides),
                model=self.base.name,
                algorithm=self.choices["algo"],
                tasks=self.tasks,
                before=self.before,
                after=self.after,
                comparison=self.comparison,
                verdict=self.verdict,
                mix=self.learner.mixed,
                adapter=self.adapter,
                gguf=self.exported.gguf,
                proof=self.exported.proof,
                seconds=self.stages.seconds,
                run_id=self.tracked.id,
                ui_line=self.tracker.ui_line(),
                revision=code[0],
                dirty=code[1],
                warnings=tuple(self.exported.warnings),
                course=self.course,
            )
            files = self.chosen["report"].write(self.folder, summary)
            for path in (files.page, *files.pictures):
                self.tracked.artifact(path, "report")
        self.chosen["report"].show(summary, files)
        self.learner.forget()

"""The stages, in order. Read it as a table of contents: each takes what the ones before it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sleepy.artifacts import Adapter, BaseModel, Comparison, HotAdapter, Scores, Served, TaskSet, Verdict, digest_of
from sleepy.errors import ConfigError
from sleepy.evaluate.harness import unrouted
from sleepy.evaluate.stats import compare
from sleepy.exam.audit import audit, require_proof
from sleepy.exam.audit_page import write_audit
from sleepy.exam.builtin import every_koan
from sleepy.options import options
from sleepy.own_code.stage import find, repair_own
from sleepy.pairs.builtin import load_pairs
from sleepy.progress import Stages, hush, say
from sleepy.report.summary import RunSummary
from sleepy.routing.route import accuracy
from sleepy.study.in_use import promote
from sleepy.study.learned import Learned
from sleepy.study.learner import Learner
from sleepy.study.serving import hot_adapters
from sleepy.track import log
from sleepy.track.adapters import adapter_folders
from sleepy.track.run import Run
from sleepy.track.sweep import sweep_key
from sleepy.track.tracker import Tracker

NEEDS: dict[str, tuple[str, ...]] = {
    "fetch": (), "prove": (), "audit": ("prove",), "baseline": ("fetch", "prove"), "train": ("baseline",),
    "merge": ("train",), "export": ("merge",), "evaluate": ("export",), "gate": ("evaluate",), "report": ("gate",),
    "subspace": (), "repair": (),
}  # fmt: skip


def run(config: DictConfig) -> None:
    """One job from its composed config: checked whole, then done stage by stage inside one MLflow run.

    Raises ConfigError with every problem of the config before anything is loaded.
    """
    chosen = options(config)
    stages = _stages(chosen["root"].stages)
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    choices = {k: str(v) for k, v in hydra.runtime.choices.items() if "/" not in k}
    own = find(chosen["root"].file) if "repair" in stages else None
    if own is None and (chosen["root"].file or chosen["root"].write):
        raise ConfigError(f"file: found {chosen['root'].file!r}, but nothing repairs it. Add stages=[repair]")
    if "evaluate" in stages and not chosen["engine"].loads:
        raise ConfigError(
            f"engine: {choices['engine']} as it is set asks a model that is served elsewhere, but stages has evaluate, "
            "where the file made here is asked. Use another engine, or stages=[fetch,prove,baseline]"
        )
    if "train" in stages and chosen["algo"].trains and chosen["stream"].learns:
        chosen["algo"].check_machine(chosen["train"], chosen["root"].device)
    if "baseline" in stages and not chosen["routing"].routes:
        chosen["repair"].serving([])  # an ensemble says early what it needs
    tracker = chosen["track"].open()
    if "train" in stages:
        chosen["routing"].check(choices["engine"])
        chosen["evaluate"].check(chosen["engine"], chosen["routing"])
        chosen["stream"].check(chosen, tracker)
    name = " ".join(overrides) or "defaults"
    parent = None
    if hydra.mode == RunMode.MULTIRUN:
        parent = tracker.parent(sweep_key(hydra.sweep.dir), "sweep")
    tags = {
        "experiment": choices.get("experiment", "None").replace("None", ""),
        "algorithm": choices["algo"],
        **{group: choices[group] for group in ("model", "tasks", "data", "stream", "routing")},
    }
    if "fetch" in stages or own:
        hush()
    with tracker.run(name=name, tags=tags, parent=parent) as tracked:
        resolved: Any = OmegaConf.to_container(config, resolve=True)
        log.config(tracked, resolved, overrides)
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
    learned: Learned = Learned()
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
        self.adapters: dict[str, Adapter] = {}  # several, by pattern, which are routed or made one
        self.hot: tuple[HotAdapter, ...] = ()

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
        log.task_set(self.tracked, self.tasks, "evaluation")

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
        self.learner = self._learner()
        self.before = self.learner.measure(self.tasks, stage="baseline")
        log.scores(self.tracked, self.folder, self.before, "baseline")
        page = self.chosen["report"].scores(self.folder, self.before, "baseline")
        self.tracked.artifact(page, "report")
        if "report" not in self.root.stages:
            print(f"\n{page.read_text(encoding='utf-8')}\nrun {self.tracked.id}")

    def _learner(self) -> Learner:
        return Learner(
            self.chosen, self.root, self.choices["algo"], self.base, self.pairs, self.tasks, self.checker,
            self.tracker, self.tracked, self.stages, self.folder,
        )  # fmt: skip

    def train(self) -> None:
        """Adapters from mixes, in the stream's order."""
        stream = self.chosen["stream"]
        if self.chosen["algo"].trains or not stream.learns:
            learned = stream.run(self.learner)
            self.learned, self.adapter, self.adapters = learned, learned.adapter, learned.adapters
            if self.adapter:  # of a stream's adapters the one that it ends with
                self.tracked.tags({"adapter.digest": self.adapter.digest})
            if learned.course:
                log.course(self.tracked, self.folder, learned.course)

    def merge(self) -> None:
        """Several adapters made one, unless they are routed; the one added to the weights."""
        with self.stages.stage("merge", unit="model"):
            if self.adapters and not self.chosen["routing"].routes:
                several, folder = list(self.adapters.values()), self.folder / "adapter"
                self.adapter = self.chosen["merge"].combine(several, self.base, folder, self.root.seed)
                log.adapter(self.tracked, self.adapter)
                self.tracked.tags({"adapter.digest": self.adapter.digest})
            self.merged = self.chosen["merge"].merge(self.adapter, self.base, self.folder / "merged")

    def export(self) -> None:
        """Files to take away, and the proof that they say what the merged weights say."""
        with self.stages.stage("export", unit="model"):
            prompts = [e.prompt for e in self.learner.examples(self.tasks.tasks)]
            self.exported = self.chosen["export"].export(
                self.merged, self.base, self.adapter, prompts,
                self.folder / "export", f"{self.base.name} {self.choices['algo']}",
            )  # fmt: skip
            if self.chosen["routing"].routes:
                self.hot = hot_adapters(self.adapters, self.base, self.folder / "export" / "adapters")
        log.export(self.tracked, self.exported)

    def evaluate(self) -> None:
        """The exported model on the same koans, its adapters routed where there are several."""
        name, digest = f"{self.base.name}+{self.choices['algo']}", self.exported.gguf.digest
        routing, names, route = self.chosen["routing"], list(self.adapters), unrouted
        if self.adapters and routing.routes:
            digest = digest_of([digest, {n: a.digest for n, a in self.adapters.items()}, routing.identity()])
            route = routing.open(self.pairs, names)
            broken = self.checker.check_all([t.broken_job for t in self.tasks])
            figures = accuracy(route, self.tasks.tasks, broken, names)
            self.tracked.metrics({f"routing/{figure}": value for figure, value in figures.items()})
            say("routing: " + ", ".join(f"{n:g} {word}" for word, n in figures.items() if "share" not in word))
        served = Served(name, self.exported.gguf.path, self.merged, digest, self.hot)
        if self.adapter and self.chosen["evaluate"].adapter == "hot":
            self.after = self.learner.measure(self.tasks, self.adapter)
        else:
            inside = {"": self.adapter} if self.adapter else {}  # in the weights
            self.after = self.learner.measure_export(served, route, self.adapters if self.hot else inside)
        self.chosen["merge"].clean(self.merged, self.base)
        log.scores(self.tracked, self.folder, self.after, "eval")

    def gate(self) -> None:
        """Paired with the untouched model, koan by koan; what is accepted replaces what is in use, if it may."""
        with self.stages.stage("gate", unit="verdict"):
            self.comparison = compare(self.before, self.after)
            history = self.learned.history  # a stream of cycles has asked the gate itself, on other koans
            gate = self.chosen["gate"]
            self.verdict = history.verdict if history else gate.decide(self.comparison, self.before, self.after)
            log.verdict(self.tracked, self.comparison, self.verdict)
            log.koans(self.tracked, self.before, self.after)
        if self.verdict.promoted and self.adapter is not None:
            step = "" if self.adapters else self.adapter.folder.relative_to(self.folder).parent
            promote(self.learner, None if history else gate, self.adapter, self.after, Path("adapter", step))

    def report(self) -> None:
        """The table in the terminal, and the page with its pictures."""
        code = log.code(self.tracked)
        with self.stages.stage("report", unit="page"):
            summary = RunSummary(
                name=" ".join(self.overrides) or "defaults",
                overrides=tuple(self.overrides),
                model=self.base.name,
                algorithm=self._made(),
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
                course=self.learned.course,
                history=self.learned.history,
            )
            files = self.chosen["report"].write(self.folder, summary)
            for path in (files.page, *files.pictures):
                self.tracked.artifact(path, "report")
        self.chosen["report"].show(summary, files)
        self.learner.forget()

    def _made(self) -> str:
        """How the model came about, in a few words."""
        if not self.adapters:
            return self.choices["algo"]
        way = next(f"{group}={self.choices[group]}" for group in ("routing", "merge") if self.choices[group] != "none")
        return f"{self.choices['algo']}, {len(self.adapters)} adapter{'s' * (len(self.adapters) > 1)}, {way}"

    def repair(self) -> None:
        """A user's own file or project, repaired by the adapter that was promoted."""
        self.fetch()
        self.checker = self.chosen["sandbox"].open(self.cache)
        self.pairs = self.tasks = TaskSet("own", "", ())
        diff = repair_own(self._learner(), find(self.root.file))
        self.tracked.text(diff, "repair.diff")
        print(diff, end="")

    def subspace(self) -> None:
        """What several adapters have in common, beside chance and their mean."""
        option = self.chosen["subspace"]
        findings = option.analyse(adapter_folders(self.tracker, option.runs), self.root.seed, self.stages)
        self.tracked.metrics(option.metrics(findings))
        with self.stages.stage("draw", unit="page"):
            files = option.write(self.folder, findings)
            for path in files:
                self.tracked.artifact(path, "subspace")
        option.show(findings, files[0], self.tracker.ui_line())

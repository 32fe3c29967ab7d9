"""What a run does again and again, whatever the stream: mix, train, measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sleepy.artifacts import Adapter, BaseModel, Completion, Mix, Prompt, Scores, Served, Task, TaskSet, digest_of
from sleepy.episodes.record import recorder
from sleepy.episodes.store import open_episodes
from sleepy.evaluate.harness import cached, evaluate
from sleepy.exam.audit import require_proof
from sleepy.options import Root
from sleepy.pairs.builtin import sample
from sleepy.pairs.mix import outcomes
from sleepy.progress import Stages
from sleepy.repair.strategy import Strategy
from sleepy.routing.route import Route
from sleepy.sandbox.checker import Checker, Judge
from sleepy.study.serving import hot_adapters, merged
from sleepy.track import log
from sleepy.track.run import Run
from sleepy.track.tracker import Tracker
from sleepy.train.batches import Example
from sleepy.train.device import give_back_memory, release_base
from sleepy.train.settings import Train
from sleepy.train.trainer import MEMORY, NOTHING, Past, Tools


@dataclass
class Learner:
    """The base model with everything that trains and measures it. `options` are the run's, by group; `algorithm` is
    the name of the choice; `exam` is what results are measured on; `again` says that the next training wants the same
    base model, which then stays in memory."""

    options: dict[str, Any]
    root: Root
    algorithm: str
    base: BaseModel
    pairs: TaskSet
    exam: TaskSet
    checker: Checker
    tracker: Tracker
    tracked: Run
    stages: Stages
    folder: Path
    mixed: Mix | None = None
    places: list[Path] = field(default_factory=list)
    adapters: dict[Path, Adapter] = field(default_factory=dict)
    trained: int = 0
    again: bool = False

    @property
    def cache(self) -> Path:
        """Folder of models and of what was measured once."""
        return Path(self.root.cache).expanduser()

    def prove(self, pairs: Sequence[Task]) -> None:
        """Raises DataError for pairs that are not what they claim to be."""
        with self.stages.stage("pairs", 2 * len(pairs), "check") as done:
            require_proof(pairs, self.checker, done)

    def examples(self, tasks: Sequence[Task]) -> list[Example]:
        """Tasks as the model sees them in training."""
        repair = self.options["repair"]
        broken = self.checker.check_all([t.broken_job for t in tasks])
        return [Example(repair.first(t, b), repair.answer(t.fix), t) for t, b in zip(tasks, broken, strict=True)]

    def mix(
        self, pairs: TaskSet, seed: int, adapter: Adapter | None = None, earlier: Sequence[Task] = ()
    ) -> tuple[Mix, list[Task]]:
        """A mix from `pairs`, and the pairs among those asked that the model (with `adapter`) passes already.
        `earlier`: the pairs of a stream's tasks before."""
        data, probed = self.options["data"], None
        if data.probe:
            asked = sample(pairs, data.probe, seed)
            self.prove(asked.tasks)
            probed = self.measure(asked, adapter, "probe")
        mix = data.compose(pairs, probed, seed, earlier)
        self.prove(tuple(dict.fromkeys(mix.examples)))
        self.mixed = mix
        return mix, outcomes(pairs, probed)[0] if probed else []

    def learn(self, mix: Mix, past: Past = NOTHING, *, name: str = "", train: Train | None = None) -> Adapter:
        """An adapter trained on `mix` after `past`, under `name` in the run's folder. What determines the result
        names its checkpoint, so a killed run goes on where it was."""
        settings = (train or self.options["train"]).on(len(mix.examples))
        algorithm, folder = self.options["algo"], self.folder / name
        record = {
            "base": self.base.digest,
            "algo": self.algorithm,
            "algo_options": asdict(algorithm),
            "lora": asdict(self.options["lora"]),
            "train": asdict(settings),
            "seed": self.root.seed,
            "device": self.root.device,
            "mix": mix.digest,
            "prompt": self.options["repair"].identity(),
            "checker": self.checker.identity,
            "reads": algorithm.reads(),
            "packages": {name: version(name) for name in ("torch", "transformers", "peft")},
            "past": past.identity(),
            **({"engine": self.options["engine"].identity()} if algorithm.asks else {}),
        }
        place = Path(self.root.checkpoints) / digest_of(record)[:16]
        self.places.append(place)
        log.mix(self.tracked, folder, mix, name)
        with self.stages.stage("train", settings.steps, "step") as done:

            def on_step(step: int, loss: float) -> None:
                done(loss=f"{loss:.3f}")
                figures = {"train/loss": loss, "train/lr": settings.rate(step)}
                self.tracked.metrics(figures, step=self.trained + step + 1)

            adapter: Adapter = algorithm.fit(
                self.base,
                self.examples(mix.examples),
                lora=self.options["lora"],
                train=settings,
                device=self.root.device,
                seed=self.root.seed,
                folder=folder / "adapter",
                place=place,
                record=record,
                past=past,
                tools=self._tools(past),
                on_step=on_step,
            )
        if not self.again:
            release_base()
        give_back_memory()
        self.trained += settings.steps
        self.adapters[adapter.folder] = adapter
        log.adapter(self.tracked, adapter, name)
        return adapter

    def together(self, adapters: Mapping[str, Adapter]) -> dict[str, Adapter]:
        """Several adapters, by name, as the algorithm wants them used: a method that shares makes each anew."""
        folder = self.folder / "together"
        found, figures = self.options["algo"].together(adapters, self.base, folder)
        self.tracked.metrics({"adapters": len(found), **figures})
        if (folder / MEMORY).is_dir():
            self.tracked.artifact(folder / MEMORY)
        return dict(found)

    def measure(
        self, tasks: TaskSet, adapter: Adapter | None = None, stage: str = "evaluate", judge: Judge | None = None
    ) -> Scores:
        """Scores of the base model, or of it with `adapter`, by `judge` (none: the sandbox). Measured once for each
        model, task set, prompt and engine, whichever run asks."""
        judge = judge or self.checker
        engine, repair = self.options["engine"], self.options["repair"]
        repair = repair if adapter else repair.alone()
        ready: AbstractContextManager[Served]
        if adapter and self.options["evaluate"].merges(len(tasks), self.base, adapter, engine):
            merge, export = self.options["merge"], self.options["export"]
            digest = digest_of([self.base.digest, adapter.digest, export.quantization])
            served = replace(self.served([]), digest=digest)
            ready = merged(served, adapter, self.base, merge, export, self.folder)
        else:
            served = self.served([adapter] if adapter else [])
            ready = nullcontext(served)
        name = served.adapters[0].name if served.adapters else ""
        digests = {name: adapter.digest} if adapter else {}

        def measure() -> Scores:
            with ready as model:
                return self._measure(stage, model, tasks, repair, lambda task, broken: name, digests, judge)

        scores, known = cached(self.cache / "baselines", served, tasks, engine, repair, judge, measure)
        if known:
            with self.stages.stage(stage, len(tasks), "koan"):
                pass
        return scores

    def served(self, adapters: Sequence[Adapter]) -> Served:
        """The base model with adapters that a prompt names by the first 16 letters of their digest."""
        hot = hot_adapters({a.digest[:16]: a for a in adapters}, self.base, self.folder / "hot")
        digest = digest_of([self.base.digest, *(a.digest for a in adapters)]) if adapters else self.base.digest
        return Served(self.base.name, self.base.gguf, self.base.weights, digest, hot)

    def _measure(
        self,
        stage: str,
        served: Served,
        tasks: TaskSet,
        repair: Strategy,
        route: Route,
        digests: Mapping[str, str],
        judge: Judge,
    ) -> Scores:
        with (
            self.stages.stage(stage, len(tasks), "koan") as done,
            open_episodes(Path(self.root.episodes).expanduser()) as store,
        ):
            record = recorder(store, self.tracked.id, served.digest, digests)
            return evaluate(served, tasks, self.options["engine"], repair, judge, done, route, record)

    def _tools(self, past: Past) -> Tools:
        """What an algorithm may ask while it learns after `past`."""

        def ask(prompts: Sequence[Prompt], latest: bool) -> list[Completion]:
            served = self.served([self.adapters[past.adapter]] if latest and past.adapter else [])
            name = served.adapters[0].name if served.adapters else ""
            with (
                self.stages.stage("ask", len(prompts), "prompt") as done,
                self.options["engine"].open(served) as session,
            ):
                found: list[Completion] = session.generate(
                    [replace(p, adapter=name) for p in prompts], lambda *_: done()
                )
            return found

        return Tools(self.checker.check_all, ask, self.options["repair"].program, self.examples)

    def measure_export(self, served: Served, route: Route, adapters: Mapping[str, Adapter]) -> Scores:
        """Scores of an exported model, served with `adapters`, on the exam."""
        digests = {name: adapter.digest for name, adapter in adapters.items()}
        return self._measure("evaluate", served, self.exam, self.options["repair"], route, digests, self.checker)

    def forget(self) -> None:
        """Remove the checkpoints of a run that has come to its end."""
        for place in self.places:
            self.options["algo"].forget(place)

"""What every stream does again and again: make a mix, train on it, measure what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from sleepy.adapters.folder import adapter_in
from sleepy.artifacts import Adapter, BaseModel, Completion, Prompt, Task, TaskSet, digest_of
from sleepy.evaluate.ability import Ability, ability
from sleepy.evaluate.candidates import Adapted, Base, C, Candidate, Measured
from sleepy.evaluate.examiner import Examiner
from sleepy.exam.audit import require_proof
from sleepy.gate.gate import Gate, Verdict
from sleepy.pairs.builtin import sample
from sleepy.pairs.material import Chat, Mix, Pairs
from sleepy.pairs.mix import Data, outcomes
from sleepy.progress import Stages, say
from sleepy.sandbox.checker import Checker
from sleepy.track import log
from sleepy.track.run import Run
from sleepy.track.tracker import Tracker
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Example, of_chat
from sleepy.train.checkpoint import not_resumed
from sleepy.train.device import give_back_memory, pick_device, release_base
from sleepy.train.lora import Lora
from sleepy.train.settings import Train
from sleepy.train.trainer import MEMORY, NOTHING, Past, Tools
from sleepy.train.training import Training
from sleepy.train.unseen import unseen_loss


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How adapters are made: what the user chose. `name` is the algorithm's, as chosen; `checkpoints` is the folder of
    all checkpoints. `ability`: whether general texts are asked of each adapter."""

    name: str
    algo: Algorithm
    lora: Lora
    train: Train
    data: Data
    seed: int
    device: str
    checkpoints: Path
    ability: bool


@dataclass(kw_only=True)
class Lab:
    """A base model with everything that trains and measures it.

    exam: what results are measured on. panel: what the gate decides on.
    folder: what is made goes there. run: where it is recorded.
    keep_base: the next training wants the same base model, so it stays in memory.
    steps_done, checkpoints: of all trainings so far.
    """

    recipe: Recipe
    base: BaseModel
    pairs: Pairs
    exam: TaskSet
    panel: TaskSet
    gate: Gate
    checker: Checker
    examiner: Examiner
    tracker: Tracker
    run: Run
    stages: Stages
    folder: Path
    keep_base: bool = False
    steps_done: int = 0
    checkpoints: list[Path] = field(default_factory=list)

    def child(self, name: str, run: Run) -> Lab:
        """This lab for a child run: with a folder and a count of steps of its own. Checkpoints are noted here too."""
        examiner = replace(self.examiner, run=run.id)
        return replace(
            self, run=run, examiner=examiner, folder=self.folder / "adapters" / name, steps_done=0, keep_base=True
        )

    def measure(self, candidate: C, tasks: TaskSet, stage: str = "evaluate") -> Measured[C]:
        """A candidate's scores: see Examiner.measure."""
        return self.examiner.measure(candidate, tasks, stage)

    def judge(self, before: Measured[Candidate], after: Measured[C]) -> Verdict[C]:
        """The gate's verdict on what `after` measured, also by general texts where the gate limits what they show."""
        verdict = self.gate.judge(before, after)
        if self.gate.max_kl is None or not verdict.promoted:
            return verdict
        found = [self.ability(adapter) for adapter in after.candidate.adapters.values()]
        return self.gate.limited(verdict, None if None in found else max((a.kl for a in found if a), default=0.0))

    def ability(self, adapter: Adapter) -> Ability | None:
        """What general texts say of an adapter, measured once; None, with a word to the user, for want of memory."""
        with self.stages.stage("ability", unit="adapter"):
            found = ability(adapter, self.base, self.recipe.device, self.examiner.known)
        if found is None:
            say(f"General texts not asked: {self.base.name} in float32 does not fit the free memory. ability=false")
        return found

    def candidate(self, adapter: Adapter | None) -> Base | Adapted:
        """The base model, with an adapter on it if there is one."""
        return Adapted(self.base, adapter) if adapter else Base(self.base)

    def prove(self, pairs: Sequence[Task]) -> None:
        """Raises DataError for pairs that are not what they claim to be."""
        with self.stages.stage("pairs", 2 * len(pairs), "check") as done:
            require_proof(pairs, self.checker, done, self.pairs.places)

    def examples(self, pairs: Sequence[Task | Chat]) -> list[Example]:
        """Pairs as the model sees them in training."""
        asked = iter(self._asked([pair for pair in pairs if isinstance(pair, Task)]))
        return [of_chat(pair) if isinstance(pair, Chat) else next(asked) for pair in pairs]

    def _asked(self, tasks: Sequence[Task]) -> list[Example]:
        """Tasks as the model would be asked about them, or as they are where rustc's own suggestions would leave
        nothing to ask."""
        repair, jobs = self.examiner.repair, [t.broken_job for t in tasks]
        checks = self.checker.check_all(jobs)
        found = []
        for task, broken, begun in zip(tasks, checks, repair.begin(self.checker, jobs, checks), strict=True):
            program, check = (task.broken, broken) if begun[1].compiles else begun
            found.append(Example(repair.first(replace(task, broken=program), check), repair.answer(task.fix), task))
        return found

    def mix(
        self, pairs: TaskSet, seed: int | str, learner: Candidate, earlier: Sequence[Task] = ()
    ) -> tuple[Mix, list[Task]]:
        """A mix from `pairs`, and the pairs among those asked that `learner` passes already. `earlier`: the pairs of a
        stream's tasks before. Raises NothingToLearn, and DataError for pairs that are not what they claim to be."""
        data, probed = self.recipe.data, None
        if data.probe:
            asked = sample(pairs, data.probe, seed)
            self.prove(asked.tasks)
            probed = self.measure(learner, asked, "probe").scores
        mix = data.compose(pairs, probed, seed, earlier)
        if tasks := tuple(dict.fromkeys(pair for pair in mix.examples if isinstance(pair, Task))):
            self.prove(tasks)
        return mix, outcomes(pairs, probed)[0] if probed else []

    def past(self, passed: Sequence[Task]) -> Past:
        """A past of one step: what the base model can do already."""
        return Past((tuple(self.examples(passed)),)) if passed else NOTHING

    def learn(
        self, mix: Mix, past: Past = NOTHING, *, name: str = "", train: Train | None = None, alone: bool = False
    ) -> Adapter:
        """An adapter trained on `mix` after `past`, under `name` in the lab's folder. Everything that determines the
        result names its checkpoint, so a killed run resumes where it was. `alone`: no other mix is learned."""
        recipe, folder = self.recipe, self.folder / name
        settings = recipe.algo.planned(train or recipe.train, mix.examples, alone=alone)
        record = self._record(mix, past, settings)
        if alone and recipe.algo.splits:
            record["alone"] = True
        checkpoint = recipe.checkpoints / digest_of(record)[:16]
        if why := not_resumed(checkpoint, record, self.checkpoints):
            say(why)
        self.checkpoints.append(checkpoint)
        log.mix(self.run, folder, mix, name)
        with self.stages.stage("train", settings.steps, "step") as done:

            def on_step(step: int, loss: float, rate: float | None = None) -> None:
                done(loss=f"{loss:.3f}")
                figures = {"train/loss": loss, "train/lr": settings.rate(step) if rate is None else rate}
                self.run.metrics(figures, step=self.steps_done + step + 1)

            adapter = recipe.algo.fit(
                Training(
                    base=self.base,
                    examples=self.examples(mix.examples),
                    lora=recipe.lora,
                    settings=settings,
                    device=recipe.device,
                    seed=recipe.seed,
                    folder=folder / "adapter",
                    checkpoint=checkpoint,
                    record=record,
                    past=past,
                    tools=self._tools(past),
                    alone=alone,
                    on_step=on_step,
                )
            )
        if not self.keep_base:
            release_base()
        give_back_memory()
        self.steps_done += settings.steps
        log.adapter(self.run, adapter, name)
        if recipe.ability and (found := self.ability(adapter)):
            log.ability(self.run, found, self.steps_done)
        return adapter

    def unseen_loss(self, adapter: Adapter) -> dict[str, float]:
        """Figures of the pairs that were held out: how many, and the loss of an answer token without and with
        `adapter`; none where nothing was held out."""
        recipe, unseen = self.recipe, self.pairs.unseen
        if not unseen:
            return {}
        with self.stages.stage("held out", unit="loss"):
            count, before, after = unseen_loss(adapter, self.base, self.examples(unseen), recipe.train, recipe.device)
        release_base()
        give_back_memory()
        if not count:
            say(f"held out: all of {len(unseen)} pairs are longer than train.max_length={recipe.train.max_length}")
            return {}
        say(f"held out: loss of an answer token {before:.3f} before, {after:.3f} after, over {count} pairs")
        return {"pairs": count, "loss_before": before, "loss": after}

    def together(self, adapters: Mapping[str, Adapter]) -> dict[str, Adapter]:
        """Several adapters, by name, as the algorithm wants them used: a method that shares a basis rebuilds each."""
        folder = self.folder / "together"
        found, figures = self.recipe.algo.together(adapters, self.base, folder)
        self.run.metrics({"adapters": len(found), **figures})
        if (folder / MEMORY).is_dir():
            self.run.artifact(folder / MEMORY)
        return dict(found)

    def forget_checkpoints(self) -> None:
        """Remove the checkpoints of a run that has come to its end."""
        for checkpoint in self.checkpoints:
            self.recipe.algo.forget(checkpoint)

    def _record(self, mix: Mix, past: Past, settings: Train) -> dict[str, object]:
        """Everything that determines what a training gives."""
        recipe, algo = self.recipe, self.recipe.algo
        packages = [*algo.packages, *(["bitsandbytes"] if settings.quantization == "nf4" else [])]
        return {
            "base": self.base.digest,
            "algo": recipe.name,
            "algo_options": asdict(algo),
            "lora": asdict(recipe.lora),
            "train": {k: v for k, v in asdict(settings).items() if k != "checkpoint_every"},
            "seed": recipe.seed,
            "device": pick_device(recipe.device),
            "mix": mix.digest,
            "prompt": self.examiner.repair.identity(),
            "checker": self.checker.identity,
            "reads": algo.reads(),
            "packages": {name: version(name) for name in packages},
            "past": past.identity(),
            **({"engine": self.examiner.engine.identity()} if algo.asks else {}),
        }

    def _tools(self, past: Past) -> Tools:
        """What an algorithm may ask while it learns after `past`."""

        def ask(prompts: Sequence[Prompt], latest: bool) -> list[Completion]:
            adapter = adapter_in(past.adapter, self.base) if latest and past.adapter else None
            return self.examiner.ask(self.candidate(adapter), prompts)

        return Tools(self.checker.check_all, ask, self.examiner.repair.program, self.examples)

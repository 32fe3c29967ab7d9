"""Share: one low-rank basis for all tasks, and a few coefficients for each (Kaushik et al. 2026, arXiv 2602.06043)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from sleepy.adapters.find import find_adapters
from sleepy.adapters.folder import read_all, seal, write_lora
from sleepy.artifacts import Adapter, BaseModel, Task, digest_of_file
from sleepy.errors import DataError
from sleepy.options import choice, ranged
from sleepy.pairs.material import Chat
from sleepy.progress import say
from sleepy.train import _share_lora as files
from sleepy.train._share_phases import Phases
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Example
from sleepy.train.settings import Train
from sleepy.train.shared_basis import Rule, Shared, build
from sleepy.train.trainer import Trainer
from sleepy.train.training import MEMORY, Past, Training


@dataclass(frozen=True, kw_only=True)
class Share(Algorithm):
    """Phase 1 makes the basis from existing adapters. Phase 2 trains B = [beta, tau] eps and A^T = [alpha, tau'] eps'
    with the basis frozen: p (k + k') coefficients and phi (n + d + 2p) for the temporary factors tau of a layer.
    Phase 3 then decomposes all adapters again.

    In a single run the families or patterns of the mix are the tasks. Phase 1 trains an ordinary LoRA for each and
    makes the basis of them; phases 2 and 3 go over the tasks once more, each from its own coefficients. The result is
    the mean of the tasks' adapters. With `routing=` each koan is answered by its task's own instead.

    In a stream the first step trains an ordinary LoRA. Each later step is phases 2 and 3 of a new task, and writes its
    adapter of rank p. Each task is answered with its own coefficients, tasks to come with the newest adapter.

    The paper's basis (variance=0.6, p a third of lora.r) loses most of an adapter. About variance^2 of ||dW||^2 is
    kept, since B and A are decomposed apart, and less where p is below lora.r.

    k: number of directions of the basis in each layer. 0 takes as many as explain `variance`, but never more than the
        adapters have (at least 0).
    variance: share of the adapters' variance that the basis explains (above 0, at most 1).
    p: rank of a task in the basis. 0 takes that of the adapters (at least 0).
    phi: number of temporary factors. At most a quarter of a layer's k are used, but always one. With 0 only the
        coefficients train, and the basis stays as it is (at least 0).
    centre: take the mean column out before the decomposition, and keep its direction as one more.
    by: what the tasks of a single run are, "family" or "pattern". "auto" takes families where the mix has several.
    adapters: PEFT folders, or folders that contain some, to make the basis from; a single run is then one further task.
        With [] the basis is made of what the run trains.
    """

    k: int = ranged(0, at_least=0)
    variance: float = ranged(0.95, above=0, at_most=1)
    p: int = ranged(0, at_least=0)
    phi: int = ranged(1, at_least=0)
    centre: bool = False
    by: str = choice("auto", "family", "pattern")
    adapters: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """What the fields' own bounds cannot say."""
        empty = [place for place in self.adapters if not find_adapters([place])]
        return [f"adapters: there is no PEFT adapter in {place}" for place in empty]

    def reads(self) -> list[str]:
        """See Algorithm.reads: of the adapters that the basis is made from."""
        folders = find_adapters(self.adapters).values() if self.adapters else []
        return [digest_of_file(path) for folder in folders for path in sorted(folder.glob("adapter_*"))]

    @property
    def splits(self) -> bool:
        """See Algorithm.splits."""
        return not self.adapters

    def planned(self, train: Train, mix: Sequence[Task | Chat], *, alone: bool) -> Train:
        """See Algorithm.planned: each task has a step in phase 1 and one in phase 2. Raises DataError for one task."""
        settings = train.on(len(mix))
        if not (alone and self.splits):
            return settings
        by = self._kind([pair for pair in mix if isinstance(pair, Task)])
        tasks = sorted({getattr(pair, by) for pair in mix if isinstance(pair, Task)})
        several = {"family": "families", "pattern": "patterns"}[by]
        if len(tasks) < 2:
            told = f"all {len(mix)} pairs of the mix are of the {by} {tasks[0]}" if tasks else "chats have none"
            raise DataError(
                f"algo=share makes a basis for several {several}, but {told}. Use data that has several, or algo=naive"
            )
        if settings.steps < 2 * len(tasks):
            say(
                f"share: {settings.steps} steps are too few for {len(tasks)} {several}, each of which needs one in "
                f"phase 1 and one in phase 2: training takes {2 * len(tasks)}"
            )
        return replace(settings, steps=max(settings.steps, 2 * len(tasks)))

    def fit(self, training: Training) -> Adapter:
        """See Algorithm.fit: in a single run, all phases over the tasks of the mix."""
        if not (training.alone and self.splits):
            return super().fit(training)
        by, tasks = self._kind([e.task for e in training.examples if e.task]), dict[str, list[Example]]()
        for example in training.examples:
            if example.task:
                tasks.setdefault(getattr(example.task, by), []).append(example)
        return Phases(training, dict(sorted(tasks.items())), self._rule, self.p, self.phi).run()

    def _kind(self, pairs: Sequence[Task]) -> str:
        """Which field of a pair names its task."""
        return ("family" if len({pair.family for pair in pairs}) > 1 else "pattern") if self.by == "auto" else self.by

    def adapt(self, model: Any, training: Training) -> tuple[Any, Shared | None]:
        """Phase 2's layers, or an ordinary LoRA where there is no basis yet; and that basis."""
        earlier, lora = self._earlier(training.past), training.lora
        if earlier is None:
            say("share: there is no adapter yet, so an ordinary LoRA trains and the basis is made of it")
            return super().adapt(model, training)
        wrapped = replace(lora, r=earlier.p, alpha=lora.alpha * earlier.p / lora.r).wrap(model)
        files.factorise(wrapped, earlier, self.phi)
        return wrapped, earlier

    def write(self, trainer: Trainer[Shared | None]) -> None:
        """The new task's adapter, multiplied out."""
        if trainer.state is None:
            super().write(trainer)
        else:
            write_lora(files.factors_of(trainer.model), trainer.training.folder, trainer.training.base.name)

    def end(self, trainer: Trainer[Shared | None]) -> None:
        """Phase 1 after the first step, phase 3 after each further one."""
        earlier, own = trainer.state, files.factors_of(trainer.model)
        known = earlier.tasks if earlier else {}
        task = next(name for i in count(len(known) + 1) if (name := f"task_{i}") not in known)
        if earlier is None:
            shared = build({task: own}, self._rule, self.p)
        else:
            shared = earlier.grown(task, own, self._rule) if self.phi else earlier.joined(task, own)
        files.save(shared, trainer.training.memory)
        size = shared.storage()
        say(
            f"share: {len(shared.tasks)} tasks in {size.shared / 1e6:.2f} MB instead of {size.adapters / 1e6:.2f}, one "
            f"more takes {size.one_more / 1e3:.1f} kB; the basis loses {shared.error(task, own):.1%} of this adapter"
        )

    def together(
        self, adapters: Mapping[str, Adapter], base: BaseModel, folder: Path
    ) -> tuple[dict[str, Adapter], dict[str, float]]:
        """Phase 1 over all of them: each becomes its reconstruction. The basis is their memory."""
        own = read_all({name: adapter.folder for name, adapter in adapters.items()})
        shared = build(own, self._rule, self.p)
        files.save(shared, folder / MEMORY)
        size, layers = shared.storage(), shared.layers.values()
        ks = [side.shape[1] for layer in layers for side in (layer.beta, layer.alpha)]
        say(
            f"share: {len(own)} adapters in {size.shared / 1e6:.2f} MB instead of {size.adapters / 1e6:.2f}, one more "
            f"takes {size.one_more / 1e3:.1f} kB; k is {sum(ks) / len(ks):.1f} on average, p is {shared.p}"
        )
        found, figures = {}, {}
        for name, adapter in adapters.items():
            found[name] = self._written(shared, name, adapter, base, folder / "adapters" / name)
            figures[f"share/error/{name}"] = shared.error(name, own[name])
            say(f"share: the basis loses {figures[f'share/error/{name}']:.1%} of {name}")
        figures["share/error"] = sum(figures.values()) / len(figures)
        figures |= {"share/k": sum(ks) / len(ks), "share/p": shared.p}
        return found, figures | {f"share/bytes_{part}": count for part, count in size._asdict().items()}

    def each_task(self, adapter: Adapter, base: BaseModel, folder: Path) -> dict[str, Adapter]:
        """See Algorithm.each_task: what the memory has of each."""
        shared = files.load(adapter.folder / MEMORY)
        return {task: self._written(shared, task, adapter, base, folder / task) for task in shared.tasks}

    def _written(self, shared: Shared, task: str, adapter: Adapter, base: BaseModel, folder: Path) -> Adapter:
        write_lora(shared.adapter(task), folder, base.name)
        digest = seal(folder, base, {"share": asdict(self), "of": adapter.digest})
        return replace(adapter, folder=folder, digest=digest)

    @property
    def _rule(self) -> Rule:
        return Rule(self.k, self.variance, self.centre)

    def _earlier(self, past: Past) -> Shared | None:
        if past.memory:
            return files.load(past.memory)
        adapters = read_all(find_adapters(self.adapters)) if self.adapters else {}
        if not adapters:
            return None
        shared = build(adapters, self._rule, self.p)
        for task, adapter in adapters.items():
            say(f"share: the basis loses {shared.error(task, adapter):.1%} of {task}")
        return shared

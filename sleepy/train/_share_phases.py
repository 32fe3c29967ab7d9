"""Share in a single run: the tasks of one mix go through all three phases and come out as one shared model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sleepy.adapters.folder import read_all, read_lora, seal, write_lora
from sleepy.artifacts import Adapter
from sleepy.progress import say
from sleepy.train import _share_lora as files
from sleepy.train.algorithm import Algorithm
from sleepy.train.batches import Example
from sleepy.train.sft import Sft
from sleepy.train.shared_basis import Rule, Shared, build
from sleepy.train.trainer import Trainer
from sleepy.train.training import NOTHING, Training


@dataclass(frozen=True)
class Phases:
    """The three phases over `tasks` (name -> its examples). Half of the training's steps are phase 1's, half are phase
    2's; each half is divided among the tasks by their number of examples. `rule`, `p` and `phi` are Share's."""

    training: Training
    tasks: Mapping[str, Sequence[Example]]
    rule: Rule
    p: int
    phi: int

    def run(self) -> Adapter:
        """The mean of the tasks' adapters, with the basis and all coefficients as its memory."""
        training = self.training
        first, second = (self._divided(half) for half in halves(training.settings.steps))
        done, trained = 0, list[Adapter]()
        for task, steps in first.items():
            trained.append(self._fit(Sft(), "phase_1", task, steps, done))
            done += steps
        plain = read_all({task: adapter.folder for task, adapter in zip(first, trained, strict=True)})
        shared = build(plain, self.rule, self.p)
        self._tell(shared, plain, "phase 1")
        own = dict(plain)
        for task, steps in second.items():
            adapter = self._fit(_Going(shared, task, self.phi), "phase_2", task, steps, done)
            done += steps
            trained.append(adapter)
            own[task] = read_lora(adapter.folder)
            shared = shared.grown(task, own[task], self.rule) if self.phi else shared.joined(task, own[task])
        self._tell(shared, own, "phase 3")
        write_lora(shared.average(), training.folder, training.base.name)
        files.save(shared, training.memory)
        return replace(
            trained[0],
            folder=training.folder,
            digest=seal(training.folder, training.base, training.record),
            losses=tuple(loss for adapter in trained for loss in adapter.losses),
            seconds=sum(adapter.seconds for adapter in trained),
            trainable=max(adapter.trainable for adapter in trained),
            tokens=sum(adapter.tokens for adapter in trained),
            resumed=sum(adapter.resumed for adapter in trained),
        )

    def _fit(self, algorithm: Algorithm, phase: str, task: str, steps: int, done: int) -> Adapter:
        """One task's training. It lies in the folder of the checkpoint: only the result is kept. All begin with the
        same seed, and so from the same A, which the basis then has once."""
        outer = self.training
        settings, place = replace(outer.settings, steps=steps), outer.checkpoint / phase / task

        def on_step(step: int, loss: float) -> None:
            outer.on_step(done + step, loss, settings.rate(step))

        return algorithm.fit(
            replace(
                outer,
                examples=self.tasks[task],
                settings=settings,
                folder=place / "adapter",
                checkpoint=place,
                past=NOTHING,
                on_step=on_step,
            )
        )

    def _divided(self, total: int) -> dict[str, int]:
        """`total` steps by task: one each, the rest by their number of examples (largest remainder)."""
        examples = sum(len(own) for own in self.tasks.values())
        rest = total - len(self.tasks)
        exact = {task: rest * len(own) / examples for task, own in self.tasks.items()}
        steps = {task: 1 + int(share) for task, share in exact.items()}
        order = sorted(exact, key=lambda task: (int(exact[task]) - exact[task], task))
        for task in order[: total - sum(steps.values())]:
            steps[task] += 1
        return steps

    def _tell(self, shared: Shared, own: Mapping[str, Any], when: str) -> None:
        size, layers = shared.storage(), shared.layers.values()
        ks = [side.shape[1] for layer in layers for side in (layer.beta, layer.alpha)]
        lost = ", ".join(f"{task} {shared.error(task, adapter):.1%}" for task, adapter in own.items())
        say(
            f"share, {when}: {len(shared.tasks)} tasks in {size.shared / 1e6:.2f} MB instead of "
            f"{size.adapters / 1e6:.2f}, one more takes {size.one_more / 1e3:.1f} kB; k is {sum(ks) / len(ks):.1f} on "
            f"average, p is {shared.p}; the basis loses of {lost}"
        )


@dataclass(frozen=True)
class _Going(Algorithm):
    """Phase 2 of a task that `shared` has: it goes on from the coefficients of phase 1, with temporary factors."""

    shared: Shared
    task: str
    phi: int

    def adapt(self, model: Any, training: Training) -> tuple[Any, None]:
        """See Algorithm.adapt."""
        lora, p = training.lora, self.shared.p
        wrapped = replace(lora, r=p, alpha=lora.alpha * p / lora.r).wrap(model)
        files.factorise(wrapped, self.shared, self.phi, self.task)
        return wrapped, None

    def write(self, trainer: Trainer) -> None:
        """See Algorithm.write: the task's adapter, multiplied out."""
        write_lora(files.factors_of(trainer.model), trainer.training.folder, trainer.training.base.name)


def halves(steps: int) -> tuple[int, int]:
    """The steps of phase 1 and of phase 2."""
    return steps - steps // 2, steps // 2

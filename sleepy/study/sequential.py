"""Task after task: what a continual learner gains, and what it forgets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sleepy.artifacts import Adapter, Check, Task, TaskSet
from sleepy.errors import DataError, NothingToLearn
from sleepy.evaluate.candidates import Adapted, Base, Live, Routed
from sleepy.options import choice, ranged
from sleepy.progress import say
from sleepy.routing.route import Route, Routing
from sleepy.study.lab import Lab
from sleepy.study.step import Step
from sleepy.study.stream import Stream
from sleepy.train.trainer import NOTHING, Past


@dataclass(frozen=True, kw_only=True)
class Sequential(Stream):
    """Each task is a pattern or a family. Its pairs are learned after those of the earlier tasks, and then the koans of
    all tasks are asked.

    tasks: how many tasks, drawn and ordered by the seed (at least 2).
    by: what a task is, "pattern" or "family".
    """

    by_pattern = True

    tasks: int = ranged(10, at_least=2)
    by: str = choice("pattern", "family")

    def exam(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> TaskSet:
        """The koans of the stream's tasks, in the tasks' order. Raises DataError when there are too few tasks."""
        order = self._order(tasks, pairs, seed)
        chosen = sorted((t for t in tasks if self._of(t) in order), key=lambda t: order.index(self._of(t)))
        return TaskSet(f"{tasks.name}[{len(chosen)}]", tasks.version, tuple(chosen))

    def run(self, lab: Lab) -> tuple[Step, ...]:
        """See Stream.run. A task that is passed over is a step without an adapter."""
        past, earlier = NOTHING, list[Task]()
        candidate: Live = Base(lab.base)
        learned: list[str] = []
        steps: list[Step] = []
        order = list(dict.fromkeys(self._of(t) for t in lab.exam))
        for i, name in enumerate(order):
            own = TaskSet(name, lab.pairs.version, tuple(t for t in lab.pairs if self._of(t) == name))
            mix, adapter = None, None
            try:
                mix, _ = lab.mix(own, lab.recipe.seed, Base(lab.base), earlier)
            except NothingToLearn as nothing:
                say(f"skipping {name}: {nothing}")
            else:
                adapter = lab.learn(mix, past, name=f"{i + 1}-{name}")
                past = Past((*past.examples, tuple(lab.examples(mix.examples))), adapter.folder)
                learned.append(name)
                candidate = self._candidate(lab, adapter, learned)
            earlier += own.tasks
            steps.append(
                Step(
                    name=name,
                    candidate=candidate,
                    mix=mix,
                    adapter=adapter,
                    exam=lab.measure(candidate, lab.exam).scores,
                    koans=tuple(t.id for t in lab.exam if self._of(t) == name),
                )
            )
        return tuple(steps)

    def _candidate(self, lab: Lab, adapter: Adapter, learned: Sequence[str]) -> Live:
        """What answers now: the new adapter, or for each learned task its own where the algorithm keeps them apart."""
        folder = lab.folder / "tasks" / str(len(learned))
        own = lab.recipe.algo.each_task(adapter, lab.base, folder)
        if not own:
            return Adapted(lab.base, adapter)
        members = dict(zip(learned, list(own.values())[-len(learned) :], strict=True))
        return Routed(lab.base, {**members, NEWEST: adapter}, ByTask(by=self.by), lab.pairs)

    def _of(self, task: Task) -> str:
        return task.pattern if self.by == "pattern" else task.family

    def _order(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> list[str]:
        both = sorted({self._of(t) for t in tasks} & {self._of(t) for t in pairs})
        if len(both) < self.tasks:
            of_pattern = self.by == "pattern"
            kinds, other = (
                ("patterns", "tasks=patterns, or a smaller stream.tasks")
                if of_pattern
                else ("families", "a smaller stream.tasks")
            )
            raise DataError(
                f"stream.tasks must be at most {len(both)}, not {self.tasks}: so many {kinds} have both pairs and "
                f"koans in {tasks.name} ({', '.join(both) or 'none'}). Use {other}"
            )
        return random.Random(seed).sample(both, self.tasks)


NEWEST = "newest"


@dataclass(frozen=True, kw_only=True)
class ByTask(Routing):
    """Each task of a stream by its own adapter; tasks not learned yet by the newest one. In a stream the task is known:
    that is the setting of the methods that keep tasks apart."""

    by: str

    def open(self, pairs: TaskSet, names: Sequence[str]) -> Route:
        """See Routing.open."""

        def route(task: Task, broken: Check) -> str:
            own = task.pattern if self.by == "pattern" else task.family
            return own if own in names else NEWEST

        return route

    def identity(self) -> dict[str, object]:
        """See Routing.identity."""
        return {"routing": "by_task", "by": self.by}

"""Task after task: what a continual learner gains, and what it forgets."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from sleepy.artifacts import Adapter, Course, Scores, Task, TaskSet
from sleepy.errors import DataError, NothingToLearn
from sleepy.options import choice, ranged
from sleepy.progress import say
from sleepy.study.learned import Learned
from sleepy.study.learner import Learner
from sleepy.study.stream import Stream
from sleepy.train.trainer import NOTHING, Past


@dataclass(frozen=True, kw_only=True)
class Sequential(Stream):
    """Each task is a pattern or a family; its pairs are learned after those of the tasks before, and then the koans of
    all tasks are asked.

    tasks: how many tasks, drawn and put in order by the seed (at least 2).
    by: what a task is, "pattern" or "family".
    """

    tasks: int = ranged(10, at_least=2)
    by: str = choice("pattern", "family")

    def exam(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> TaskSet:
        """The koans of the stream's tasks, in the tasks' order. Raises DataError when there are too few tasks."""
        order = self._order(tasks, pairs, seed)
        chosen = sorted((t for t in tasks if getattr(t, self.by) in order), key=lambda t: order.index(self._of(t)))
        return TaskSet(f"{tasks.name}[{len(chosen)}]", tasks.version, tuple(chosen))

    def run(self, learner: Learner) -> Learned:
        """See Stream.run."""
        past, adapter, after, earlier, learned = NOTHING, None, list[Scores](), list[Task](), list[str]()
        before = learner.measure(learner.exam, stage="baseline")
        order = list(dict.fromkeys(self._of(t) for t in learner.exam))
        for i, name in enumerate(order):
            own = TaskSet(name, learner.pairs.version, tuple(t for t in learner.pairs if self._of(t) == name))
            try:
                mix, _ = learner.mix(own, learner.root.seed, earlier=earlier)
            except NothingToLearn as nothing:
                say(f"{name} is passed over: {nothing}")
            else:
                adapter = learner.learn(mix, past, name=f"{i + 1}-{name}")
                past = Past((*past.examples, tuple(learner.examples(mix.examples))), adapter.folder)
                learned.append(name)
            earlier += own.tasks
            after.append(self._asked(learner, adapter, learned))
        groups = tuple(tuple(t.id for t in learner.exam if self._of(t) == name) for name in order)
        return Learned(adapter, Course(tuple(order), groups, before, tuple(after)))

    def _asked(self, learner: Learner, adapter: Adapter | None, learned: list[str]) -> Scores:
        """The exam's scores, each learned task's koans by its own adapter where the algorithm keeps them apart."""
        exam, folder = learner.exam, learner.folder / "tasks" / str(len(learned))
        own = learner.options["algo"].each_task(adapter, learner.base, folder) if adapter else []
        if not own:
            return learner.measure(exam, adapter)
        answers, parts = dict(zip(learned, own[-len(learned) :], strict=True)), list[Scores]()
        for name in dict.fromkeys(self._of(t) for t in exam):
            koans = TaskSet(f"{exam.name}[{name}]", exam.version, tuple(t for t in exam if self._of(t) == name))
            parts.append(learner.measure(koans, answers.get(name, adapter)))
        results = tuple(result for part in parts for result in part.results)
        seconds = sum(part.seconds for part in parts)
        return replace(parts[0], tasks=exam.name, tasks_digest=exam.digest, results=results, seconds=seconds)

    def _of(self, task: object) -> str:
        return str(getattr(task, self.by))

    def _order(self, tasks: TaskSet, pairs: TaskSet, seed: int) -> list[str]:
        both = sorted({self._of(t) for t in tasks} & {self._of(t) for t in pairs})
        if len(both) < self.tasks:
            other = "tasks=patterns" if self.by == "pattern" else "a smaller stream.tasks"
            raise DataError(
                f"stream.tasks: found {self.tasks}, but {tasks.name} and the pairs have {len(both)} of the same "
                f"{self.by} ({', '.join(both) or 'none'}). Use {other}"
            )
        return random.Random(seed).sample(both, self.tasks)

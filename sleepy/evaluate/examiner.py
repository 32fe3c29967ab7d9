"""A candidate goes in, its scores come out: measured once, whichever run asks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sleepy.artifacts import Completion, HotAdapter, Prompt, Served, TaskSet, digest_of
from sleepy.engines.engine import Engine
from sleepy.episodes.record import recorder
from sleepy.episodes.store import open_episodes
from sleepy.evaluate.answers import ANSWERS, Answers
from sleepy.evaluate.candidates import C, Candidate, Exported, Measured
from sleepy.evaluate.grades import regraded
from sleepy.evaluate.harness import Examination
from sleepy.evaluate.nobody import COMPILER, NoEngine
from sleepy.evaluate.scores_file import read_scores, write_scores
from sleepy.evaluate.settings import Evaluate
from sleepy.files import alone
from sleepy.gguf.adapter import adapter_gguf
from sleepy.progress import Stages, say
from sleepy.repair.draws import Draws
from sleepy.repair.rustfix import Rustfix
from sleepy.repair.strategy import Strategy
from sleepy.results import Scores
from sleepy.sandbox.checker import Judge

_VERSION = 5  # raise it when scores of the same inputs may change


@dataclass(frozen=True, kw_only=True)
class Examiner:
    """Asks candidates with one engine and one strategy, judged in one sandbox.

    known: folder of scores that were measured before, by any run.
    episodes: file in which every attempt is recorded, under `run`, the id of the run that asks.
    scratch: folder in which adapters lie as GGUF files while they are asked.
    """

    engine: Engine
    repair: Strategy
    judge: Judge
    known: Path
    episodes: Path
    run: str
    scratch: Path
    stages: Stages

    def measure(self, candidate: C, tasks: TaskSet, stage: str = "evaluate", judge: Judge | None = None) -> Measured[C]:
        """Scores of a candidate, by `judge` where another than the examiner's own is given.

        Everything that determines them names the file they are kept in, the first prompts themselves included. Until
        all are there, the answers are kept beside it: an interrupted evaluation goes on with them, and so does one of
        which the machine's load may have spoiled a verdict, and which is therefore not kept itself. A process that
        finds another one at the same measurement waits for it. Scores of weights that nobody knows, as behind a
        server, are not kept at all. EngineError and SandboxError go through.
        """
        asks = self._examination(candidate, judge or self.judge)
        keeps = asks.engine.known_weights
        prompts = digest_of([prompt.data for prompt in asks.first_prompts(tasks)])
        asked = [asks.engine.identity(), asks.repair.identity(), prompts, asks.judge.identity]
        path = self.known / f"{digest_of([_VERSION, candidate.digest, tasks.digest, *asked])}.json"
        if not keeps:
            return self._measured(candidate, tasks, stage, asks)
        if not path.is_file():
            lock = path.with_suffix(".lock")
            with alone(lock, f"measuring the same ({stage})"):
                new = None if path.is_file() else self._measured(candidate, tasks, stage, asks, path)
            if path.is_file():
                lock.unlink(missing_ok=True)  # whoever waits for it will find the scores
            if new:
                return new
        with self.stages.stage(stage, len(tasks), "koan"):
            return Measured(candidate, regraded(read_scores(path), tasks), cached=True)

    def _measured(
        self, candidate: C, tasks: TaskSet, stage: str, asks: Examination, path: Path | None = None
    ) -> Measured[C]:
        """`measure` of what nobody has measured yet. The scores are kept in `path`, if at all."""
        answers = Answers(path.with_suffix(ANSWERS)) if path else None
        if answers:
            say(f"{stage}: resuming an interrupted evaluation, {len(answers)} answers are there")
        digests = {name: adapter.digest for name, adapter in candidate.adapters.items()}
        with (
            self.stages.stage(stage, len(tasks), "koan") as done,
            open_episodes(self.episodes) as store,
            self.served(candidate) as served,
        ):
            record = recorder(store, self.run, candidate.digest, digests)
            scores = replace(asks, record=record, answers=answers).run(served, tasks, done)
        if loaded := [r.task for r in scores.results if any(attempt.by_load for attempt in r.attempts)]:
            say(
                f"Scores not cached: {', '.join(loaded)} may have timed out because the machine was busy. "
                "The same command judges the answers again"
            )
        elif path and answers is not None:
            write_scores(path, scores)
            answers.drop()
        else:
            _say_unknown()
        return Measured(candidate, scores)

    def rustfix(self, tasks: TaskSet) -> Scores:
        """What rustc's own suggestions pass, without a model: measured once for a task set and a compiler."""
        return replace(self, repair=Rustfix()).measure(COMPILER, tasks, "rustfix").scores

    def draw(self, candidate: Candidate, tasks: TaskSet, settings: Evaluate, stage: str) -> Scores | None:
        """A candidate's drawn answers, judged, all of a koan's as its attempts; None where the settings say none."""
        if not settings.samples:
            return None
        draws = Draws(of=self.repair, samples=settings.samples, temperature=settings.temperature)
        return replace(self, repair=draws).measure(candidate, tasks, stage).scores

    def ask(self, candidate: Candidate, prompts: Sequence[Prompt], stage: str = "ask") -> list[Completion]:
        """A candidate's answers to prompts that are no exam. It has at most one adapter, which answers them all."""
        name = next(iter(candidate.adapters), "")
        with (
            self.stages.stage(stage, len(prompts), "prompt") as done,
            self.served(candidate) as served,
            self.engine.open(served) as session,
        ):
            return session.generate([replace(p, adapter=name) for p in prompts], lambda *_: done())

    @contextmanager
    def served(self, candidate: Candidate) -> Iterator[Served]:
        """A candidate as an engine takes it. Its adapters are GGUF files for as long as the block runs."""
        model, digest = candidate.model, candidate.digest
        if isinstance(candidate, Exported):
            yield Served(model.name, candidate.file.path, model.weights, digest)
        elif not candidate.adapters:
            yield Served(model.name, model.gguf, model.weights, digest)
        else:
            self.scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
                hot = []
                for name, adapter in candidate.adapters.items():
                    path = Path(folder) / f"{adapter.digest}.gguf"
                    if not path.exists():  # several names may stand for one adapter
                        adapter_gguf(adapter, model, path, name)
                    hot.append(HotAdapter(name, path, adapter.folder))
                yield Served(model.name, model.gguf, model.weights, digest, tuple(hot))

    def _examination(self, candidate: Candidate, judge: Judge) -> Examination:
        """How a candidate is asked; one without adapters by the strategy's own row beside it."""
        names = list(candidate.adapters)
        repair = self.repair.serving(names) if names else self.repair.alone()
        return Examination(self.engine if repair.asks else NoEngine(), repair, judge, candidate.route())


@cache
def _say_unknown() -> None:
    """Once in a process."""
    say("Scores not cached: which weights the server has is not known, and another model may be there the next time.")

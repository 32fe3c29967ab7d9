"""How long the stages of a run will take, by the most similar earlier run on the same machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mlflow.entities import Run as Stored

SECONDS = "seconds/"  # the metrics that a run has of its stages
# Where runs differ in one of these, the time of one says nothing about the other.
_SAME = (
    "env.cpu", "env.cores", "device", "model.", "engine.", "repair.", "stream.", "algo._target_", "lora.target_modules",
    "train.precision", "train.quantization", "train.max_length", "stages",
)  # fmt: skip
_ASKED = (
    "model.",
    "engine.",
    "repair.",
    "tasks.",
    "sandbox.",
    "edition",
)  # what an answer of the base model depends on
_NO_EFFECT = ("track.", "report.", "env.", "cache", "checkpoints", "episodes", "debug", "export.", "sweep.")
_TRAINED = ("train.steps", "train.epochs", "train.batch_size", "train.grad_accum", "data.examples")
_SCORES = {"baseline": "baseline", "evaluate": "eval", "delivered": "delivered", "gate": "eval"}  # stage -> its figures
_SHORTEST = 0.05  # seconds; what takes less is not worth a word


class Asks(NamedTuple):
    """How many koans a run asks: of its exam, and of its gate."""

    exam: int
    gate: int


class Expected(NamedTuple):
    """Seconds of each stage in their order, by the run with this id."""

    seconds: dict[str, float]
    run: str


def expected(ours: Mapping[str, str], earlier: Sequence[Stored], asks: Asks) -> Expected | None:
    """The times of a run with the parameters `ours`, by the one of the finished runs `earlier` that differs in the
    fewest parameters (of several, the newest): generation in proportion to the koans, training in proportion to the
    pairs that it goes through. What the cache has already takes no time. A run whose training went on from a checkpoint
    is none to go by. None where there is no run like it."""
    alike = []
    for run in earlier:
        differing = [key for key in {**ours, **run.data.params} if ours.get(key) != run.data.params.get(key)]
        whole = not run.data.metrics.get("train/resumed")
        if _spent(run) and whole and not any(key.startswith(_SAME) for key in differing):
            changed = [key for key in differing if not key.startswith(_NO_EFFECT)]
            alike.append((len(changed), -run.info.start_time, run.info.run_id, run, changed))
    if not alike:
        return None
    *_, run, changed = min(alike, key=lambda found: found[:3])
    cached = set() if any(key.startswith(_ASKED) for key in changed) else {"baseline"}
    cached |= set() if changed else {"evaluate", "gate"}
    single = ours.get("stream._target_", "").endswith(".Single")
    times = {}
    for stage, seconds in _spent(run).items():
        if stage == "train":
            theirs = pairs_trained(run.data.params)
            seconds *= pairs_trained(ours) / theirs if theirs and pairs_trained(ours) else 1.0
        elif stage in _SCORES and single:  # of a stream's many evaluations only the last has figures
            found, asked = run.data.metrics, asks.gate if stage == "gate" else asks.exam
            name = _SCORES[stage]
            koans = found.get(f"{name}/tasks", 0.0)
            seconds = found.get(f"{name}/seconds", seconds) * asked / koans if koans else seconds
        times[stage] = 0.0 if stage in cached else seconds
    return Expected({stage: seconds for stage, seconds in times.items() if seconds >= _SHORTEST}, run.info.run_id)


def _spent(run: Stored) -> dict[str, float]:
    """Seconds of a run's stages, in the order in which they came."""
    return {key.removeprefix(SECONDS): value for key, value in run.data.metrics.items() if key.startswith(SECONDS)}


def pairs_trained(params: Mapping[str, str]) -> float:
    """How many pairs a training goes through; 0 where nobody can tell."""
    steps, epochs, batch, accumulated, examples = (_number(params.get(key)) for key in _TRAINED)
    return epochs * examples if epochs else steps * batch * accumulated


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0

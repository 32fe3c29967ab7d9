"""What a run made, read from what is recorded of it: mixes, adapters, answers, verdicts, the paired test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sleepy.adapters.find import find_adapters
from sleepy.adapters.folder import digest_in
from sleepy.artifacts import digest_of, digest_of_file
from sleepy.evaluate.scores_file import read_scores
from sleepy.evaluate.stats import compare
from sleepy.results import Result, Scores
from sleepy.track.log import SCORES
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run as Stored


@dataclass(frozen=True)
class Made:
    """What a run made. A key names a place among the run's artifacts, below a child's name for what a child made.

    mixes, adapters: digests of the pairs in their order, and of the adapter's tensors.
    losses: of each step of the training.
    answers, verdicts: by measurement and koan, a digest of all that the model said, and where each attempt ended.
    test: koans gained and lost against the baseline, and the p value of the paired test; empty without a result.
    folders: where the adapters are. Empty for what comes from a lock.
    """

    mixes: dict[str, str]
    adapters: dict[str, str]
    losses: dict[str, list[float]]
    answers: dict[str, str]
    verdicts: dict[str, str]
    test: dict[str, Any]
    folders: Mapping[str, Path] = field(default_factory=dict, compare=False)

    @property
    def data(self) -> dict[str, Any]:
        """All but the folders, for JSON; `Made(**data)` is the way back."""
        return {name: value for name, value in asdict(self).items() if name != "folders"}


def made_by(tracker: Tracker, run: Stored) -> Made:
    """What a finished run and its children made. Raises ModelError for an adapter that is damaged."""
    mixes: dict[str, str] = {}
    folders: dict[str, Path] = {}
    losses: dict[str, list[float]] = {}
    for name, one in {"": run, **{f"{child.info.run_name}/": child for child in tracker.children(run)}}.items():
        root = tracker.files(one)
        for path in sorted(root.rglob("mix.jsonl")):
            mixes[f"{name}{path.relative_to(root)}"] = digest_of_file(path)
        for path in find_adapters([root]).values():
            folders[f"{name}{path.relative_to(root.resolve())}"] = path
        if history := tracker.history(one.info.run_id, "train/loss"):
            losses[name] = history
    scores = scores_of(tracker, run)
    adapters = {name: digest_in(path) for name, path in folders.items()}
    results = {f"{measured}/{r.task}": r for measured, found in scores.items() for r in found.results}
    answers = {name: digest_of([a.text for a in r.attempts])[:16] for name, r in results.items()}
    return Made(mixes, adapters, losses, answers, {k: verdict(r) for k, r in results.items()}, _test(scores), folders)


def scores_of(tracker: Tracker, run: Stored) -> dict[str, Scores]:
    """Everything that a run measured, by the name of the measurement."""
    found = sorted(tracker.files(run, SCORES).glob("*.json"))
    return {path.stem: read_scores(path) for path in found}


def verdict(result: Result) -> str:
    """Where each of a koan's attempts ended, with the errors that rustc found."""
    ended = "; ".join(" ".join((attempt.stage, *attempt.codes)) for attempt in result.attempts)
    return f"{'passed' if result.passed else 'failed'}: {ended}"


def _test(scores: Mapping[str, Scores]) -> dict[str, Any]:
    if not {"baseline", "eval"} <= scores.keys():
        return {}
    found = compare(scores["baseline"], scores["eval"])
    return {"fixes": list(found.fixes), "regressions": list(found.regressions), "p_value": found.p_value}

"""A small job, repeated: what is checked before, what is said after, and the record that is written of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from sleepy.errors import ConfigError
from sleepy.replay.levels import levels, reached
from sleepy.replay.made import Made, made_by
from sleepy.replay.replay import NotTheSame
from sleepy.track.mlflow import Mlflow
from tests.jobs import artifacts, job, runs

WORDS = ["engine.threads=1", "stages=[fetch,prove,baseline,train,evaluate,gate,report]", "ability=false"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_words: list[str]) -> Path:
    """The folder of a store with one finished run."""
    folder: Path = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        job(folder, *tiny_words, *WORDS)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that store to work in."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Mlflow().open()  # looks for the artifacts here from now on
    return tmp_path


def repeat(folder: Path, tiny_model: Path, place: object, *words: str) -> None:
    """`python run.py replay=place words`."""
    job(folder, f"replay.run={place}", f"cache={tiny_model / 'cache'}", *words)


def change_scores(run: Any, **changes: object) -> str:
    """Change the first recorded attempt of the result; the koan's id."""
    path = artifacts(run) / "scores" / "eval.json"
    scores = json.loads(path.read_text())
    scores["results"][0]["attempts"][0] |= changes
    path.write_text(json.dumps(scores))
    return str(scores["results"][0]["task"])


def test_a_repeated_run_is_the_same_to_the_bit(folder: Path, tiny_model: Path, capsys: Any) -> None:
    (first,) = runs(folder)
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (adapters,) = client.search_registered_models()
    client.delete_registered_model(adapters.name)
    episodes = {path.name: path.read_bytes() for path in folder.glob("episodes.db")}
    capsys.readouterr()
    repeat(folder, tiny_model, folder / "outputs" / "job-0", "replay.level=mix")
    shown = capsys.readouterr().out
    for what in ("mix", "adapter, to the bit", "adapter, up to rounding", "answers", "verdicts", "paired test"):
        assert f"| {what} | same |" in shown
    for what in ("Python", "packages", "rustc", "threads", "model", "tasks", "pairs", "job"):
        assert f"| {what} | same |" in shown, what
    (_, second) = runs(folder)
    assert second.data.tags["mlflow.parentRunId"] == second.data.tags["sleepy.repeats"] == first.info.run_id
    assert second.data.tags["sleepy.same"] == "mix"
    assert "| verdicts | same |" in (artifacts(second) / "report" / "replay.md").read_text()
    assert second.data.tags["adapter.digest"] == first.data.tags["adapter.digest"]
    fresh = folder / "outputs" / "job-1" / "fresh"
    assert len(list(fresh.glob("baselines/*.json"))) == 5 and (fresh / "verdicts.sqlite").is_file()
    assert {path.name: path.read_bytes() for path in folder.glob("episodes.db")} == episodes
    assert Mlflow().open().children(first) == []
    assert second.data.tags["gate"] == "promoted" and client.search_registered_models() == []


@pytest.mark.parametrize("what", ["model", "tasks"])
def test_another_model_or_exam_stops_it_before_training(folder: Path, tiny_model: Path, what: str) -> None:
    (first,) = runs(folder)
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").set_tag(first.info.run_id, f"{what}.digest", 64 * "0")
    with pytest.raises(ConfigError, match=f"nothing was run: {what}: was 000000000000, now [0-9a-f]{{12}}$"):
        repeat(folder, tiny_model, first.info.run_id)
    assert len(runs(folder)) == 1


def test_another_answer_is_told_and_counts_from_its_level_on(folder: Path, tiny_model: Path, capsys: Any) -> None:
    (first,) = runs(folder)
    koan = change_scores(first, text="something else")
    with pytest.raises(NotTheSame, match=r"not the same at replay.level=answers: answers"):
        repeat(folder, tiny_model, first.info.run_id)
    assert f"| answers | differs | 1 of 9: eval/{koan} |" in capsys.readouterr().out
    assert runs(folder)[-1].data.tags["sleepy.same"] == "verdicts"
    assert runs(folder)[-1].info.status == "FINISHED"


def test_recorded_answers_are_judged_again_without_a_model(folder: Path, tmp_path: Path, capsys: Any) -> None:
    (first,) = runs(folder)
    empty = tmp_path / "empty"
    job(folder, f"replay.run={first.info.run_id}", "replay.only=judge", f"cache={empty}")
    assert "| verdicts | same | all 9 |" in capsys.readouterr().out and not empty.exists()
    koan = change_scores(first, stage="test", codes=[])
    with pytest.raises(NotTheSame, match=r"replay.level=verdicts: verdicts"):
        job(folder, f"replay.run={first.info.run_id}", "replay.only=judge", f"cache={empty}")
    assert f"| verdicts | differs | 1 of 9: eval/{koan} |" in capsys.readouterr().out


def test_what_cannot_be_repeated_is_said(folder: Path, tiny_model: Path) -> None:
    (first,) = runs(folder)
    with pytest.raises(ConfigError, match=r"leave out train.lr=0.5$"):
        repeat(folder, tiny_model, first.info.run_id, "train.lr=0.5")
    with pytest.raises(ConfigError, match="found no such run"):
        repeat(folder, tiny_model, 32 * "0")
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").set_terminated(first.info.run_id, "FAILED")
    with pytest.raises(ConfigError, match="is FAILED"):
        repeat(folder, tiny_model, first.info.run_id)


def test_a_record_is_an_experiment_that_is_repeated_by_its_lock(folder: Path, tiny_model: Path, capsys: Any) -> None:
    (first,) = runs(folder)
    place = folder / "mine" / "experiment"
    words = ["record.name=tiny", f"record.folder={place}"]
    job(folder, f"record.run={first.info.run_id}", *words)
    text = (place / "tiny.yaml").read_text()
    assert "  - override /data: all\n" in text and "lr: 0.01\n" in text and "cache" not in text and "r: 8" not in text
    with pytest.raises(ConfigError, match="is there already"):
        job(folder, f"record.run={first.info.run_id}", *words)
    capsys.readouterr()
    repeat(folder, tiny_model, place / "tiny.lock.json", "replay.level=mix")
    assert "| config | same |" in capsys.readouterr().out
    (place / "tiny.yaml").write_text(text.replace("lr: 0.01", "lr: 0.02"))
    with pytest.raises(ConfigError, match=r"nothing was run: config: train.lr \(0.01, now 0.02\)"):
        repeat(folder, tiny_model, place / "tiny.lock.json")

    lock = json.loads((place / "tiny.lock.json").read_text())
    assert lock["figures"]["baseline/tasks"] == 3 and lock["circumstances"]["model"]
    then, now = Made(**lock["made"]), made_by(Mlflow().open(), first)
    assert reached(levels(then, now)) == "mix"
    for part, level in {"mixes": "adapter", "adapters": "answers", "answers": "verdicts", "verdicts": "test"}.items():
        digests = getattr(then, part)
        other = replace(then, **{part: {**digests, next(iter(digests)): "another"}})
        assert reached(levels(other, now)) == level, part
    assert reached(levels(replace(then, test={**then.test, "fixes": ["x"]}), now)) == "none"

"""The page of real runs: asked for by their ids, and of a sweep that has ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from sleepy.errors import ConfigError
from sleepy.results_page.jobs import find_jobs
from sleepy.results_page.make import page_of_sweep
from sleepy.track.mlflow import Mlflow
from tests.jobs import artifacts
from tests.results_page.test_page import Reader

BASELINE = "stages=[fetch,prove,baseline]"
NOTE = "mlflow.note.content"


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def texts(html: str) -> list[str]:
    return [str(text) for text in Reader(html).more()["texts"]]


def test_runs_that_are_there_become_a_page(run: Callable[..., Any], tmp_path: Path, capsys: Any) -> None:
    first, second = run(BASELINE), run(BASELINE, "repair=hints", "seed=1")
    assert "untouched: " in first.data.tags[NOTE] and " of 3 pass (95 %" in first.data.tags[NOTE]
    assert first.data.metrics["result/pass_rate"] == first.data.metrics["baseline/pass_rate"]
    made = run("stages=[report]", f"report.runs=[{first.info.run_id},runs:/{second.info.run_id}]")
    page = artifacts(made) / "report" / "results.html"
    said = made.data.tags[NOTE]
    assert said.startswith("1 variant (repair) was compared with repair=single_shot on 3 koans of patterns[3]")
    assert f"{said}\n{tmp_path}" in capsys.readouterr().out
    read = Reader(page.read_text(encoding="utf-8"))
    assert [c["label"] for c in read.data("data")["columns"]] == ["repair=single_shot", "repair=hints"]
    assert any("error[E0" in text and "-->" in text for text in texts(page.read_text(encoding="utf-8")))


def test_a_trained_run_says_its_verdict_in_a_sentence(run: Callable[..., Any]) -> None:
    made = run("stages=[fetch,prove,baseline,train,evaluate,gate]")
    said, metrics = made.data.tags[NOTE], made.data.metrics
    assert said.startswith(("No change found: ", "0 of 3 before")) and said.endswith(("by the gate.", "promoted."))
    for name in ("pass_rate", "difference", "low", "high", "p_value", "seconds"):
        assert f"result/{name}" in metrics
    assert metrics["result/pass_rate"] == metrics["eval/pass_rate"]


def test_a_sweep_that_has_ended_has_a_page_and_a_description(run: Callable[..., Any], tmp_path: Path) -> None:
    made = [run(BASELINE, f"seed={seed}") for seed in (0, 1)]
    tracker, key = Mlflow(folder=str(tmp_path)).open(), str(tmp_path / "sweep")
    parent = tracker.parent(key, "seed=0,1,2")
    with pytest.raises(RuntimeError), tracker.run(name="seed=2", parent=parent):
        raise RuntimeError("the disk is full")
    client(tmp_path).set_tag(made[0].info.run_id, "mlflow.parentRunId", parent)
    pages = page_of_sweep(tracker, key, taken=[made[1].info.run_id])
    assert list(pages) == ["report/results.html"]
    html = (tmp_path / "sweep" / "results.html").read_text(encoding="utf-8")
    assert html == pages["report/results.html"]
    assert "<h1>seed=0,<wbr>1,<wbr>2</h1>" in html and "RuntimeError: the disk is full" in html
    assert client(tmp_path).get_run(parent).data.tags[NOTE].startswith("1 variant, 2 seeds each, on 3 koans")
    assert any("error[E0" in text for text in texts(html))  # known from the run itself


def test_a_sweep_without_scores_has_no_page_and_that_is_no_error(tmp_path: Path, capsys: Any) -> None:
    tracker = Mlflow(folder=str(tmp_path)).open()
    parent = tracker.parent(str(tmp_path), "sweep")
    assert page_of_sweep(tracker, str(tmp_path)) == {}
    assert "none of these runs has scores" in capsys.readouterr().err
    with tracker.run(name="stages=[prove]", parent=parent):
        pass
    assert page_of_sweep(tracker, str(tmp_path)) == {}
    assert "stages=[prove]" in (said := capsys.readouterr().err) and "it measured nothing of what it made" in said


def test_koans_that_have_changed_are_left_out_and_said_so(run: Callable[..., Any], tmp_path: Path, capsys: Any) -> None:
    made = run(BASELINE)
    scores = artifacts(made) / "scores" / "baseline.json"
    scores.write_text(scores.read_text().replace('"tasks_digest": "', '"tasks_digest": "0'))
    page = artifacts(run("stages=[report]", f"report.runs=[{made.info.run_id}]")) / "report" / "results.html"
    assert "its koans have changed since" in capsys.readouterr().err
    more = Reader(page.read_text(encoding="utf-8")).more()
    assert more["koans"] == [[0, 0, 0]] * 3 and len(more["answers"]) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stages=[report]"], "report.runs=[<id>,...]"),
        (["stages=[fetch,report]"], "report needs gate"),
        ([BASELINE, "report.runs=[0]"], "only used with 'stages=[report]' alone"),
        (["stages=[report]", "report.runs=[nowhere]"], "there is no run 'nowhere'"),
        (["stages=[report]", f"report.runs=[{32 * '0'}]"], "there is no run '000"),
    ],
)
def test_what_cannot_be_shown_is_said(run: Callable[..., Any], words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        run(*words)
    assert said in str(error.value)


def test_a_parent_stands_for_its_children_and_a_run_for_itself(run: Callable[..., Any], tmp_path: Path) -> None:
    made = run(BASELINE)
    tracker = Mlflow(folder=str(tmp_path)).open()
    parent = tracker.parent("key", "sweep")
    client(tmp_path).set_tag(made.info.run_id, "mlflow.parentRunId", parent)
    assert [job.run_id for job in find_jobs(tracker, [parent, made.info.run_id]).jobs] == [made.info.run_id]

from __future__ import annotations

import json
import math
import string
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.errors import SleepyError
from sleepy.track.mlflow import Mlflow
from sleepy.track.run import clean
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def read(client: MlflowClient, run_id: str, name: str) -> str:
    return Path(client.download_artifacts(run_id, name)).read_text()


def test_what_is_recorded_can_be_read_again(shared: Tracker, client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights.bin").write_bytes(b"w")
    with shared.run(name="lora.r=8,algo=naive", tags={"algo": "naive"}) as run:
        assert client.get_run(run.id).info.status == "RUNNING"
        run.params({"lora": {"r": 8, "targets": ["q", "v"]}, "cache": None, "pass@1": True, "none": {}})
        run.params({"text": "x" * 7000, "exact": "ü" * 6000, "a/B-1_c.d e": ["ü"]})
        run.params({f"many.{number}": number for number in range(250)})
        run.metrics({"eval/pass_rate": 0.5, "eval/pass@1": 1, "p": math.nan, "up": math.inf, "down": -math.inf})
        run.metrics({"train/lr": 0.1}, step=1)
        run.metrics({"train/lr": 0.2}, step=2)
        run.tags({"verdict": "promoted", "long": "y" * 9000})
        run.artifact(tmp_path / "adapter")
        run.artifact(tmp_path / "adapter" / "weights.bin", "copies")
        run.artifact(tmp_path / "adapter", "copies/all")
        run.text("# report", "report.md")
        with pytest.raises(FileNotFoundError, match=r"nothing\.bin"):
            run.artifact(tmp_path / "nothing.bin")
    found = client.get_run(run.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "lora.r=8,algo=naive")
    params = dict(found.data.params)
    assert len(params) == 258 and len(params["text"]) == len(params["exact"]) == 6000
    assert params.pop("text").endswith("x ... [cut, 7000 characters]") and params.pop("exact") == "ü" * 6000
    assert {name: value for name, value in params.items() if not name.startswith("many")} == {
        "lora.r": "8", "lora.targets": '["q", "v"]', "cache": "null", "pass_1": "true", "none": "{}",
        "a/B-1_c.d e": '["ü"]',
    }  # fmt: skip
    assert found.data.metrics == {"eval/pass_rate": 0.5, "eval/pass_1": 1, "train/lr": 0.2}
    points = client.get_metric_history(run.id, "train/lr")
    assert [(point.step, point.value) for point in points] == [(1, 0.1), (2, 0.2)]
    assert (found.data.tags["algo"], found.data.tags["verdict"]) == ("naive", "promoted")
    assert found.data.tags["long"].endswith("[cut, 9000 characters]")
    for name in ("adapter", "copies", "copies/all"):
        assert read(client, run.id, f"{name}/weights.bin") == "w"
    assert read(client, run.id, "report.md") == "# report"


def test_a_table_is_one_that_mlflow_shows(
    shared: Tracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"koan": "a", "steps": 1, "seconds": 0.5, "passed": True, "codes": ["E0382"]},
        {"koan": "b", "steps": None, "seconds": None, "passed": False, "codes": []},
    ]
    with shared.run(name="table") as run:
        run.table(rows, "eval/koans")
        run.table([rows[0]], "twice")
        run.table([rows[1]], "twice")
    assert read(client, run.id, "eval/koans.json") == (
        '{"columns":["koan","steps","seconds","passed","codes"],'
        '"data":[["a",1,0.5,true,["E0382"]],["b",null,null,false,[]]]}'
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)  # load_table looks nowhere else
    for name in ("eval/koans.json", "twice.json"):
        assert list(client.load_table(client.get_run(run.id).info.experiment_id, name, [run.id])["koan"]) == ["a", "b"]


def test_a_dataset_keeps_its_digest_and_its_use(shared: Tracker, client: MlflowClient, tmp_path: Path) -> None:
    from mlflow.data import get_source

    source, digest = tmp_path / "koans.jsonl", "0123456789abcdef" * 4
    source.write_text("{}")
    with shared.run(name="data") as run:
        run.dataset("core", digest, str(source), 42, "evaluation")
        run.dataset("pairs", "f" * 64, "pairs.jsonl", 257, "training")
    used = {found.dataset.name: found for found in client.get_run(run.id).inputs.dataset_inputs}
    core = used["core"].dataset
    assert core.digest == digest[:36]
    assert json.loads(core.profile) == {"num_rows": 42, "digest": digest}
    assert Path(get_source(core).load()) == source
    contexts = {name: [(tag.key, tag.value) for tag in found.tags] for name, found in used.items()}
    assert contexts == {"core": [("mlflow.data.context", "evaluation")], "pairs": [("mlflow.data.context", "training")]}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SleepyError("the loss is not finite"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(130), "KILLED"),
        (SystemExit(1), "FAILED"),
        (SystemExit("no"), "FAILED"),
        (SystemExit(), "FINISHED"),
    ],
    ids=repr,
)
def test_how_a_run_is_left_is_its_status(
    shared: Tracker, client: MlflowClient, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)) as caught, shared.run(name="left") as run:
        raise error
    assert caught.value is error
    found = client.get_run(run.id)
    assert found.info.status == status and found.info.end_time
    assert ("sleepy.killed" in found.data.tags) == (status == "KILLED")
    if status == "FAILED":
        assert found.data.tags["sleepy.error"].endswith(str(error))
        text = read(client, run.id, "traceback.txt")
        assert text.startswith("Traceback") and "test_runs.py" in text and text.strip().endswith(str(error))


def test_trouble_in_ending_a_run_does_not_hide_its_error(shared: Tracker, client: MlflowClient) -> None:
    with pytest.raises(ValueError, match="the real one") as caught, shared.run(name="gone") as run:
        client.delete_run(run.id)
        raise ValueError("the real one")
    assert f"MLflow run {run.id} could not be ended" in caught.value.__notes__[0]


@given(st.text(st.sampled_from(string.printable + "äß@/."), max_size=300))
def test_every_cleaned_name_is_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    for check in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        check(clean(name))
    assert len(clean(name)) <= 250


def test_a_file_of_the_project_is_named_so_that_the_project_may_move(tmp_path: Path) -> None:
    with Mlflow(folder=str(tmp_path / "mine")).open().run(name="run") as run:
        assert run.place(tmp_path / "mine" / "outputs" / "x.gguf") == "outputs/x.gguf"
        assert run.place(tmp_path / "other" / "x.gguf") == str(tmp_path / "other" / "x.gguf")

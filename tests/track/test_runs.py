from __future__ import annotations

import json
import math
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepy.errors import SleepyError
from sleepy.track.run import MAX_PARAM, clean, cut, flat
from sleepy.track.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def read(client: MlflowClient, run_id: str, name: str) -> str:
    return (Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://")) / name).read_text()


def test_what_is_recorded_can_be_read_again(shared: Tracker, client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights.bin").write_bytes(b"w")
    with shared.run(name="lora.r=8,algo=naive", tags={"algo": "naive"}) as run:
        assert client.get_run(run.id).info.status == "RUNNING"
        run.params({"lora": {"r": 8, "targets": ["q", "v"]}, "cache": None, "pass@1": True, "text": "x" * 7000})
        run.params({f"many.{number}": number for number in range(250)})
        run.metrics({"eval/pass_rate": 0.5, "eval/pass@1": 1, "eval/pass_1": 2})
        run.metrics({"train/lr": 0.1}, step=1)
        run.metrics({"train/lr": 0.2}, step=2)
        run._log_metrics(("train/loss", 1 / n, n) for n in range(1, 2502))
        run.tags({"verdict": "promoted", "long": "y" * 9000})
        run.artifact(tmp_path / "adapter")
        run.artifact(tmp_path / "adapter" / "weights.bin", "copies")
        run.artifact(tmp_path / "adapter", "copies/all")
        run.text("# report", "report.md")
    found = client.get_run(run.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "lora.r=8,algo=naive")
    params = dict(found.data.params)
    assert params.pop("text").endswith("... [cut, 7000 characters]")
    assert {name: value for name, value in params.items() if not name.startswith("many")} == {
        "lora.r": "8", "lora.targets": '["q", "v"]', "cache": "null", "pass_1": "true",
    }  # fmt: skip
    assert len(params) == 254
    assert found.data.metrics == {
        "eval/pass_rate": 0.5, "eval/pass_1": 1, "eval/pass_1_": 2, "train/lr": 0.2, "train/loss": 1 / 2501,
    }  # fmt: skip
    assert [(point.step, point.value) for point in client.get_metric_history(run.id, "train/lr")] == [
        (1, 0.1),
        (2, 0.2),
    ]
    curve = client.get_metric_history(run.id, "train/loss")
    assert sorted((point.step, point.value) for point in curve) == [(n, 1 / n) for n in range(1, 2502)]
    assert (found.data.tags["algo"], found.data.tags["verdict"]) == ("naive", "promoted")
    assert found.data.tags["long"].endswith("[cut, 9000 characters]")
    for name in ("adapter", "copies", "copies/all"):
        assert read(client, run.id, f"{name}/weights.bin") == "w"
    assert read(client, run.id, "report.md") == "# report"


def test_a_number_that_is_none_is_kept(shared: Tracker, client: MlflowClient) -> None:
    with shared.run(name="nan") as run:
        run.metrics({"loss": math.nan})
    assert math.isnan(client.get_run(run.id).data.metrics["loss"])


def test_a_table_is_one_that_mlflow_shows(
    shared: Tracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"koan": "a", "steps": 1, "seconds": 0.5, "passed": True, "codes": ["E0382"]},
        {"koan": "b", "steps": None, "seconds": None, "passed": False, "codes": []},
    ]
    with shared.run(name="table") as run:
        run.table(rows, "eval/koans")
        run.table([rows[0]], "twice.json")
        run.table([rows[1]], "twice.json")
    assert read(client, run.id, "eval/koans.json") == (
        '{"columns":["koan","steps","seconds","passed","codes"],'
        '"data":[["a",1,0.5,true,["E0382"]],["b",null,null,false,[]]]}'
    )
    assert json.loads(client.get_run(run.id).data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "eval/koans.json", "type": "table"},
        {"path": "twice.json", "type": "table"},
    ]
    experiment = client.get_run(run.id).info.experiment_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)  # load_table looks nowhere else
    assert list(client.load_table(experiment, "eval/koans.json", [run.id])["koan"]) == ["a", "b"]
    assert list(client.load_table(experiment, "twice.json", [run.id])["koan"]) == ["a", "b"]


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
    assert {name: [(tag.key, tag.value) for tag in found.tags] for name, found in used.items()} == {
        "core": [("mlflow.data.context", "evaluation")],
        "pairs": [("mlflow.data.context", "training")],
    }


def test_a_run_that_fails_says_why(shared: Tracker, client: MlflowClient) -> None:
    with pytest.raises(SleepyError, match="loss is not finite"), shared.run(name="fails") as run:
        run.metrics({"loss": 3.0}, step=1)
        raise SleepyError("the loss is not finite")
    found = client.get_run(run.id)
    assert found.info.status == "FAILED" and found.info.end_time
    assert found.data.tags["sleepy.error"] == "sleepy.errors.SleepyError: the loss is not finite"
    text = read(client, run.id, "traceback.txt")
    assert text.startswith("Traceback") and text.endswith("sleepy.errors.SleepyError: the loss is not finite\n")
    assert "test_runs.py" in text


@pytest.mark.parametrize(
    ("error", "status"),
    [
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
    assert found.info.status == status
    assert ("sleepy.killed" in found.data.tags) == (status == "KILLED")
    assert ("sleepy.error" in found.data.tags) == (status == "FAILED")


def test_trouble_in_ending_a_run_does_not_hide_its_error(shared: Tracker) -> None:
    with pytest.raises(ValueError, match="the real one") as caught, shared.run(name="gone") as run:
        shared._store.client.delete_run(run.id)
        raise ValueError("the real one")
    assert f"MLflow run {run.id} could not be ended" in caught.value.__notes__[0]
    shared._store.client.restore_run(run.id)
    shared._store.client.set_terminated(run.id, "FAILED")


def test_a_missing_artifact_is_named(shared: Tracker, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.bin"), shared.run(name="missing") as run:
        run.artifact(tmp_path / "nothing.bin")


@given(st.text(st.sampled_from(string.printable + "äß@/."), max_size=300))
def test_every_cleaned_name_is_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    for check in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        check(clean(name))
    assert len(clean(name)) <= 250


@given(
    st.text(st.sampled_from(string.ascii_letters + string.digits + "_- ."), min_size=1).filter(lambda s: s.strip(" ."))
)
def test_a_name_that_mlflow_takes_stays(name: str) -> None:
    assert clean(f"a/{name}b") == f"a/{name}b"


KEYS = st.sampled_from("abcd")
NESTED = st.recursive(
    st.sampled_from([0, -1, 2.5, "", "text", "ä", True, None, [1, "a"]]),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(KEYS, NESTED, max_size=4))
def test_flat_keeps_every_leaf(values: dict[str, Any]) -> None:
    def leaf(path: str) -> Any:
        value: Any = values
        for key in path.split("."):
            value = value[key]
        return value

    def count(value: Any) -> int:
        return sum(map(count, value.values())) if isinstance(value, dict) and value else 1

    found = flat(values)
    assert len(found) == (count(values) if values else 0)
    for path, text in found.items():
        assert text == (leaf(path) if isinstance(leaf(path), str) else json.dumps(leaf(path), ensure_ascii=False))


@given(st.integers(0, 8000))
def test_cut_texts_fit_and_say_how_long_they_were(length: int) -> None:
    text = cut("x" * length, MAX_PARAM)
    assert len(text) == min(length, MAX_PARAM)
    assert ("cut" in text) == (length > MAX_PARAM)
    assert length <= MAX_PARAM or f"{length} characters" in text

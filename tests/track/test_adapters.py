from __future__ import annotations

from pathlib import Path

import pytest

from sleepy.errors import ConfigError
from sleepy.track.adapters import adapter_folders
from sleepy.track.tracker import Tracker

CONFIG = "adapter_config.json"


def record(tracker: Tracker, name: str, *places: str, parent: str | None = None) -> str:
    """A run with an adapter at each of `places` among its artifacts."""
    with tracker.run(name=name, parent=parent) as run:
        for place in places:
            run.text("{}", f"{place}/{CONFIG}")
    return run.id


def peft(place: Path) -> Path:
    place.mkdir(parents=True)
    (place / CONFIG).write_text("{}")
    return place


def test_folders_are_named_by_what_tells_them_apart(shared: Tracker, tmp_path: Path) -> None:
    for name in ("use_after_move", "missing_mut"):
        peft(tmp_path / "sweep" / name / "adapter")
    alone, twin = peft(tmp_path / "alone" / "adapter"), peft(tmp_path / "other" / "missing_mut")
    found = adapter_folders(shared, [str(tmp_path / "sweep"), str(alone), str(twin), str(alone.parent)])
    assert list(found) == [str(tmp_path / "sweep/missing_mut/adapter"), "use_after_move", "alone", str(twin)]
    assert all((place / CONFIG).is_file() for place in found.values())


def test_a_run_gives_its_own_adapters_or_its_childrens(shared: Tracker) -> None:
    parent = record(shared, "all together", "adapter")
    own = adapter_folders(shared, [parent])
    assert list(own) == ["all together"] and own["all together"].match(f"*/{parent}/artifacts/adapter")
    record(shared, "missing_mut", "adapter", parent=parent)
    child = record(shared, "a stream", "adapter/1-len_zero", "adapter/2-ptr_arg", parent=parent)
    record(shared, "failed early", parent=parent)
    found = adapter_folders(shared, [f"runs:/{parent}"])
    assert list(found) == ["missing_mut", "1-len_zero", "2-ptr_arg"]
    assert list(adapter_folders(shared, [f"runs:/{child}/adapter/2-ptr_arg"])) == ["2-ptr_arg"]
    assert list(adapter_folders(shared, [f"runs:/{parent}/adapter"])) == ["all together"]
    grand = record(shared, "sweep")
    inner = record(shared, "job", parent=grand)
    record(shared, "len_zero", "adapter", parent=inner)
    assert list(adapter_folders(shared, [grand, child])) == ["len_zero", "1-len_zero", "2-ptr_arg"]


def test_runs_of_one_name_are_told_apart_by_their_ids(shared: Tracker) -> None:
    first, second = (record(shared, "twin", "adapter") for _ in range(2))
    assert list(adapter_folders(shared, [first, second, f"runs:/{first}"])) == [f"twin {first}", f"twin {second}"]
    first, second = (record(shared, name, "adapter/1-x", "adapter/2-y") for name in ("this", "that"))
    assert list(adapter_folders(shared, [first, second])) == ["this/1-x", "this/2-y", "that/1-x", "that/2-y"]


def test_a_place_without_adapters_is_named(shared: Tracker) -> None:
    for place in ("nowhere", "runs:/" + "0" * 32, "0" * 32, record(shared, "empty")):
        with pytest.raises(ConfigError, match=f"^{place}: there is no adapter"):
            adapter_folders(shared, [place])

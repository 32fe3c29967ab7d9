"""What is said before anything is loaded."""

from __future__ import annotations

from typing import cast

from sleepy.preflight import check, planned
from sleepy.track.tracker import Tracker
from tests.jobs import chosen


def test_an_algorithm_that_has_nothing_to_protect_says_so() -> None:
    def warned(*words: str) -> str:
        s = chosen("stages=[fetch,prove,baseline,train]", *words)
        said = dict(word.split("=", 1) for word in words if word.split("=")[0] in ("algo", "data", "stream"))
        choices = {
            "stream": "single",
            "data": "all",
            "engine": "llama_cpp",
            "repair": "single_shot",
            "model": "x",
            **said,
        }
        return "\n".join(check(s, planned(list(s.stages)), choices, cast("Tracker", None)))  # nothing is looked up

    assert "algo=ewc is plain fine-tuning here" in warned("algo=ewc")
    assert "Add data=failures" in warned("algo=sure") and not warned("algo=ewc", "data=failures") + warned("algo=naive")

"""What the tests of episodes share: one of them."""

from __future__ import annotations

import pytest

from sleepy.episodes._store import Episode


@pytest.fixture
def episode() -> Episode:
    """The episode of a repair that did not compile."""
    return Episode(
        run="run-1",
        task="borrow_checker/word_report",
        family="borrow_checker",
        pattern="use_after_move",
        attempt=0,
        prompt="a" * 64,
        model="b" * 64,
        adapter="",
        before="E0382 borrow of moved value: _",
        after="E0308 mismatched types\nE0382 use of moved value: _",
        diff='--- broken.rs\n+++ attempt.rs\n@@ -1 +1 @@\n-fn f() {}\n+fn g() { "°\u2028\t\0" }\n',
        verdict="compile",
        prompt_tokens=321,
        completion_tokens=38,
        milliseconds=1234,
        time="2026-03-01T12:00:00.000001+00:00",
    )

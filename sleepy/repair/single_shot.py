"""One question, one answer."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.repair.asking import Asking


@dataclass(frozen=True, kw_only=True)
class SingleShot(Asking):
    """The model sees the program, its description and rustc's message once.

    The fields are those of Asking.
    """

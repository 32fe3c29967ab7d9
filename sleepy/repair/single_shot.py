"""One question, one answer."""

from __future__ import annotations

from dataclasses import dataclass

from sleepy.repair.asking import Asking


@dataclass(frozen=True, kw_only=True)
class SingleShot(Asking):
    """The model sees the program, what it is for and rustc's message once. Its fields are those of Asking."""

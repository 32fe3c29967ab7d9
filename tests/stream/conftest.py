"""The small model that the algorithms' tests train on."""

from tests.algo.conftest import shallow

__all__ = ["shallow"]

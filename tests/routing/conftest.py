"""Two layers of SmolLM2, as the tests of the algorithms use them."""

from tests.algo.conftest import shallow  # noqa: F401

"""What the simulation keeps between runs, threads and a trio, ends with the test."""

from collections.abc import Iterator

import pytest

from tests.simulation import threads


@pytest.fixture(autouse=True)
def nothing_is_kept(nothing_left_behind: None) -> Iterator[None]:
    """End it before the watch looks for it."""
    yield
    threads.rest()

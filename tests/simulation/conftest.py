"""Threads that the simulation keeps between runs end with the test."""

from collections.abc import Iterator

import pytest

from tests.simulation import threads


@pytest.fixture(autouse=True)
def no_thread_is_kept(nothing_left_behind: None) -> Iterator[None]:
    """End them before the watch looks for them."""
    yield
    threads.rest()

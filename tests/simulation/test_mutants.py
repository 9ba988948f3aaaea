"""The simulation sees: every planted bug is found, by the first two hundred seeds, on either event loop."""

import pytest

from tests.simulation.mutants import MUTANTS, first_kill

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore"),  # a broken engine leaves coroutines behind
]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_it_is_found(name: str, backend: str) -> None:
    assert first_kill(name, backend) is not None


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 20

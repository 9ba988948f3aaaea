"""Some cases, cancelled at every third checkpoint; `python -m tests.simulation --sweep` does a hundred, at each one."""

import pytest

from tests.simulation.plans import Case, show
from tests.simulation.sweep import cancelled_at, corpus, sweep

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("case", list(corpus(12)), ids=lambda case: str(case.seed))
def test_cancelled_at_any_checkpoint(case: Case, backend: str) -> None:
    assert list(sweep(case, backend, stride=3)) == [], show(case)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_clean_run_has_checkpoints(backend: str) -> None:
    assert all(cancelled_at(case, backend, 0)[1] > 3 for case in corpus(5))

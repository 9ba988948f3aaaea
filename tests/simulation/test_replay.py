"""The same seed gives the same event log, to the last entry, in any process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.drive import simulate
from tests.simulation.generate import generate
from tests.simulation.log import log
from tests.simulation.sweep import cancelled_at, corpus
from tests.simulation.threads import rest

ROOT = Path(__file__).parents[2]
SEEDS = "0:150"

pytestmark = pytest.mark.timeout(120)


def digests(hash_seed: str) -> str:
    """What a process of its own prints, whose sets of strings have an order of their own."""
    command = [sys.executable, "-m", "tests.simulation", "--digest", "--seeds", SEEDS]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_two_processes_log_the_same() -> None:
    one, other = digests("1"), digests("4711")
    assert one == other
    assert len(set(one.split())) == 4  # two names, and a digest of each


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_was_run_before_makes_no_difference(backend: str) -> None:
    """Threads and event loops are kept from run to run; that is not to be seen."""
    seeds = range(200)
    alone = {seed: _by_itself(seed, backend) for seed in seeds}
    assert alone == {seed: log(simulate(generate(seed), backend)) for seed in seeds}
    assert alone == {seed: log(simulate(generate(seed), backend)) for seed in reversed(seeds)}
    shared = [generate(seed) for seed in seeds]
    for case in shared:
        simulate(case, "asyncio")
    assert alone == {case.seed: log(simulate(case, backend)) for case in shared}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_that_is_kept_is_like_a_new_one(backend: str) -> None:
    """A sweep has `orch.testing` make a new one for every run."""
    for case in corpus(100):
        assert log(cancelled_at(case, backend, 0)[0]) == log(simulate(case, backend))


def _by_itself(seed: int, backend: str) -> list[tuple[Any, ...]]:
    rest()
    return log(simulate(generate(seed), backend))

"""The same seed gives the same event log, to the last entry, in any process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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

"""Ctrl-C as the signal it is, in a process of its own: a bare KeyboardInterrupt, a settled run, and soon."""

import functools
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(60)
SCRIPT = Path(__file__).with_name("signal_scenes.py")
LOOPS = ["asyncio", "uvloop", "trio"]


def play(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "faulthandler", str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@functools.cache
def theatre(loop: str) -> tuple[dict[str, dict[str, Any]], str]:
    """All scenes on one loop, in one process, and its stderr; a scene that hangs takes those behind it along."""
    try:
        ended = play(loop)
        output, errors = ended.stdout, ended.stderr
    except subprocess.TimeoutExpired as expired:
        output, errors = (expired.stdout or b"").decode(), (expired.stderr or b"").decode()
    return {facts["scene"]: facts for facts in map(json.loads, output.splitlines())}, errors


def played(loop: str) -> dict[str, dict[str, Any]]:
    return theatre(loop)[0]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "scene",
    [
        "alone",
        "spare",
        "watched",
        "threads",
        "threads_watched",
        "stuck_thread",
        "never_suspends",
        "while_a_step_computes",
        "in_a_subscriber",
        "subscriber_raises_it",
        "waiting_for_a_subscriber",
        "nested",
        "cleanup_takes_a_moment",
        "swallowed",
    ],
)
def test_control_c_surfaces_bare_and_soon(loop: str, scene: str) -> None:
    facts = played(loop).get(scene)
    assert facts, "the scene never ended"
    assert facts["came"] == "KeyboardInterrupt"
    assert facts["seconds"] < 1.5
    assert facts["seqs"] == list(range(1, len(facts["seqs"]) + 1))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scene", ["watched", "threads_watched", "nested", "cleanup_takes_a_moment", "swallowed"])
def test_subscribers_hear_that_the_run_was_cancelled(loop: str, scene: str) -> None:
    assert played(loop)[scene]["last"] == "cancelled"


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_starts_after_control_c(loop: str) -> None:
    scenes = played(loop)
    assert scenes["threads"]["ran"]["thread"] < 10
    assert scenes["threads_watched"]["ran"]["thread"] < 10
    assert scenes["alone"]["ran"] == {"sleeper": 1}
    assert "sleeper" not in scenes["swallowed"]["ran"]
    assert scenes["never_suspends"]["ran"]["busy"] < 200_000
    assert scenes["while_a_step_computes"]["ran"] == {}


@pytest.mark.parametrize("loop", LOOPS)
def test_python_has_nothing_to_complain_about(loop: str) -> None:
    assert "never" not in theatre(loop)[1], "a coroutine was never awaited, an exception never retrieved"


@pytest.mark.parametrize("loop", LOOPS)
def test_steps_clean_up_after_control_c(loop: str) -> None:
    assert played(loop)["cleanup_takes_a_moment"]["ran"] == {"cleaned": 2}


@pytest.mark.parametrize("loop", LOOPS)
def test_the_exit_code_of_a_process_is_that_of_control_c_or_of_sys_exit(loop: str) -> None:
    ended = play(loop, "unhandled")
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    ended = play(loop, "exits")
    assert ended.returncode == 3
    assert ended.stderr == ""

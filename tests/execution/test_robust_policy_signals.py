"""Ctrl-C while policies are at work, in a process of its own: what was done is undone, and the interrupt comes bare."""

import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(60)
SCRIPT = Path(__file__).with_name("policy_scenes.py")
LOOPS = ["asyncio", "uvloop", "trio"]
SCENES = {  # what the steps have written down by the end
    "compensates": ["done", "done", "sleeper", "undone", "undone"],
    "compensates_in_threads": ["done", "done", "sleeper", "undone", "undone"],
    "compensates_nested": ["done"] * 4 + ["sleeper"] + ["undone"] * 4,
    "while_it_compensates": ["done", "done", "attempt", "undone", "undone"],
    "a_step_that_raises_it": ["done", "done", "undone", "undone"],
    "a_thread_that_raises_it": ["done", "done", "undone", "undone"],
    "between_attempts": ["attempt"],
    "at_a_limiter": ["sleeper"],
    "in_a_timed_body": ["sleeper"],
    "a_thread_over_its_timeout": [],
    "a_timed_thread": [],
    "a_compensation_that_hangs": ["done", "done", "sleeper", "hangs"],
}


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


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scene", SCENES)
def test_control_c_surfaces_bare_after_what_is_to_be_undone(loop: str, scene: str) -> None:
    """C16, C19, F7."""
    facts = theatre(loop)[0].get(scene)
    assert facts, "the scene never ended"
    assert facts["came"] == "KeyboardInterrupt"
    assert facts["ran"] == SCENES[scene]
    assert facts["seconds"] < 2
    assert facts["seqs"] == list(range(1, len(facts["seqs"]) + 1))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scene", SCENES)
def test_subscribers_hear_of_it_to_the_end(loop: str, scene: str) -> None:
    facts = theatre(loop)[0][scene]
    assert (
        facts["last"] == ("failed" if scene == "while_it_compensates" else "cancelled") or facts["last"] == "cancelled"
    )
    undone = [path for path, state in facts["ends"].items() if state == "compensated"]
    assert len(undone) == SCENES[scene].count("undone")
    assert facts["broken"] == (["b", "a"] if scene == "a_compensation_that_hangs" else [])


@pytest.mark.parametrize("loop", LOOPS)
def test_python_has_nothing_to_complain_about(loop: str) -> None:
    assert "never" not in theatre(loop)[1], "a coroutine was never awaited, an exception never retrieved"
    assert "Traceback" not in theatre(loop)[1]


@pytest.mark.parametrize("loop", LOOPS)
def test_the_second_control_c_does_not_wait_for_the_compensation(loop: str) -> None:
    """C17."""
    begin = time.monotonic()
    ended = play(loop, "pressed_twice")
    assert time.monotonic() - begin < 10
    assert ended.returncode != 0
    assert "KeyboardInterrupt" in ended.stderr


@pytest.mark.parametrize("loop", LOOPS)
def test_a_thread_over_its_timeout_does_not_hold_up_the_exit(loop: str) -> None:
    """T3."""
    begin = time.monotonic()
    ended = play(loop, "stuck_at_exit")
    assert time.monotonic() - begin < 10
    assert (ended.returncode, json.loads(ended.stdout)) == (0, ["stuck"])

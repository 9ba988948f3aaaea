"""Ctrl-C while resources are opened, used and closed, in a process of its own: they are closed, and it comes bare."""

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(60)
SCRIPT = Path(__file__).with_name("resource_scenes.py")
LOOPS = ["asyncio", "uvloop", "trio"]
SCENES = {  # what is written down, in order
    "in_use": ["running", "open", "closed", "cancelled"],
    "in_use_in_a_thread": ["running", "open", "closed", "cancelled"],
    "while_opening": ["running", "open", "withdrawn", "closed", "cancelled"],
    "while_closing": ["running", "closed", "succeeded"],
    "an_opening_that_raises_it": ["running", "open", "closed", "cancelled"],
    "a_closing_that_raises_it": ["running", "open", "closed", "failed"],
}


@functools.cache
def theatre(loop: str) -> tuple[dict[str, dict[str, Any]], str]:
    """All scenes on one loop, in one process, and its stderr; a scene that hangs takes those behind it along."""
    command = [sys.executable, "-X", "faulthandler", str(SCRIPT), loop]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        output, errors = ended.stdout, ended.stderr
    except subprocess.TimeoutExpired as expired:
        output, errors = (expired.stdout or b"").decode(), (expired.stderr or b"").decode()
    return {facts["scene"]: facts for facts in map(json.loads, output.splitlines())}, errors


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scene", SCENES)
def test_control_c_surfaces_bare_after_everything_is_closed(loop: str, scene: str) -> None:
    scenes, errors = theatre(loop)
    facts = scenes.get(scene)
    assert facts, errors
    assert facts["came"] == "KeyboardInterrupt"
    assert facts["ran"] == SCENES[scene]
    assert facts["threads"] == []


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_is_said_on_stderr(loop: str) -> None:
    assert not theatre(loop)[1]

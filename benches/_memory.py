"""What the operating system says about the memory of a process, asked in processes that do nothing else."""

import gc
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ("in_fresh_process", "needs_proc", "peak_above", "resident")

_ROOT: Final = Path(__file__).parents[1]
_SELF: Final = Path("/proc/self")

needs_proc = pytest.mark.skipif(not (_SELF / "clear_refs").exists(), reason="asks /proc, which only Linux has")

# Big blocks come from the system and go back to it at once, so that what is held can be seen from outside.
_MALLOC: Final = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


def in_fresh_process(probe: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of a bench in an interpreter of its own, and return what it returns, by way of JSON."""
    module = f"benches.{Path(inspect.getfile(probe)).stem}"
    code = f"import json, {module}; print(json.dumps({module}.{probe.__name__}(*{arguments!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, env=os.environ | _MALLOC, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def resident() -> int:
    """Return how many bytes of this process are in memory."""
    gc.collect()
    return int((_SELF / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def peak_above(work: Callable[[], Any]) -> tuple[Any, int]:
    """Return the result of work, and how many more bytes than before were in memory at the worst moment of it."""
    before = resident()
    (_SELF / "clear_refs").write_text("5")  # forgets the peak
    result = work()
    (line,) = [line for line in (_SELF / "status").read_text().splitlines() if line.startswith("VmHWM")]
    return result, int(line.split()[1]) * 1024 - before

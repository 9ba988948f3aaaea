"""What a virtual event loop says when nothing can happen any more, and whether threads may still change that."""

import threading
from collections.abc import Callable, Iterable
from math import inf
from types import FrameType
from typing import Any

from orch.errors import OrchError

__all__ = ("DeadlockError", "Patience", "deadlock", "innermost")

_SHOWN = 20
_LOOPS = {"anyio", "asyncio", "trio"}


class DeadlockError(OrchError, RuntimeError):
    """Every task of a virtual run waits for another, and no timer is set: on a real clock it would hang for ever."""


def deadlock(tasks: Iterable[tuple[str, str]]) -> DeadlockError:
    """Make the error out of the names of the tasks and of the places where they wait."""
    lines = sorted(f"  {name} waits at {place}" for name, place in tasks)
    more = [f"  and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return DeadlockError("\n".join(["nothing can run and no timer is set:", *lines[:_SHOWN], *more]))


def innermost(coroutine: Any) -> str:
    """Say in which line a coroutine is suspended, following what it awaits, but not into the event loop's library."""
    frame: FrameType | None = None
    while coroutine is not None:
        found = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if found is not None and (frame is None or found.f_globals.get("__name__", "").split(".")[0] not in _LOOPS):
            frame = found
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" if frame else "its beginning"


class Patience:
    """Waiting, in real time, for worker threads that have begun since: what they do takes no virtual time.

    Nobody can see from outside whether a thread works or is idle; so before time jumps they all get a moment.

    Args:
        wait: Waits so many seconds, None for ever, until a thread has something for the loop, and says whether.
    """

    MOMENT = 0.01  # seconds

    def __init__(self, wait: Callable[[float | None], bool]) -> None:
        self._wait = wait
        self._before = threading.active_count()

    def for_threads(self, timer: float) -> bool:
        """Wait, only a moment if there is a timer; say whether something has come."""
        return threading.active_count() > self._before and self._wait(None if timer == inf else self.MOMENT)

"""What a virtual event loop says when nothing can happen any more, and whether threads may still change that."""

import sys
import threading
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from math import inf
from types import FrameType
from typing import Any

from orch.errors import OrchError

__all__ = ("DeadlockError", "Patience", "deadlock", "innermost", "sleeps_in")

_SHOWN = 20
_LOOPS = {"anyio", "asyncio", "trio"}


class DeadlockError(OrchError, RuntimeError):
    """Every task of a virtual run waits for another, and no timer is set: on a real clock it would hang for ever."""


def deadlock(tasks: Iterable[tuple[str, str]], threads: Iterable[str] = ()) -> DeadlockError:
    """Make the error out of the names of the tasks and of the places where they wait, and of lines about threads."""
    lines = sorted(f"  {name} waits at {place}" for name, place in tasks)
    more = [f"  and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return DeadlockError("\n".join(["nothing can run and no timer is set:", *lines[:_SHOWN], *more, *threads]))


def innermost(coroutine: Any) -> str:
    """Say in which line a coroutine is suspended, following what it awaits, but not into the event loop's library."""
    frame: FrameType | None = None
    while coroutine is not None:
        found = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if found is not None and (frame is None or found.f_globals.get("__name__", "").split(".")[0] not in _LOOPS):
            frame = found
        inside = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
        if (
            inside is None and found is not None and found.f_code.co_name == "_drive"
        ):  # a lane of orch lets a step go on
            inside = found.f_locals.get("body")
        coroutine = inside
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" if frame else "its beginning"


class Patience:
    """Waiting, in real time, for worker threads that have begun since: what they do takes no virtual time.

    Nobody can see from outside what a thread will do next; so before time jumps they all get a moment, and before a
    deadlock is called one they get long enough for what a step does in a test.

    Args:
        wait: Waits at most so many seconds until a thread has something for the loop, and says whether; 0 has a look.
        idle: Finds threads that are kept between runs, and have nothing to do now.
        kept: Those that are kept now, be it that they still end what they did for an earlier run.
    """

    MOMENT = 0.01  # seconds
    PARKED = 1.0  # for threads of orch that wait for work: one that has just been given some is about to wake up
    LONGEST = 5.0

    def __init__(
        self,
        wait: Callable[[float], bool],
        idle: Callable[[], AbstractSet[threading.Thread]] = frozenset,
        kept: AbstractSet[threading.Thread] = frozenset(),
    ) -> None:
        self._wait = wait
        self._idle = idle
        self._before = frozenset(threading.enumerate()) - kept

    def for_threads(self, timer: float) -> bool:
        """Wait, only a moment if there is a timer; say whether something has come, be it from a thread that is gone."""
        threads = self._threads()  # before the look: what ends after it has been waited for, what ended has posted
        longest = self.PARKED if all(map(_is_parked, threads)) else self.LONGEST
        return self._wait(0 if not threads else self.MOMENT if timer != inf else longest)

    def silent(self) -> list[str]:
        """Say which threads may still do something, but have not for as long as they were waited for."""
        busy = sorted(thread.name for thread in self._threads() if not _is_parked(thread))
        return [f"  thread {name} gave no news in {self.LONGEST:g} seconds" for name in busy]

    def _threads(self) -> AbstractSet[threading.Thread]:
        return frozenset(threading.enumerate()) - self._before - self._idle()


def _is_parked(thread: threading.Thread) -> bool:
    return thread.name.startswith("orch-") and sleeps_in(thread, "_park")


def sleeps_in(thread: threading.Thread, function: str) -> bool:
    """Say whether the innermost function of a thread, as far as it is Python's, is this one."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 (documented, all the same)
    return frame is not None and frame.f_code.co_name == function

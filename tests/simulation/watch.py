"""Looking at runs from outside: the engine's own `Run`, kept before it is gone, and an alarm for one that spins."""

import logging
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orch.runners import _async as runners

__all__ = ("HangError", "alarmed", "awake", "keep", "kept")

PATIENCE = 5.0

_logger = logging.getLogger("orch")
_keepers = deque[Any](maxlen=1)  # no context variable: a run keeps those, so it would keep itself


class HangError(KeyboardInterrupt):
    """A run that spins: real time passes, virtual time does not. No event loop keeps an interrupt to itself."""


class _Alarm:
    """When the run that is on began, in real time; it looks at the clock twice a second."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.is_set = False

    def ring(self, *_: object) -> None:
        if self.began is not None and time.monotonic() > self.began + PATIENCE:
            raise HangError(f"still running after {PATIENCE} seconds of real time")


_alarm = _Alarm()


@contextmanager
def awake() -> Iterator[None]:
    """Have the alarm set for many runs: to set it takes as long as all that is done at the end of one."""
    if _alarm.is_set:
        yield
        return
    before = signal.signal(signal.SIGALRM, _alarm.ring)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)  # again and again, also while it is cleaned up
    _alarm.is_set = True
    try:
        yield
    finally:
        _alarm.is_set = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def alarmed() -> Iterator[None]:
    """End a run that spins, out of a signal, so that seeds behind it have their turn."""
    with awake():
        _alarm.began = time.monotonic()
        try:
            yield
        finally:
            _alarm.began = None


def keep(holder: Any) -> None:
    """Have the next run put into `holder.run`; to be made before anybody else has a turn."""
    _keepers.append(holder)


@contextmanager
def kept() -> Iterator[None]:
    """Keep hold of runs, of which a cancelled caller gets no result; let nothing be logged."""
    names: dict[str, Any] = runners.__dict__
    make = names["Run"]

    def making(*given: Any) -> Any:
        run = make(*given)
        if _keepers:
            _keepers.pop().run = run
        return run

    names["Run"], _logger.disabled = making, True
    try:
        yield
    finally:
        names["Run"], _logger.disabled = make, False

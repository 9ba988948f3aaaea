"""Looking at runs from outside: the engine's own `Run`, kept before it is gone, and an alarm for one that spins."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from orch.runners import _async as runners

__all__ = ("HangError", "alarmed", "keep", "kept")

PATIENCE = 5.0

_logger = logging.getLogger("orch")
_keeper = ContextVar[Any]("keeper")


class HangError(KeyboardInterrupt):
    """A run that spins: real time passes, virtual time does not. No event loop keeps an interrupt to itself."""


@contextmanager
def alarmed() -> Iterator[None]:
    """End a run that spins, out of a signal, so that seeds behind it have their turn."""

    def stop(*_: object) -> None:
        raise HangError(f"still running after {PATIENCE} seconds of real time")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, 0.5)  # again, while it is cleaned up
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def keep(holder: Any) -> None:
    """Have the next run of this task, and of those it starts, put into `holder.run`."""
    _keeper.set(holder)


@contextmanager
def kept() -> Iterator[None]:
    """Keep hold of runs, of which a cancelled caller gets no result; let nothing be logged."""
    names: dict[str, Any] = runners.__dict__
    make = names["Run"]

    def making(*given: Any) -> Any:
        run = _keeper.get().run = make(*given)
        return run

    names["Run"], _logger.disabled = making, True
    try:
        yield
    finally:
        names["Run"], _logger.disabled = make, False

"""Looking at runs from outside: the engine's own `Run`, kept before it is gone, and an alarm for one that spins."""

import logging
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orch.runners import _async as runners

__all__ = ("HangError", "alarmed", "keep", "kept")

PATIENCE = 5.0

_logger = logging.getLogger("orch")
_keepers = deque[Any](maxlen=1)  # no context variable: a run keeps those, so it would keep itself


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

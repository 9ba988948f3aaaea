"""The cache of a runner, as its runs see it: who works something out at the moment, and who has been warned."""

from __future__ import annotations

import logging
from threading import Lock
from typing import Any

from anyio.lowlevel import current_token

from orch.abc import Cache
from orch.execution._errands import Errands
from orch.execution._flights import Flights
from orch.execution._wires import Wires

__all__ = ("Caching", "Shelf")

_MOST = 10_000  # tasks that a runner remembers to have warned about
_logger = logging.getLogger("orch")


class Caching:
    """The cache of a runner."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.blocks: bool = getattr(cache, "blocks", True)  # whether asking it takes so long that a thread has to
        known = getattr(cache, "flights", None)  # of runners with the same cache
        self.flights = known if isinstance(known, Flights) else Flights()
        self._warned, self._lock = set[str](), Lock()

    def warn(self, subject: str, path: str, message: str) -> None:
        """Write a warning into the log, the first time there is one about this subject."""
        with self._lock:
            known = subject in self._warned
            if len(self._warned) >= _MOST:
                self._warned.clear()
            self._warned.add(subject)
        if not known:
            _logger.warning("task %r %s", path, message)


class Shelf:
    """The cache of a run."""

    def __init__(self, of: Caching, run: Wires, grace: float) -> None:
        self.of = of
        self.loop: Any = current_token().native_token
        self.told = set[str]()  # what the trace of the run has a warning about
        self.errands = Errands(run, grace) if of.blocks else None

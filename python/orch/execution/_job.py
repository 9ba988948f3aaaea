"""A body for a worker thread, seen from the loop: handed over, begun, ended; withdrawn if nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from anyio import Event as Signal
from anyio._core._eventloop import set_current_async_library

from orch.execution._failure import lament

__all__ = ("Job",)


def _nothing() -> None: ...


class Job:
    """One call in a worker thread, in a copy of the context variables.

    What it does to the loop goes through the desk, as a message.
    """

    __slots__ = (
        "_call",
        "_context",
        "_lock",
        "_withdrawn",
        "clean",
        "ended",
        "error",
        "is_begun",
        "is_dropped",
        "on_begin",
        "on_end",
        "on_tell",
        "value",
    )

    def __init__(self, call: Callable[[], Any], on_begin: Callable[[], object] | None = None) -> None:
        self._context = copy_context()
        self._context.run(set_current_async_library, None)  # as anyio does: there is no event loop in a worker thread
        self._call = call
        self._lock = threading.Lock()
        self._withdrawn = self.is_begun = False
        self.is_dropped = False  # whether nobody wants what it will give
        self.on_begin = on_begin  # to be called on the loop when a thread has begun
        self.clean: Callable[[str], str] | None = None  # what texts go through that the run logs
        self.on_end: list[Callable[[], object]] = []  # the same, when it has ended
        self.on_tell: Callable[[], object] = _nothing  # to be called on the loop when it is to end
        self.ended = Signal()
        self.value: Any = None
        self.error: BaseException | None = None

    def do(self, send: Callable[[Callable[[], object]], object]) -> None:
        """Make the call, in the thread of the caller; what it raises is kept."""
        with self._lock:
            if self._withdrawn:
                return
            self.is_begun = True
        if self.on_begin is not None:
            send(self.on_begin)
        try:
            self.value = self._context.run(self._call)
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is the outcome of the step)
            self.error = error

    @property
    def is_lasting(self) -> bool:
        """Whether a thread has begun and, as far as the loop knows, not ended."""
        return self.is_begun and not self.ended.is_set()

    def withdraw(self) -> bool:
        """Say that nobody wants it any more; False if a thread has begun."""
        with self._lock:
            self._withdrawn = not self.is_begun
        return self._withdrawn

    def finish(self) -> None:
        """Tell who waits that it has ended. On the loop."""
        self.ended.set()
        if self.is_dropped and hasattr(type(self.value), "__await__"):
            getattr(self.value, "close", _nothing)()  # or Python would say that it was never awaited
        for call in self.on_end:
            try:
                call()
            except Exception as error:  # noqa: BLE001 (of a limiter; raised on, it would end the event loop)
                lament(self.clean, error, "what was to be done at the end of a body in a thread failed")

    def result(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.value

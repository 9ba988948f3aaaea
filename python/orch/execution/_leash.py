"""How a worker thread learns that its step is to end: `anyio.from_thread.check_cancelled()` raises in it from then on.

anyio and trio only tell threads that they have started themselves, and where they look for it has no public name.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, NoReturn

from anyio._core._eventloop import threadlocals
from anyio.lowlevel import EventLoopToken

__all__ = ("Leash",)


class Leash:
    """What one worker thread asks, whichever step it is in."""

    def __init__(self, token: EventLoopToken) -> None:
        self._token = token
        self._trio = None if hasattr(token.native_token, "call_soon_threadsafe") else sys.modules.get("trio._threads")
        self.lock = threading.Lock()  # to be held while a body begins, or is told to end
        self.is_pulled = False  # whether a body was told to end
        self._register: list[Any] = [None]  # of trio: what to call to raise
        self._scope: Any = None  # of anyio on asyncio

    def put_on(self) -> None:
        """Have this thread ask here; to be called in it, and again once a body that was told to end has ended."""
        if self._trio is not None:
            self._trio.PARENT_TASK_DATA.token = self._token.native_token
            self._trio.PARENT_TASK_DATA.abandon_on_cancel = True
            self._trio.PARENT_TASK_DATA.cancel_register = self._register
        else:
            threadlocals.current_cancel_scope = self._scope = self._token.backend_class.create_cancel_scope()
        self.is_pulled, self._register[0] = False, None

    def pull(self) -> None:
        """Tell the step that the thread is in. On the loop."""
        self.is_pulled = True
        if self._trio is not None:
            self._register[0] = _raise_cancelled
        else:
            self._scope.cancel()
            self._scope._deliver_cancellation(self._scope)  # noqa: SLF001 (also to what it awaits on the loop)


def _raise_cancelled() -> NoReturn:
    raise sys.modules["trio"].Cancelled._create()  # noqa: SLF001 (trio has no public way either)

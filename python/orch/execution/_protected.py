"""Where trio may raise KeyboardInterrupt: in code of the user, never between a suspended step and the event loop.

Trio raises it wherever the main thread happens to be, unless the code is marked as protected; then whoever waits in the
main task gets it. Asyncio does that anyhow. A step whose lane is interrupted while it is handed to the event loop would
be lost suspended: its scopes are closed in the wrong task, and trio itself breaks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ("exposed", "protect", "protected")

_marks: list[tuple[str, Callable[..., Any]]] = []


def protected(fn: Callable[..., Any]) -> None:
    """Let nothing that is called from this function be interrupted, but what is `exposed`."""
    _marks.append(("enable_ki_protection", fn))


def exposed(fn: Callable[..., Any]) -> None:
    """Let what is called from this function be interrupted."""
    _marks.append(("disable_ki_protection", fn))


def protect() -> None:
    """Tell trio about all of them, once, if it has been imported."""
    trio: Any = sys.modules.get("trio.lowlevel") if _marks else None
    if trio is not None:
        for how, fn in _marks:
            getattr(trio, how)(fn)
        _marks.clear()  # last, should this be interrupted itself

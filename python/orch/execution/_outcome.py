"""What the end of a step's body means: small judgements about exceptions, without state."""

from __future__ import annotations

import sys

from orch.errors import ForeignCancellationError

__all__ = ("annotate", "foreign", "natively_cancelled", "unwrapped")


def unwrapped(error: Exception) -> Exception:
    """
    Return what the body really raised.

    Python turns a StopIteration that leaves a coroutine into a RuntimeError (PEP 479); the user raised the former.
    """
    cause = error.__cause__
    if type(error) is RuntimeError and isinstance(cause, StopIteration | StopAsyncIteration):
        return cause
    return error


def foreign(error: BaseException) -> ForeignCancellationError:
    """Return the failure of a step that raised a cancellation nobody had asked for (a library inside it did)."""
    failure = ForeignCancellationError(
        f"the step raised {type(error).__name__} although nobody cancelled it; something inside it did"
    )
    failure.__cause__ = error
    return failure


def annotate(error: BaseException, note: str) -> None:
    """Add the note once; an exception object that several attempts share keeps one of each."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def natively_cancelled() -> bool:
    """Say whether the current asyncio task was cancelled by `Task.cancel()`; False on other event loops."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0

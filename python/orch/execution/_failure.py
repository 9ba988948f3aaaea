"""What the end of a step's body means, and what a failure leads to. Small judgements without state."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable
from typing import cast

from anyio import current_effective_deadline

from orch.errors import ForeignCancellationError, InternalError
from orch.event import TaskEvent
from orch.event._text import brief
from orch.policies import FailureStrategy, Strategy

__all__ = (
    "annotate",
    "bare",
    "decide",
    "foreign",
    "is_cancelled",
    "is_foreign",
    "lament",
    "unwrapped",
    "without_cancellation",
)

_logger = logging.getLogger("orch")


def lament(
    clean: Callable[[str], str] | None, error: BaseException, what: str, *about: object, level: int = logging.ERROR
) -> None:
    """Write to the log what has failed that is no step, with its traceback; made safe if the run says how."""
    if clean is None:
        _logger.log(level, what, *about, exc_info=error)
    else:
        text = what.replace("%r", "{}").format(*map(brief, about))
        _logger.log(level, "%s", clean(f"{text}\n{''.join(traceback.format_exception(error))}"))


def decide(on_failure: FailureStrategy | Strategy, group: object, event: Callable[[], TaskEvent]) -> FailureStrategy:
    """Return how a group reacts to a failure in it: the reducer behind `on_failure`. Only objects get the event."""
    if isinstance(on_failure, FailureStrategy):
        return on_failure
    chosen = cast("object", on_failure.on_failure(event(), group))  # whatever the object says
    if not isinstance(chosen, FailureStrategy):
        raise TypeError(f"{on_failure!r}.on_failure: expected a FailureStrategy, found {chosen!r}")
    return chosen


def unwrapped(error: Exception) -> Exception:
    """Return what the body really raised: PEP 479 makes a RuntimeError of a StopIteration that leaves a coroutine."""
    cause = error.__cause__
    made = type(error) is RuntimeError and str(error).endswith(("raised StopIteration", "raised StopAsyncIteration"))
    return cause if made and isinstance(cause, StopIteration | StopAsyncIteration) else error


def without_cancellation(error: BaseException, cancelled: type[BaseException]) -> BaseException:
    """Return what matters of a group out of a cancelled task group: an interrupt, else what is no cancellation."""
    if not isinstance(error, BaseExceptionGroup) or isinstance(error, Exception):
        return error
    _, rest = error.split(cancelled)
    grave = None if rest is None else rest.split((KeyboardInterrupt, SystemExit))[0]
    found: BaseException = error if rest is None else rest
    if rest is not None and grave is None:
        return found
    found = found if grave is None else grave
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def foreign(error: BaseException) -> ForeignCancellationError:
    """Return the failure of a step that raised a cancellation nobody had asked for."""
    what = f"the step raised {type(error).__name__} although nobody cancelled it; something inside it did"
    failure = ForeignCancellationError(what)
    failure.__cause__ = error
    return failure


def is_foreign(error: BaseException) -> bool:
    """Say whether this is the cancellation of another event loop, out of a loop that a step ran inside itself."""
    return not isinstance(error, Exception) and type(error).__name__ in {"CancelledError", "Cancelled"}


def bare(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one exception that matters of those that the engine's own tasks ended with."""
    grave, _ = failures.split(lambda each: not isinstance(each, Exception | BaseExceptionGroup))
    found: BaseException = failures if grave is None else grave
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if isinstance(found, Exception):
        found, cause = InternalError(f"the engine itself failed: {found!r}"), found
        found.__cause__ = cause
    return found


def annotate(error: BaseException, note: str) -> None:
    """Add the note once; an exception object that several tasks share keeps one of each."""
    with contextlib.suppress(Exception):  # some exceptions refuse notes; they are reported without
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def is_cancelled() -> bool:
    """Say whether somebody has cancelled the current task, or a scope around it."""
    return current_effective_deadline() == float("-inf")

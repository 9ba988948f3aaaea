"""Events as lines of text, each on one line whatever names and messages contain."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from orch.errors import inert
from orch.event import Event, LogEvent, RunEvent, State, TaskEvent
from orch.event._text import brief, describe

if TYPE_CHECKING:
    from collections.abc import Callable


def log(logger: logging.Logger | None = None, level: int = logging.INFO) -> Callable[[Event], None]:
    """
    A subscriber that writes one line for each event to a logger.

    Args:
        logger: By default the one named "orch".
        level: The severity of a change of state; an attempt that will be repeated is at least a warning, a
            failure at least an error. What a step logs has the severity that the step gave it.

    Example:
        >>> import logging
        >>> from orch import event, subscribers
        >>> bus = event.EventBus()
        >>> tell = bus.subscribe(subscribers.log(level=logging.DEBUG))
    """
    target = logging.getLogger("orch") if logger is None else logger

    def write(event: Event) -> None:
        severity = _severity(event, level)
        if target.isEnabledFor(severity):
            target.log(severity, "%s", line(event))

    return write


def _severity(event: Event, level: int) -> int:
    match event:
        case LogEvent():
            return logging.getLevelNamesMapping().get(event.level.upper(), level)
        case RunEvent(state=State.FAILED) | TaskEvent(state=State.FAILED):
            return max(level, logging.ERROR)
        case TaskEvent(state=State.RETRYING):
            return max(level, logging.WARNING)
        case _:
            return level


def line(event: Event) -> str:
    """What the event says, on one line and without control characters."""
    match event:
        case RunEvent():
            text = f"{event.workflow!r} {event.state.value}{_error(event.error)}"
        case TaskEvent():
            text = f"task {event.path!r} {event.state.value}{_circumstances(event)}{_error(event.error)}"
        case LogEvent():
            text = f"task {event.path!r}: {inert(event.message)}"
        case _:
            text = inert(brief(event))
    return f"run {inert(event.run_id)}: {text}"


def _circumstances(event: TaskEvent) -> str:
    """Attempts after the first, the wait for the next one, and why a task was skipped."""
    parts = [f"attempt {event.attempt}"] if event.attempt > 1 else []
    if event.delay is not None:
        parts.append(f"again in {event.delay:g} s")
    if event.reason is not None:
        parts.append(f"{event.reason} by {event.cause!r}" if event.cause else event.reason)
    return f" ({', '.join(parts)})" if parts else ""


def _error(error: BaseException | None) -> str:
    return f": {inert(describe(error))}" if error else ""

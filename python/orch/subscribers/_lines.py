"""What happens, as lines of text, none of which can be forged by names or messages: for a logger, for a screen."""

import logging
from collections.abc import Callable
from types import NoneType

from orch.errors import expect, inert
from orch.event import Event, LogEvent, RunEvent, State, TaskEvent
from orch.event._discreet import Sanitizer, sanitizer, sanitizer_of, told
from orch.event._text import REPR_LIMIT, cut, describe

_AT_LEAST = {State.RETRYING: logging.WARNING, State.FAILED: logging.ERROR}


def log(
    logger: logging.Logger | None = None,
    level: int = logging.INFO,
    *,
    sanitize: Callable[[str], str] | None = None,
) -> Callable[[Event], None]:
    """A subscriber that writes one line for each event to a logger, by default the one named "orch".

    Changes of state have the `level`, but an attempt that will be repeated is at least a warning and a failure at least
    an error; what a step logs has the severity that the step gave it. Messages and values in words go through the
    `sanitize` of the run, and then through this one.

    >>> from orch.event import EventBus
    >>> write = EventBus().subscribe(log(level=logging.DEBUG))
    """
    expect("logger", logger, logging.Logger, NoneType)
    expect("level", level, int)
    clean = sanitizer(sanitize)
    target = logger or logging.getLogger("orch")

    def write(event: Event) -> None:
        severity = max(level, _AT_LEAST.get(getattr(event, "state", State.RUNNING), level))
        if isinstance(event, LogEvent):
            severity = logging.getLevelNamesMapping().get(event.level.upper(), level)
        if target.isEnabledFor(severity):
            target.log(severity, "%s", line(event, clean))

    return write


def line(event: Event, sanitize: Sanitizer | None = None) -> str:
    """What the event says, on one line and without control characters."""
    clean = _both(sanitizer_of(event), sanitize)
    match event:
        case RunEvent():
            text = f"{event.workflow!r} {event.state.value}"
        case TaskEvent():
            text = f"task {event.path!r} {event.state.value}{_circumstances(event)}"
        case LogEvent():
            text = f"task {event.path!r}: {inert(event.message if sanitize is None else sanitize(event.message))}"
        case _:
            text = inert(cut(told(event, clean), REPR_LIMIT))
    error = getattr(event, "error", None)
    return f"run {inert(event.run_id)}: {text}" + (f": {inert(describe(error, clean))}" if error else "")


def _both(first: Sanitizer | None, second: Sanitizer | None) -> Callable[[str], str] | None:
    return first if second is None else second if first is None else lambda text: second(first(text))


def _circumstances(event: TaskEvent) -> str:
    parts = [f"attempt {event.attempt}"] if event.attempt > 1 else []
    if event.delay is not None:
        parts.append(f"again in {event.delay:g} s")
    if event.reason is not None:
        parts.append(f"{event.reason} by {event.cause!r}" if event.cause else event.reason)
    return f" ({', '.join(parts)})" if parts else ""

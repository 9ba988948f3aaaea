"""A function for each kind of event."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Never

from orch.errors import close_matches, did_you_mean
from orch.event import CircuitEvent, CompensationEvent, Event, LogEvent, RunEvent, State, TaskEvent
from orch.event._text import brief

_OF_TASKS: Mapping[State, str] = MappingProxyType(
    {
        State.RUNNING: "on_task_start",
        State.RETRYING: "on_task_retry",
        State.SUCCEEDED: "on_task_end",
        State.FAILED: "on_task_end",
        State.CANCELLED: "on_task_end",
        State.SKIPPED: "on_task_skip",
        State.COMPENSATED: "on_compensation",
    }
)


def callbacks(
    *,
    on_run_start: Callable[[RunEvent], object] | None = None,
    on_run_end: Callable[[RunEvent], object] | None = None,
    on_task_start: Callable[[TaskEvent], object] | None = None,
    on_task_end: Callable[[TaskEvent], object] | None = None,
    on_task_retry: Callable[[TaskEvent], object] | None = None,
    on_task_skip: Callable[[TaskEvent], object] | None = None,
    on_compensation: Callable[[TaskEvent | CompensationEvent], object] | None = None,
    on_circuit: Callable[[CircuitEvent], object] | None = None,
    on_log: Callable[[LogEvent], object] | None = None,
    **unknown: Never,
) -> Callable[[Event], object]:
    """A subscriber that hands each event to the function for its kind, plain or async; the others are passed over.

    Every attempt starts its task (`on_task_start`), and one that will be repeated retries it. A task that is not
    skipped ends once: succeeded, failed or cancelled. A compensation is told as a `TaskEvent` if it was made, as a
    `CompensationEvent` if it failed.

    >>> from orch.event import EventBus
    >>> tell = EventBus().subscribe(callbacks(on_task_end=print, on_run_end=lambda event: print(event.state)))
    """
    given = {
        "on_run_start": on_run_start,
        "on_run_end": on_run_end,
        "on_task_start": on_task_start,
        "on_task_end": on_task_end,
        "on_task_retry": on_task_retry,
        "on_task_skip": on_task_skip,
        "on_compensation": on_compensation,
        "on_circuit": on_circuit,
        "on_log": on_log,
    }
    _check(given, unknown)

    def tell(event: Event) -> object:
        handler: Callable[..., object] | None = given.get(_kind(event))
        return handler(event) if handler is not None else None

    return tell


def _check(given: Mapping[str, object], unknown: Mapping[str, object]) -> None:
    for name in unknown:
        hint = did_you_mean(close_matches(name, given), "; {}") or f": expected one of {', '.join(given)}"
        raise TypeError(f"callbacks: there is no {name!r}{hint}")
    for name, handler in given.items():
        if handler is not None and not callable(handler):
            expected = "expected a function of one event, or None"
            raise TypeError(f"{name}: {expected}, found {type(handler).__name__} ({brief(handler)})")


def _kind(event: Event) -> str:
    match event:
        case TaskEvent():
            return _OF_TASKS.get(event.state, "")
        case RunEvent():
            return "on_run_start" if event.state is State.RUNNING else "on_run_end" if event.state.is_final else ""
        case CircuitEvent():
            return "on_circuit"
        case CompensationEvent():
            return "on_compensation"
        case LogEvent():
            return "on_log"
        case _:
            return ""

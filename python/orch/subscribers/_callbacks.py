"""A function for each kind of event."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Never

from orch.errors import close_matches, did_you_mean
from orch.event import (
    ChunkEvent,
    CircuitEvent,
    CompensationEvent,
    Event,
    InterruptEvent,
    LogEvent,
    MapEvent,
    RunEvent,
    State,
    TaskEvent,
)
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
_OF_THE_REST: Mapping[type[Event], str] = MappingProxyType(
    {
        ChunkEvent: "on_chunk",
        CircuitEvent: "on_circuit",
        CompensationEvent: "on_compensation",
        InterruptEvent: "on_interrupt",
        LogEvent: "on_log",
        MapEvent: "on_map",
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
    on_chunk: Callable[[ChunkEvent], object] | None = None,
    on_interrupt: Callable[[InterruptEvent], object] | None = None,
    on_map: Callable[[MapEvent], object] | None = None,
    on_circuit: Callable[[CircuitEvent], object] | None = None,
    on_log: Callable[[LogEvent], object] | None = None,
    **unknown: Never,
) -> Callable[[Event], object]:
    """A subscriber that hands each event to the function for its kind, plain or async; the others are passed over.

    Every attempt starts its task (`on_task_start`), and one that will be repeated retries it. A task that is not
    skipped ends once: succeeded, failed or cancelled. A compensation is told as a `TaskEvent` if it was made, as a
    `CompensationEvent` if it failed. A step that streams gives a chunk for each of its values, one that waits for
    somebody's answer interrupts, and each item of a map says what becomes of it.

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
        "on_chunk": on_chunk,
        "on_interrupt": on_interrupt,
        "on_map": on_map,
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
            return {State.PENDING: "", State.RUNNING: "on_run_start"}.get(event.state, "on_run_end")  # PAUSED is an end
        case _:
            return _OF_THE_REST.get(type(event), "")

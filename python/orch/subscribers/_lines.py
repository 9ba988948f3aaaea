"""What happens, as lines of text, none of which can be forged by names or messages: for a logger, for a screen."""

import io
import logging
import shutil
import sys
from collections.abc import Callable
from types import NoneType
from typing import TextIO

from orch.errors import expect, inert
from orch.event import Event, LogEvent, RunEvent, State, TaskEvent
from orch.event._text import brief, cut, describe

_AT_LEAST = {State.RETRYING: logging.WARNING, State.FAILED: logging.ERROR}
_LIVE, _PLAIN = 0.1, 10.0  # seconds between two lines, by the time of the events: nothing is drawn twice for nothing


def log(logger: logging.Logger | None = None, level: int = logging.INFO) -> Callable[[Event], None]:
    """A subscriber that writes one line for each event to a logger, by default the one named "orch".

    Changes of state have the `level`, but an attempt that will be repeated is at least a warning and a failure at least
    an error; what a step logs has the severity that the step gave it.

    >>> from orch.event import EventBus
    >>> write = EventBus().subscribe(log(level=logging.DEBUG))
    """
    expect("logger", logger, logging.Logger, NoneType)
    expect("level", level, int)
    target = logger or logging.getLogger("orch")

    def write(event: Event) -> None:
        severity = max(level, _AT_LEAST.get(getattr(event, "state", State.RUNNING), level))
        if isinstance(event, LogEvent):
            severity = logging.getLevelNamesMapping().get(event.level.upper(), level)
        if target.isEnabledFor(severity):
            target.log(severity, "%s", line(event))

    return write


def line(event: Event) -> str:
    """What the event says, on one line and without control characters."""
    match event:
        case RunEvent():
            text = f"{event.workflow!r} {event.state.value}"
        case TaskEvent():
            text = f"task {event.path!r} {event.state.value}{_circumstances(event)}"
        case LogEvent():
            text = f"task {event.path!r}: {inert(event.message)}"
        case _:
            text = inert(brief(event))
    error = getattr(event, "error", None)
    return f"run {inert(event.run_id)}: {text}" + (f": {inert(describe(error))}" if error else "")


def _circumstances(event: TaskEvent) -> str:
    parts = [f"attempt {event.attempt}"] if event.attempt > 1 else []
    if event.delay is not None:
        parts.append(f"again in {event.delay:g} s")
    if event.reason is not None:
        parts.append(f"{event.reason} by {event.cause!r}" if event.cause else event.reason)
    return f" ({', '.join(parts)})" if parts else ""


def progress(stream: TextIO | None = None) -> Callable[[Event], None]:
    """A subscriber that shows how many tasks of each run are done, running and failed, by default on standard error.

    On a terminal that is one line, renewed ten times a second; elsewhere a line every ten seconds. Begin, end and each
    failure have lines of their own in both.

    >>> from orch.event import EventBus
    >>> show = EventBus().subscribe(progress())
    """
    if stream is not None and not _takes_text(stream):
        raise TypeError(f"stream: expected a text stream or None, found {type(stream).__name__} ({brief(stream)})")
    runs: dict[str, _Run] = {}

    def show(event: Event) -> None:
        if isinstance(event, RunEvent):
            run = runs.setdefault(event.run_id, _Run(event, stream or sys.stderr))
            if event.state.is_final:
                runs.pop(event.run_id).write(f"{run.counts(event)}, {event.state.value}")
            elif event.state is State.RUNNING:
                run.write(line(event))
        elif isinstance(event, TaskEvent) and event.run_id in runs:
            runs[event.run_id].add(event)

    return show


def _takes_text(stream: object) -> bool:  # by what it can do: wrappers inherit from nothing
    wrong = isinstance(stream, type | io.RawIOBase | io.BufferedIOBase)
    return not wrong and all(callable(getattr(stream, name, None)) for name in ("write", "flush", "isatty"))


class _Run:
    """How far one run is, and where that is shown."""

    def __init__(self, event: RunEvent, stream: TextIO) -> None:
        self._name, self._total = inert(event.workflow), event.tasks
        self._started = self._drawn = event.time
        self._running = set[str]()
        self._done = self._failed = 0
        self._stream, self._live = stream, stream.isatty()

    def add(self, event: TaskEvent) -> None:
        self._running.discard(event.path)
        if event.state is State.RUNNING:
            self._running.add(event.path)
        elif event.state.is_final and event.state is not State.COMPENSATED:  # it counted when it succeeded
            self._done += 1
        if event.state is State.FAILED:
            self._failed += 1
            self.write(line(event))
        if (event.time - self._drawn).total_seconds() >= (_LIVE if self._live else _PLAIN):
            self._drawn = event.time
            self.write(f"{self.counts(event)}, {inert(event.path)}", "" if self._live else "\n")

    def counts(self, event: Event) -> str:
        done = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        elapsed = (event.time - self._started).total_seconds()
        return f"{self._name}: {done} done, {len(self._running)} running, {self._failed} failed, {elapsed:.1f} s"

    def write(self, text: str, end: str = "\n") -> None:
        if self._live:  # over the line that stands there, which has no end yet
            text = "\r\x1b[K" + (text if end else cut(text, shutil.get_terminal_size().columns - 1))
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
        self._stream.flush()

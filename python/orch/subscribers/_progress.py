"""How far a run is: one line that changes on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, TextIO

from orch.errors import inert
from orch.event import Event, RunEvent, State, TaskEvent
from orch.event._text import cut
from orch.subscribers._log import line

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_LIVE = 0.1
_PLAIN = 10.0
_CLEAR = "\r\x1b[K"


def progress(stream: TextIO | None = None) -> Callable[[Event], None]:
    """
    A subscriber that shows how many tasks are done, running and failed, the time, and the task heard of last.

    On a terminal that is one line, renewed ten times a second; elsewhere a line every ten seconds. Begin, end and each
    failure have lines of their own in both. The time is that of the events, so that nothing is drawn twice for nothing.

    Args:
        stream: Where to write; by default the standard error stream.
    """
    return _Progress(sys.stderr if stream is None else stream)


class _Progress:
    """What is shown of the runs that it hears of; one object may follow several."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._runs: dict[str, _Counts] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunEvent):
            self._run(event)
        elif isinstance(event, TaskEvent) and event.run_id in self._runs:
            self._task(event, self._runs[event.run_id])

    def _run(self, event: RunEvent) -> None:
        counts = self._runs.setdefault(event.run_id, _Counts(event))
        if event.state.is_final:
            del self._runs[event.run_id]
            self._write(f"{counts.text(event)}, {event.state.value}", "\n")
        elif event.state is State.RUNNING:
            self._write(line(event), "\n")

    def _task(self, event: TaskEvent, counts: _Counts) -> None:
        counts.add(event)
        if event.state is State.FAILED:
            self._write(line(event), "\n")
        if (event.time - counts.drawn).total_seconds() >= (_LIVE if self._live else _PLAIN):
            counts.drawn = event.time
            self._write(f"{counts.text(event)}, {inert(event.path)}", "" if self._live else "\n")

    def _write(self, text: str, end: str) -> None:
        if self._live:
            text = _CLEAR + (text if end else cut(text, shutil.get_terminal_size().columns - 1))
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
        self._stream.flush()


class _Counts:
    """How far one run is."""

    def __init__(self, event: RunEvent) -> None:
        self.name = inert(event.workflow)
        self.total = event.tasks
        self.started: datetime = event.time
        self.drawn: datetime = event.time
        self.running: set[str] = set()
        self.done = self.failed = 0

    def add(self, event: TaskEvent) -> None:
        self.running.discard(event.path)
        if event.state is State.RUNNING:
            self.running.add(event.path)
        elif event.state.is_final and event.state is not State.COMPENSATED:  # it counted when it succeeded
            self.done += 1
            self.failed += event.state is State.FAILED

    def text(self, event: Event) -> str:
        done = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        elapsed = (event.time - self.started).total_seconds()
        return f"{self.name}: {done} done, {len(self.running)} running, {self.failed} failed, {elapsed:.1f} s"

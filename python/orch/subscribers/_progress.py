"""`progress`: how far runs are, as bars where there is somebody to see them move, as a few lines elsewhere."""

import builtins
import io
import logging
import os
import shutil
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any, Protocol, TextIO

from orch.errors import inert
from orch.event import Event, MapEvent, RunEvent, State, TaskEvent
from orch.event._discreet import Sanitizer, sanitizer
from orch.event._text import brief, cut
from orch.subscribers._lines import line
from orch.subscribers._tally import Tally

_LIVE, _PLAIN = 0.1, 10.0  # seconds between two lines, by the time of the events: nothing is drawn twice for nothing
_MOST_FAILURES, _MOST_PAUSED = 20, 100  # failures that get a line of their own, runs that may go on some day
_logger = logging.getLogger("orch")


class Screen(Protocol):
    """Where runs are shown."""

    def begin(self, tally: Tally) -> None: ...
    def show(self, tally: Tally, event: Event) -> None: ...  # it has changed
    def say(self, text: str) -> None: ...  # a line that stays
    def end(self, tally: Tally) -> None: ...


def progress(
    stream: TextIO | None = None, *, console: Any = None, sanitize: Callable[[str], str] | None = None
) -> Callable[[Event], None]:
    """A subscriber that shows how far each run is: how many tasks are done, running, failed, and the like.

    With rich (`pip install orch[progress]`), on a terminal or in a notebook: bars for runs, groups and maps that move,
    on standard error. Elsewhere a line every ten seconds; without rich a terminal has one line, renewed ten times a
    second. The end of each run and its first failures have lines of their own. What cannot be shown is left out: it
    does not disturb the run.

    Args:
        stream: Lines, and no bars, to this text stream.
        console: A `rich.console.Console` to use, whatever it writes to.
        sanitize: What error messages go through, after the `sanitize` of their run.

    >>> from orch.event import EventBus
    >>> show = EventBus().subscribe(progress())
    """
    if stream is not None and not _takes_text(stream):
        raise TypeError(f"stream: expected a text stream or None, found {type(stream).__name__} ({brief(stream)})")
    known: Any = sys.modules.get("rich.console")  # whoever has a console has imported it
    if console is not None and not (known and isinstance(console, known.Console)):
        found = f"found {type(console).__name__} ({brief(console)})"
        raise TypeError(f"console: expected a rich.console.Console or None, {found}")
    if stream is not None and console is not None:
        raise TypeError("stream: expected None beside a console: progress is shown in one place")
    is_drawn = console is not None or (stream is None and _may_draw())
    return _Progress(partial(_screen, stream, console, _rich() if is_drawn else None), sanitizer(sanitize))


def _takes_text(stream: object) -> bool:  # by what it can do: wrappers inherit from nothing
    wrong = isinstance(stream, type | io.RawIOBase | io.BufferedIOBase)
    return not wrong and all(callable(getattr(stream, name, None)) for name in ("write", "flush", "isatty"))


def _may_draw() -> bool:
    """Whether standard error may be a terminal or a notebook: rich, which knows exactly, is imported only then."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
    return is_terminal or hasattr(builtins, "get_ipython")


def _rich() -> ModuleType | None:
    with suppress(ImportError):
        from orch.subscribers import _rich  # noqa: PLC0415 (rich is an extra)

        return _rich
    return None


def _screen(stream: TextIO | None, console: Any, rich: Any) -> Screen:
    """Find out where a run that begins is shown: it may be another place than for the last one."""
    target = stream or sys.stderr
    drawn = rich.screen(console) if rich and (console is not None or _may_draw()) else None
    if drawn is not None:
        found: Screen = drawn
        return found
    if console is not None:
        return Lines(partial(rich.say, console), is_live=False)
    return Lines(partial(_write, target), is_live=target.isatty() and (stream is not None or _may_draw()))


def _write(stream: TextIO, text: str, end: str = "\n") -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
    stream.flush()


class _Progress:
    """Counts what happens, run by run, and has it shown."""

    def __init__(self, screen: Callable[[], Screen], clean: Sanitizer | None) -> None:
        self._screen, self._clean = screen, clean
        self._runs: dict[str, tuple[Tally, Screen]] = {}
        weakref.finalize(self, _leave, self._runs)  # at the latest when the process ends

    def __call__(self, event: Event) -> None:
        try:
            if isinstance(event, RunEvent) and event.state is State.RUNNING:
                self._begin(event)
            elif event.run_id in self._runs:
                self._go_on(event, *self._runs[event.run_id])
        except Exception as error:  # noqa: BLE001 (a stream may be closed, a terminal gone)
            _leave({event.run_id: known} if (known := self._runs.pop(event.run_id, None)) else {})
            _logger.warning("the progress of a run is not shown any more: %s", type(error).__name__)

    def _begin(self, event: RunEvent) -> None:
        known = self._runs.pop(event.run_id, None)
        if known is not None and known[0].state is not State.PAUSED:  # RUNNING is the last word of one that broke off
            known[1].end(known[0])
            return
        self._runs[event.run_id] = tally, screen = Tally(event), self._screen()
        screen.begin(tally)

    def _go_on(self, event: Event, tally: Tally, screen: Screen) -> None:
        if isinstance(event, TaskEvent | MapEvent):
            self._step(event, tally, screen)
        elif isinstance(event, RunEvent) and (event.state.is_final or event.state is State.PAUSED):
            tally.state = event.state
            screen.say(
                line(event, self._clean)
                if event.state is State.PAUSED
                else f"{_counts(tally, event)}, {event.state.value}"
            )
            screen.end(tally)
            self._forget(event)

    def _forget(self, event: RunEvent) -> None:
        """A run that has ended is forgotten, and of those that pause, perhaps for good, all but the last."""
        paused = [run_id for run_id, (tally, _) in self._runs.items() if tally.state is State.PAUSED]
        for run_id in [event.run_id] if event.state.is_final else paused[:-_MOST_PAUSED]:
            del self._runs[run_id]

    def _step(self, event: TaskEvent | MapEvent, tally: Tally, screen: Screen) -> None:
        tally.add(event)
        if isinstance(event, TaskEvent) and event.state is State.FAILED:
            tally.failures += 1
            if tally.failures <= _MOST_FAILURES:
                screen.say(line(event, self._clean))
            elif tally.failures == _MOST_FAILURES + 1:
                screen.say(f"{tally.run.name}: more failures are counted, not listed")
        screen.show(tally, event)


def _leave(runs: dict[str, tuple[Tally, Screen]]) -> None:
    """Give the screen back that runs were shown on of which nothing is heard any more."""
    for tally, screen in list(runs.values()):
        with suppress(Exception):
            screen.end(tally)
    runs.clear()


def _counts(tally: Tally, event: Event) -> str:
    seconds = (event.time - tally.begun.time).total_seconds()
    facts = ", ".join(tally.run.facts(seconds, "running", "failed"))
    return f"{tally.run.name}: {tally.run.share} done, {facts}, {seconds:.1f} s"


class Lines:
    """Lines of text about one run; on a terminal the last one is renewed."""

    def __init__(self, write: Callable[..., object], *, is_live: bool) -> None:
        self._put, self._is_live = write, is_live

    def begin(self, tally: Tally) -> None:
        self._drawn = tally.begun.time
        self.say(line(tally.begun))

    def show(self, tally: Tally, event: Event) -> None:
        if (event.time - self._drawn).total_seconds() >= (_LIVE if self._is_live else _PLAIN):
            self._drawn = event.time
            text = f"{_counts(tally, event)}, {inert(event.path)}"
            if self._is_live:
                text = cut(text, shutil.get_terminal_size().columns - 1)
            self._write(text, "" if self._is_live else "\n")

    def say(self, text: str) -> None:
        self._write(text, "\n")

    def end(self, tally: Tally) -> None: ...

    def _write(self, text: str, end: str) -> None:  # over the line that stands there, which has no end yet
        self._put("\r\x1b[K" + text if self._is_live else text, end)

"""Bars by rich. This file is imported only where rich is installed, and something to draw on may be there.

A thread draws: time goes on between events, and a terminal that is slow does not hold up the event loop.
"""

import importlib
import io
import sys
import threading
import weakref
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from time import monotonic
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orch.event import Event
from orch.subscribers._tally import Bar, Tally

_PAUSE, _NOTEBOOK_PAUSE = 0.1, 0.5  # seconds between two drawings
_MOST, _WIDTH, _LONGEST = 12, 24, 40  # bars of a run, columns of a bar and of a name
_STYLES = {"failed": "red", "retrying": "yellow", "waiting": "yellow", "cached": "cyan"}
_THREAD = "orch-progress"
_HTML = '<pre style="white-space:pre;overflow-x:auto;line-height:normal">{code}</pre>'


@cache
def _standard_error() -> Console:
    return Console(stderr=True)


def say(console: Console, text: str, end: str = "\n") -> None:
    """Print a line as it is: it is no markup, and nothing in it is highlighted."""
    console.print(Text(text), end=end, soft_wrap=True)


def screen(console: Console | None) -> "Bars | None":
    """The bars of a console, None for one on which nothing moves."""
    console = console or _standard_error()
    if not console.is_jupyter and not (console.is_terminal and console.is_interactive):
        return None
    with _door:
        known = _screens.get(id(console))
        if known is None:
            known = _screens[id(console)] = Notebook(console) if console.is_jupyter else Bars(console)
        return known


class Bars:
    """The runs that are shown on one terminal, as long as there are any."""

    pause = _PAUSE

    def __init__(self, console: Console) -> None:
        self.console = console
        self._begun: dict[Tally, float] = {}  # by the clock of whoever looks: that of a run may be virtual
        self._lock = threading.RLock()  # of who begins and ends; whoever draws does not need it
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, tally: Tally) -> None:
        """Show a run."""
        with self._lock:
            self._begun[tally] = monotonic()
            if self._thread is None:
                self._open()
                self._over = threading.Event()
                self._thread = threading.Thread(target=self._go_on, args=(self._over,), name=_THREAD, daemon=True)
                self._thread.start()

    def show(self, tally: Tally, event: Event) -> None:
        """Do nothing: it is drawn in its own time."""

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        say(self.console, text)

    def end(self, tally: Tally) -> None:
        """Show a run no longer; without any the screen is as it was."""
        with self._lock:
            try:
                if list(self._begun) == [tally] and self._thread is not None:
                    self._shut(self._thread)
            finally:
                self._begun.pop(tally, None)

    def _shut(self, thread: threading.Thread) -> None:
        self._thread = None
        self._over.set()
        with suppress(RuntimeError):  # it is this thread, which has collected some garbage
            thread.join()
        self._close()

    def draw(self) -> None:
        """Draw what is known now."""
        self._live.refresh()

    def _go_on(self, over: threading.Event) -> None:
        while not over.wait(self.pause):
            try:
                self.draw()
            except Exception:  # noqa: BLE001 (the terminal is gone; whoever prints next is told)
                return

    def _open(self) -> None:
        self._live = Live(
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=_is_terminal(sys.stdout),  # what goes to a file or a pipe does not come here
            redirect_stderr=_is_terminal(sys.stderr),
            get_renderable=self._table,
        )
        self._live.start()

    def _close(self) -> None:
        self._live.stop()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=_LONGEST)
        for _ in range(4):
            table.add_column(no_wrap=True)
        now = monotonic()
        for tally, begun in list(self._begun.items()):
            _fill(table, tally, now - begun)
        return table


class Notebook(Bars):
    """The same in a notebook: one output, which is renewed."""

    pause = _NOTEBOOK_PAUSE

    def draw(self) -> None:
        """Draw what is known now."""
        self._handle.update(self._output(), raw=True)

    def _open(self) -> None:
        display: Any = importlib.import_module("IPython.display")  # there is one where there is a notebook
        self._handle = display.display(self._output(), raw=True, display_id=True)

    def _close(self) -> None:
        self.draw()

    def _output(self) -> dict[str, str]:
        paper = Console(
            file=io.StringIO(), width=self.console.width, record=True, force_jupyter=False, force_terminal=True
        )
        paper.print(self._table())
        html = paper.export_html(inline_styles=True, code_format=_HTML, clear=False)
        return {"text/html": html, "text/plain": paper.export_text()}


_door = threading.Lock()
_screens = weakref.WeakValueDictionary[int, Bars]()  # one for each console: two would draw over each other


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def _fill(table: Table, tally: Tally, seconds: float) -> None:
    bars, more = tally.rows(_MOST)
    for bar in bars:
        time = "" if bar.depth else f"{int(seconds) // 60}:{int(seconds) % 60:02}"
        table.add_row(Text("  " * bar.depth + bar.name), _bar(bar), bar.share, _styled(bar.facts(seconds)), time)
    if more:
        table.add_row(Text(f"  and {more} more", "dim"))


def _bar(bar: Bar) -> ProgressBar | str:
    """Without a total it shows only that something is going on."""
    if bar.total is None:
        return ProgressBar(total=None, width=_WIDTH) if bar.is_going else ""
    return ProgressBar(total=max(bar.total, 1), completed=bar.steps.done if bar.total else 1, width=_WIDTH)


def _styled(facts: Iterable[str]) -> Text:
    return Text("  ").join(Text(fact, _STYLES.get(fact.rpartition(" ")[2], "")) for fact in facts)

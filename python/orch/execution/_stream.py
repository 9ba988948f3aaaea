"""Events for somebody who fetches them: decoded from the journal when asked for, a few hundred at a time.

The journal has everything anyway, so nothing is queued. Whoever stops reading holds the run up, once it is too far
ahead; one who has said that he does not mind finds everything later, and one who would rather be told less finds what
he is not too late for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from anyio import Event as Signal

from orch.event import Event
from orch.execution._backlog import is_dispensable
from orch.execution._run import Run
from orch.execution._trace import Decoder

__all__ = ("Stream",)

_BATCH = 256
_ALL = float("inf")


def _nothing() -> None: ...


class Stream:
    """All events of one run for one reader, from the first to the last."""

    def __init__(self, run: Run, *, drops: bool = False) -> None:
        self._run = run
        self._drops = drops
        self.dropped = 0  # events that were left out
        self._decoder = Decoder(run)
        self._is_open = False
        self._stop: int | None = None  # the length of the journal, once the run is over
        self._read = self._out = 0  # how many events were fetched before the last call, and in it
        self._lifted = self._most = 0
        self._news, self._is_woken = Signal(), False
        self._freed: Callable[[], object] = _nothing

    @property
    def read(self) -> float:
        """How many events the reader is done with, as far as the run has to care."""
        return _ALL if self._lifted or self._drops else self._read

    @property
    def told(self) -> int:
        """How many notes were made events."""
        return self._decoder.notes

    @property
    def is_ready(self) -> bool:
        """Whether there is something to fetch."""
        end = len(self._run.schedule) + 1 if self._stop is None else self._stop + 2  # the run's own events are two
        return self._is_open and self._decoder.seq < end

    def open(self, freed: Callable[[], object], most: int) -> None:
        """The run begins; `freed` is to be told when something was read, and `most` events are not too late."""
        self._is_open, self._freed, self._most = True, freed, most
        self.wake()

    def close(self) -> None:
        """The run is over."""
        self._stop = len(self._run.schedule)
        self._freed = _nothing  # nobody waits for room any more
        self.wake()

    @contextmanager
    def lifted(self) -> Generator[None]:
        """Let the run be ahead as far as it likes."""
        self._lifted += 1
        self._freed()
        try:
            yield
        finally:
            self._lifted -= 1

    def wake(self) -> None:
        """There may be something to fetch."""
        if not self._is_woken:  # cheap to repeat, since it is repeated for every chunk
            self._is_woken = True
            self._news.set()

    async def more(self) -> None:
        """Wait until there may be something."""
        await self._news.wait()
        self._news, self._is_woken = Signal(), False

    def fetch(self) -> list[Event]:
        """Return the next few events, if there are any; those of the call before count as read."""
        self._read += self._out
        events = list(self._decode()) if self.is_ready else []
        self._out = len(events)
        if self._run.outdated:
            self._run.let_go(told=self.told)  # he may still be reading when the run is over
        self._freed()
        return self._timely(events) if self._drops else events

    def _timely(self, events: list[Event]) -> list[Event]:
        """Leave out what the reader is too late for, if it can be left out."""
        first = len(self._run.schedule) + 2 - self._most  # the event of the run's begin is not in the journal
        kept = [event for event in events if event.seq >= first or not is_dispensable(event)]
        self.dropped += len(events) - len(kept)
        return kept

    def _decode(self) -> Iterator[Event]:
        decoder = self._decoder
        if not decoder.seq:
            yield decoder.begin()
        yield from decoder.advance(_BATCH, self._stop)
        if self._stop is not None and decoder.seq == self._stop + 1:
            yield decoder.end()

"""The other side of the truth: what the bodies, breakers and compensations themselves say, in order, with the time."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

__all__ = ("Entry", "Ledger")


class Entry(NamedTuple):
    """Something that happened. `what` is start, hit (by a cancellation), end; undo, undone; admit, verdict; cancel."""

    time: float
    what: str
    name: str
    number: int = 0
    detail: Any = None


class Ledger:
    """Entries in order, and how many bodies are active at one time, for everything that has a limit."""

    def __init__(self, now: Callable[[], float], crowd: Counter[str]) -> None:
        self.now = now
        self.crowd = crowd  # as `active`, for what is shared with other runs
        self.entries: list[Entry] = []
        self.limits: dict[str, int] = {}
        self.active: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.broken: list[str] = []

    def say(self, what: str, name: str, number: int = 0, detail: Any = None) -> None:
        """Add an entry."""
        self.entries.append(Entry(self.now(), what, name, number, detail))

    def start(self, name: str, counted: Iterable[str]) -> int:
        """A body begins; return the number of the call."""
        self.begun[name] += 1
        self.say("start", name, self.begun[name])
        for each in (name, *counted):
            active, most = self._active(each), self.limits.get(each, 1)
            active[each] += 1
            if active[each] > most:
                self.broken.append(f"{active[each]} bodies in {each} at a time, at most {most}")
        return self.begun[name]

    def end(self, name: str, number: int, outcome: str, counted: Iterable[str]) -> None:
        """A body ends: with a "value", a "failed" or "cancelled"."""
        self.say("end", name, number, outcome)
        for each in (name, *counted):
            self._active(each)[each] -= 1

    def _active(self, name: str) -> Counter[str]:
        return self.crowd if name.startswith("l") else self.active

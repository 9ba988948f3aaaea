"""A schedule whose time is that of a given clock, not the machine's: before each fact it is told what time it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

from orch._core import Schedule
from orch.abc import Clock

__all__ = ("clocked", "unclocked")

_TIMELESS = {"is_active", "journal", "outcome", "ready", "running", "scope_outcome", "state", "states"}  # are questions


def clocked(schedule: Schedule, clock: Clock) -> Schedule:
    """Return the schedule itself for the clock of the machine, which it reads faster than anybody could tell it."""
    return schedule if clock is time else cast("Schedule", _Clocked(schedule, clock))


def unclocked(schedule: Schedule) -> Schedule:
    """Return the schedule for a run that is over: its time stands still."""
    found = cast("object", schedule)
    return found.schedule if isinstance(found, _Clocked) else schedule


class _Clocked:
    def __init__(self, schedule: Schedule, clock: Clock) -> None:
        self.schedule = schedule
        self._read = clock.monotonic
        self._origin = self._last = self._read()
        self._lock = threading.Lock()
        schedule.set_time(0)

    def __getattr__(self, name: str) -> Any:
        found = self.__dict__[name] = getattr(self.schedule, name)  # looked up once
        return found

    def __len__(self) -> int:
        return len(self.schedule)


def _told(verb: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: _Clocked, *args: int) -> Any:
        with self._lock:  # of two threads the slower one may have read the clock first
            if (now := self._read()) > self._last:
                self._last = now
                self.schedule.set_time(round((now - self._origin) * 1e9))
            return verb(self.schedule, *args)

    return call


for _name, _verb in vars(Schedule).items():
    if callable(_verb) and not _name.startswith("_") and _name not in _TIMELESS:
        setattr(_Clocked, _name, _told(_verb))

"""A schedule whose time is that of a given clock, not the machine's: before each call it is told what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from orch._core import Schedule
from orch.abc import Clock

__all__ = ("clocked",)


def clocked(schedule: Schedule, clock: Clock) -> Schedule:
    """Return the schedule itself for the clock of the machine, which it reads faster than anybody could tell it."""
    return schedule if clock is time else cast("Schedule", _Clocked(schedule, clock))


class _Clocked:
    def __init__(self, schedule: Schedule, clock: Clock) -> None:
        self._schedule = schedule
        self._clock = clock
        self._origin = clock.monotonic()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        schedule, clock, verb = self._schedule, self._clock, getattr(self._schedule, name)

        def call(*args: int) -> Any:
            schedule.set_time(max(0, round((clock.monotonic() - self._origin) * 1e9)))
            return verb(*args)

        self.__dict__[name] = call  # looked up once
        return call

    def __len__(self) -> int:
        return len(self._schedule)

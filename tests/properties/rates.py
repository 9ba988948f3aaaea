"""A rate limit as one would explain it: for each start all those before it are looked at, in whole numbers."""

from collections.abc import Iterable, Mapping

UNIT = 16  # a second has so many units; every time in these tests is a whole number of them


def units(seconds: float) -> int:
    assert seconds * UNIT == int(seconds * UNIT)
    return int(seconds * UNIT)


class Rate:
    """The rule of a `RateLimit` of `rate` starts in `rate * interval` seconds, and the order of those who wait."""

    def __init__(self, rate: int, interval: float, burst: int | None) -> None:
        self.rate, self.interval, self.burst = rate, units(interval), burst
        self.history: list[int] = []

    def may_start(self, now: int) -> bool:
        if self.burst is None:
            return sum(start > now - self.rate * self.interval for start in self.history) < self.rate
        full = credit = self.burst * self.interval  # a token is worth what it takes to fill up
        last = now
        for start in self.history:
            credit = min(full, credit + max(start - last, 0)) - self.interval
            last = start
        return min(full, credit + now - last) >= self.interval

    def next_start(self, since: int, until: int | None) -> int | None:
        """The first moment at which somebody may start; None if it is not before `until`."""
        now = since
        while until is None or now < until:
            if self.may_start(now):
                return now
            now += 1
        return None

    def starts(self, came: Iterable[tuple[float, int]], leaves: Mapping[int, float]) -> list[tuple[float, int]]:
        """Who starts when, given who came when, in that order, and who leaves when if it has not started."""
        started: list[tuple[float, int]] = []
        free = 0  # when the last one has started
        for arrival, number in came:
            until = units(leaves[number]) if number in leaves else None
            found = self.next_start(max(units(arrival), free), until)
            if found is not None:
                self.history.append(found)
                started.append((found / UNIT, number))
                free = found
        return started

"""Single flight: of those who look for one value at a time, one works it out and the others wait.

Whoever finds a key free leads. When he lands he says whether there is something to be found now. If he has failed, or
was cancelled, the next one leads. It is a matter of one event loop: a step never waits for another loop, which may wait
for the step's own.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

from anyio import Event as Signal

__all__ = ("Flights", "Turn")

Turn: TypeAlias = Literal["lead", "look", "alone"]
"""What somebody is to do: work it out for all, look what is there now, or work it out for himself."""
At = tuple[object, str]


class _Seat:
    """Somebody who waits."""

    __slots__ = ("signal", "turn")

    def __init__(self) -> None:
        self.signal = Signal()
        self.turn: Turn | None = None

    def call(self, turn: Turn) -> None:
        self.turn = turn
        self.signal.set()


class Flights:
    """Who works out what right now, by event loop and key."""

    def __init__(self) -> None:
        self._waiting: dict[At, deque[_Seat]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def board(self, at: At) -> Turn:
        """Wait until it is clear what to do; who leads has to `land`, whatever happens."""
        queue = self._waiting.get(at)
        if queue is None:
            self._waiting[at] = deque()
            return "lead"
        seat = _Seat()
        queue.append(seat)
        try:
            await seat.signal.wait()
        except BaseException:
            if seat.turn == "lead":
                self.land(at, "lead")
            elif seat.turn is None:
                queue.remove(seat)
            raise
        return seat.turn or "alone"

    def land(self, at: At, turn: Turn) -> None:
        """Say what those who wait are to do: all of them, or with "lead" the next one."""
        queue = self._waiting[at]
        if turn == "lead" and queue:
            queue.popleft().call(turn)
            return
        del self._waiting[at]
        for seat in queue:
            seat.call(turn)

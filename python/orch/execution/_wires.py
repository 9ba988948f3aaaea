"""What a run may ask of the engine around it: hooks, which do nothing where the engine has not connected them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from anyio import CancelScope

from orch.event import State

__all__ = ("Wires", "no_use")


def _nothing(*_: object) -> None:
    """Stand in for what the engine has not connected, because this run does not need it."""


def _no_note() -> float:
    return math.inf


async def _no_wait() -> None: ...


async def no_use(*_: object, **__: object) -> None:
    """Stand in for what opens resources."""


async def _no_wait_for(_: object) -> None: ...


class Wires:
    """The hooks of a run. They are connected by the engine, its desk, its threads and its delivery."""

    def __init__(self) -> None:
        Wires.disconnect(self)

    def disconnect(self) -> None:
        """Be without an engine, as before and after the run."""
        self.connected = False
        self.spawn: Callable[[], object] = _nothing  # start one spare lane
        self.stop_all: Callable[[], object] = _nothing  # cancel every lane
        self.grow: Callable[[], object] = _nothing  # have worker threads take what is ready for them
        self.stop_thread: Callable[[int], object] = _nothing  # ask for the end of a step in a thread
        self.look_after: Callable[[Iterable[int]], object] = _nothing  # say which steps that were stopped go on
        self.notice: Callable[[], object] = _nothing  # tell the desk that something may have changed
        self.wake: Callable[[], object] = _nothing  # the same, from any thread
        self.publish: Callable[[], object] = _nothing  # let subscribers have what has happened
        self.hint: Callable[[], object] = _nothing  # the same in a while, for what may come often; not for threads
        self.unread: Callable[[], float] = _no_note  # where the notes begin that somebody is still to be told
        self.held_up = set[Callable[[], object]]()  # how to wake threads that wait for subscribers
        self.room: Callable[[], Awaitable[None]] = _no_wait  # wait for subscribers that are too far behind
        self.crowded: Callable[[], object] = _nothing  # whether there are such: threads take nothing new then
        self.boxes = set[CancelScope]()  # of compensations that are being made
        self.tell: Callable[[object], object] = _nothing  # tell a body in a thread that it is to end, should it ask
        self.hand_over: Callable[..., object] = _nothing  # have a thread do a job
        self.at: Callable[[float, Callable[[], object]], Any] = _nothing  # call back at a time of the loop
        self.later: Callable[[float, Callable[[], object]], Any] = _nothing  # the same, after so many seconds
        self.drop: Callable[[Any], object] = _nothing  # do not call back
        self.execute: Callable[[Any], Awaitable[None]] = _no_wait_for  # carry out a run inside a step
        self.use: Callable[..., Awaitable[Any]] = no_use  # open a resource; of a run inside a step, as that around it
        self.close: Callable[[int, State], object] = _nothing  # let a guarded group settle, after what is due then

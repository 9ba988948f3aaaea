"""What happens in a tile of a map, told to the run around it: each event of the tile is a note in the journal there.

A note says only that the tile has one more event; which one is decoded from the journal of the tile, when somebody
reads. So a run that nobody watches is told everything at once, when the tile is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from orch.event import Event, MapEvent, State
from orch.execution._run import Run
from orch.execution._trace import NOTE, Decoder
from orch.plan import Tile

__all__ = ("Ends", "Relay", "item_state")

_NO_SUCCESS = {state.code for state in State if state.is_final and state is not State.SUCCEEDED}


def item_state(tile: Run, copy: int) -> State:
    """Return the state of an item; one that never began, because another failed, is CANCELLED."""
    state = State.from_code(tile.schedule.state(cast("Tile", tile.plan).exit(copy)))
    return State.CANCELLED if state is State.SKIPPED else state


class Ends:
    """Which items of a tile have ended, found out from what is new in its journal."""

    def __init__(self, tile: Run) -> None:
        self._tile, self._plan = tile, cast("Tile", tile.plan)
        self.position = 0  # entries that were looked at
        self._left = set(range(self._plan.size))
        self._waiting = set[int]()  # items that may end without another entry: a group settles a little later

    def advance(self) -> tuple[int, list[int]]:
        """Return how many entries are new, and the items that have ended since the last call."""
        schedule, stride = self._tile.schedule, self._plan.stride
        entries = schedule.journal(self.position)
        self.position += len(entries)
        last = {node // stride: code for node, code, *_ in entries if code != NOTE}
        self._waiting.update(item for item, code in last.items() if self._plan.guarded or code in _NO_SUCCESS)
        looked = [*last, *self._waiting.difference(last)] if schedule.is_active() else sorted(self._left)
        ended = [item for item in looked if item in self._left and item_state(self._tile, item).is_final]
        self._left.difference_update(ended)
        self._waiting.difference_update(ended)
        return len(entries), ended


class Relay:
    """Tells a run what happens in a tile that one of its steps carries out."""

    def __init__(self, outer: Run, node: int, tile: Run) -> None:
        self.tile, self._outer = tile, outer
        self.plan = cast("Tile", tile.plan)
        self.path, self.name = outer.plan.path(node), outer.plan.name(node)
        self._ends = Ends(tile)
        self.is_over, self.told = False, 0  # whether there will be no more events, and how many were told
        self._marks: dict[int, list[int]] = {}  # by length of the tile's journal, items that have ended by then
        outer.relays.add(self)
        if outer.watched:
            tile.watched = True
            tile.publish = self.publish
            tile.hint, tile.held_up = self.publish, outer.held_up
            tile.room, tile.crowded = outer.room, outer.crowded
            outer.held_up.add(tile.spread)  # nobody may be in the tile when there is room again

    def publish(self) -> None:
        """Tell what is new, and let subscribers have it."""
        self.pump()
        self._outer.publish()

    def pump(self) -> None:
        """Tell what is new. On the loop."""
        for each in tuple(self.tile.relays):
            each.pump()
        new, ended = self._ends.advance()
        if ended:
            self._marks.setdefault(self._ends.position, []).extend(ended)
        self._tell(new + len(ended))

    def finish(self) -> None:
        """The tile is over: tell the rest."""
        self._outer.relays.discard(self)
        self._outer.held_up.discard(self.tile.spread)
        if self._ends.position or self.tile.schedule.is_active() or self._outer.watched:
            self.pump()
        else:
            self._tell(len(self.tile.schedule) + self.plan.size)
        self.is_over = True
        self._outer.publish()

    def _tell(self, count: int) -> None:
        if self._outer.outlet is None or self._outer.watched:  # else nobody will ever ask
            self.told += count
            self._outer.relay(self, count)

    def reader(self) -> Reader:
        """Return who reads the events from the first on."""
        return Reader(self)

    def marks(self) -> dict[int, list[int]]:
        """Return which items have ended when the journal was how long; where nobody looked, with their last entry."""
        if self._ends.position or self._marks:
            return self._marks
        entries = self.tile.schedule.journal()
        last = dict.fromkeys(range(self.plan.size), len(entries))
        last |= {entry[0] // self.plan.stride: at for at, entry in enumerate(entries, 1) if entry[1] != NOTE}
        for copy, at in last.items():
            self._marks.setdefault(at, []).append(copy)
        return self._marks


class Reader:
    """Gives the events of a tile one by one, as events of the run around, with the numbers they have there."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._marks = relay.marks()
        self._decoder = Decoder(relay.tile)
        self._entries: Iterator[tuple[int, int, int, int, int]] = iter(())
        self._read = self._events = 0
        self.is_done = False
        self._ended = 0  # how many of the items that have ended by then

    def next(self, seq: int) -> Event:
        """Return the next event."""
        self._events += 1
        self.is_done = self._relay.is_over and self._events == self._relay.told
        ended = self._marks.get(self._read, ())
        if self._ended < len(ended):
            self._ended += 1
            return self._map_event(seq, ended[self._ended - 1])
        entry = next(self._entries, None)
        if entry is None:
            self._entries = iter(self._relay.tile.schedule.journal(self._read))
            entry = next(self._entries)
        self._read, self._ended = self._read + 1, 0
        return self._decoder.event(seq, *entry)

    def _map_event(self, seq: int, copy: int) -> MapEvent:
        relay, tile = self._relay, self._relay.tile
        state = item_state(tile, copy)
        error = item_error(tile, copy) if state is State.FAILED else None
        index = relay.plan.first + copy
        return MapEvent(tile.run_id, seq, self._decoder.time, relay.path, relay.name, index, state, error)


def item_error(tile: Run, copy: int) -> BaseException | None:
    """Return the first error in an item."""
    plan = cast("Tile", tile.plan)
    inside = range(copy * plan.stride, (copy + 1) * plan.stride)
    return next((error for key, error in tile.errors.items() if isinstance(key, int) and key in inside), None)

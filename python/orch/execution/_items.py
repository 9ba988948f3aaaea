"""Items of maps, each seen as a run of its own: what the run of a tile has on record, as far as it is about one item.

The tile knows an item by nodes that are those of the body, moved; and by paths that begin with that of the item. Here
both are moved back. All of it is worked out when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from copy import copy as copied
from typing import Any, TypeVar, cast

import attrs

from orch.event import Event, State
from orch.event._discreet import discreet
from orch.execution._mapped import outcome
from orch.execution._relay import Relay, item_state
from orch.execution._run import Run
from orch.execution._trace import NOTE
from orch.execution._values import RunSource, collect
from orch.plan import NONE, Tile
from orch.result import GroupShape, Origin, RunResult

__all__ = ("Items", "Parts")

T = TypeVar("T")
_Reasons = dict[int, tuple[str, str | None]]
_Entry = tuple[int, int, int, int, int]
_Kept = tuple[_Entry, Any]  # an entry of the journal and, if it is a note, the note


class Parts:
    """The journal of one tile, which may be under way, item by item."""

    def __init__(self, tile: Run) -> None:
        self.tile, self.plan = tile, cast("Tile", tile.plan)
        self._journals: list[list[_Kept]] = [[] for _ in range(self.plan.size)]
        self._read = self._notes = 0

    def update(self) -> None:
        """Read what is new."""
        found = self.tile.schedule.journal(self._read)
        self._read += len(found)
        for entry in found:
            item, note = entry[0] // self.plan.stride, None
            if entry[1] == NOTE:
                note = self.tile.notes[self._notes]
                self._notes += 1
                item = self._about(note[1] if isinstance(note[0], type) else getattr(note[0], "path", ""))
            if item >= 0:
                self._journals[item].append((entry, note))

    def _about(self, path: str) -> int:
        """Return which item a path lies in, or -1."""
        prefix = f"{self.plan.draft.prefix}["
        number = path[len(prefix) :].partition("]")[0] if path.startswith(prefix) else ""
        return int(number) - self.plan.first if number else -1

    def result(self, item: int) -> RunResult:
        """Return what is known about an item that has ended."""
        self.update()
        tile, state = self.tile, item_state(self.tile, item)
        errors, abandoned = tuple[BaseException, ...](), tuple[str, ...]()
        run_id, name = f"{tile.run_id}[{self.plan.first + item}]", self.plan.body.workflow.name
        if state is not State.SUCCEEDED or tile.errors or tile.abandoned:
            run = self.view(item, run_id)
            errors, abandoned = tuple(run.errors.values()), tuple(map(run.plan.path, run.abandoned))
        journal = self._journals[item]
        began, ended = (tile.time(journal[at][0][4]) if journal else tile.started for at in (0, -1))
        source = _Source(self, item, run_id)
        known = RunResult(run_id, name, state, source, errors, tile.context, began, ended, abandoned)
        return discreet(known, tile.options.sanitize)

    def view(self, item: int, run_id: str) -> Run:
        """Return the run of the body that an item is."""
        return _View(self.tile, item, self._journals[item], run_id).run()


class _Source:
    """The `orch.result.Source` of an item: most are only asked for their values."""

    __slots__ = ("_item", "_parts", "_run_id", "_whole")

    def __init__(self, parts: Parts, item: int, run_id: str) -> None:
        self._parts, self._item, self._run_id = parts, item, run_id
        self._whole: RunSource | None = None

    def value(self) -> Any:
        plan, tile = self._parts.plan, self._parts.tile
        if plan.body.kind(0) != "task":
            collect(tile, [1 + self._item * len(plan.body.draft.scopes)])
        return tile.values[plan.exit(self._item)]

    def outputs(self) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", self.value()) if self._parts.plan.body.kind(0) == "graph" else {}

    def trace(self) -> Sequence[Event]:
        return self._all().trace()

    def tasks(self) -> Sequence[tuple[str, str]]:
        return self._all().tasks()

    def groups(self) -> Iterable[GroupShape]:
        return self._all().groups()

    def value_at(self, position: int) -> Any:
        return self._all().value_at(position)

    def origin(self) -> Origin:
        return self._all().origin()

    def _all(self) -> RunSource:
        if self._whole is None:
            self._whole = RunSource(self._parts.view(self._item, self._run_id))
        return self._whole


class _View:
    """Makes of the run of a tile that of one item."""

    def __init__(self, tile: Run, item: int, journal: Sequence[_Kept], run_id: str) -> None:
        self._tile, self._item, self._journal, self._run_id = tile, item, journal, run_id
        self._plan = cast("Tile", tile.plan)
        self._nodes = range(item * self._plan.stride, (item + 1) * self._plan.stride)
        scopes = len(self._plan.body.draft.scopes)
        self._scopes = range(1 + item * scopes, 1 + (item + 1) * scopes)
        self._prefix = self._plan.path(self._nodes[-1])
        self._relays: dict[Relay, Relay] = {}

    def run(self) -> Run:
        """Return the run of the body: the tile's, with everything that has numbers or paths cut out for the item."""
        tile, body, low = self._tile, self._plan.body, self._nodes.start
        if body.kind(0) != "task":
            collect(tile, [self._scopes.start])
        run, times = copied(tile), [entry[4] for entry, _ in self._journal] or [0]
        run.plan, run.run_id, run.select = body, self._run_id, None
        run.started, run.ended = tile.time(times[0]), times[-1] - times[0]
        run.schedule = cast("Any", _Schedule(self._tile, self._item, self._moved(times[0])))
        run.notes = [self.note(note) for _, note in self._journal if note is not None]
        run.values, run.collected = tile.values[low : low + len(body.draft.tasks)], set()
        run.given = {name: self._input(name) for name in body.inputs}
        run.errors = {self._key(key): error for key, error in tile.errors.items() if self._key(key) is not None}
        run.released, run.restored = (
            {node - low for node in nodes if node in self._nodes} for nodes in (tile.released, tile.restored)
        )
        run.abandoned = [node - low for node in tile.abandoned if node in self._nodes]
        run.trails, run.reasons = self._own(tile.trails), self.reasons(self._own(tile.reasons))
        run.tiles = {node: [self.relocated(each) for each in tiles] for node, tiles in self._own(tile.tiles).items()}
        return run

    def relative(self, path: str) -> str:
        """Return a path as it is from within the item."""
        if not path.startswith(self._prefix):
            return path
        rest = path[len(self._prefix) :]
        return self._plan.body.workflow.name + rest if self._plan.body.kind(0) == "task" else rest.removeprefix("/")

    def note(self, note: Any) -> Any:
        """Return a note of the tile, or of one in it, as one of the item."""
        kind, path, facts = note
        if isinstance(kind, type):
            return kind, self.relative(path), facts
        if kind not in self._relays:
            relay = self._relays[kind] = copied(kind)
            relay.tile, relay.path = self.relocated(kind.tile), self.relative(kind.path)
            relay.plan = cast("Tile", relay.tile.plan)
        return self._relays[kind], path, facts

    def relocated(self, inner: Run) -> Run:
        """Return the run of a tile in the item, with paths from within the item."""
        run, plan = copied(inner), cast("Tile", inner.plan)
        draft = attrs.evolve(plan.draft, prefix=self.relative(plan.draft.prefix))
        run.plan, run.run_id = attrs.evolve(plan, draft=draft), self._run_id
        run.notes, run.reasons = list(map(self.note, inner.notes)), self.reasons(inner.reasons)
        run.tiles = {node: [self.relocated(each) for each in tiles] for node, tiles in inner.tiles.items()}
        return run

    def reasons(self, known: _Reasons) -> _Reasons:
        """Return why steps were stopped, with paths from within the item."""
        return {node: (why, None if cause is None else self.relative(cause)) for node, (why, cause) in known.items()}

    def _own(self, of: Mapping[int, T]) -> dict[int, T]:
        return {node - self._nodes.start: of[node] for node in self._nodes if node in of} if of else {}

    def _key(self, key: Any) -> Any:
        """Return a key of an error from within the item, or None if the error is another's."""
        if isinstance(key, int):
            return key - self._nodes.start if key in self._nodes else None
        what, number = key
        here = self._scopes if what == "compensation" else self._nodes
        return (what, number - here.start) if number in here else None

    def _input(self, name: str) -> Any:
        slots, each = self._plan.slots(name)
        return self._tile.values[slots[self._item * each]]

    def _moved(self, began: int) -> list[_Entry]:
        found = list[_Entry]()
        for (node, code, reason, cause, time), _ in self._journal:
            at = 0 if code == NOTE else node - self._nodes.start
            found.append((at, code, reason, cause - self._nodes.start if cause in self._nodes else NONE, time - began))
        return found


class _Schedule:
    """What of the schedule of a settled tile is about one item."""

    def __init__(self, tile: Run, item: int, entries: list[_Entry]) -> None:
        self._tile, self._item, self._entries = tile, item, entries
        self._low = item * cast("Tile", tile.plan).stride

    def __len__(self) -> int:
        return len(self._entries)

    def journal(self, start: int = 0, stop: int | None = None) -> list[_Entry]:
        return self._entries[start:stop]

    def state(self, node: int) -> int:
        return self._tile.schedule.state(self._low + node)

    def outcome(self) -> int:
        return item_state(self._tile, self._item).code


class Items:
    """The `orch.result.MapSource` of a run that is a map."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parts = [Parts(tile) for tile in run.tiles.get(0, ())]
        self._firsts = [parts.plan.first for parts in self._parts]

    def __len__(self) -> int:
        return sum(parts.plan.size for parts in self._parts)

    def result(self, index: int) -> RunResult:
        """Return what is known about an item."""
        at = bisect_right(self._firsts, index) - 1
        return self._parts[at].result(index - self._firsts[at])

    def values(self) -> list[Any]:
        """Return the values of all items, None where there is none."""
        return [value for parts in self._parts for value in outcome(parts.tile, collects=True)]

    def errors(self) -> list[tuple[int | None, BaseException]]:
        """Return what went wrong, in order of time, with the number of the item, or None if it was in none."""
        found = [(self._index(parts, key), error) for parts in self._parts for key, error in parts.tile.errors.items()]
        known = {id(error) for _, error in found}
        return [*found, *((None, error) for error in self._run.errors.values() if id(error) not in known)]

    def _index(self, parts: Parts, key: Any) -> int:
        what, number = ("", key) if isinstance(key, int) else key
        if what == "compensation":
            number, stride = number - 1, len(parts.plan.body.draft.scopes)
        else:
            stride = parts.plan.stride
        return parts.plan.first + int(number // stride)

    def trace(self) -> Sequence[Event]:
        """Return the events of the whole run."""
        return RunSource(self._run).trace()

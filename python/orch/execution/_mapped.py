"""Maps: the items of one step, carried out tile by tile.

A tile is some items side by side, in one run of its own inside the step. So ten thousand items cost what as many steps
cost, and not as many runs; and no more of them are drawn than a tile takes. Slots of limits around the map are borrowed
for a tile, and given back after it, so that others get their turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, cast

import attrs
from anyio.lowlevel import checkpoint

from orch.definition import NOT_GIVEN, Map, Workflow
from orch.event import State
from orch.execution._relay import Relay, item_state
from orch.execution._rows import rows
from orch.execution._run import Run
from orch.execution._trace import lend
from orch.execution._values import RunSource, arguments
from orch.plan import NONE, Plan, Tile, handlers_in, tile_of

__all__ = ("inside", "mapped", "outcome", "tile_size", "tile_values")

_ITEMS, _LEAST, _NODES = 1000, 100, 10_000  # of a tile: at most, of large bodies at least, and tasks in all
_TURNS, _FEW = 16, 64  # of a tile that others wait for, or whose items have several steps: items a slot, and at least
_MOST = 0xFFFFFFFF


async def mapped(run: Run, node: int) -> Any:
    """Carry out a map; the value is the list of those of its items, or such a list for each of several outputs."""
    task = cast("Map", run.plan.draft.task(node))
    given = _inputs(run, node)
    drawn = rows(task, [given.pop(name) for name in task.over])
    body: Plan = Workflow._compile(task.body)  # noqa: SLF001 (which keeps the plan)
    shared = {name: given[name] for name in body.inputs if given.get(name, NOT_GIVEN) is not NOT_GIVEN}
    step, values = _Step(run, node, task, body, shared, _is_limited(run, node)), list[Any]()
    run.tiles[node] = []
    first = 0
    while (tile := await step.carry_out(drawn, first)) is not None:
        of_tile = outcome(tile, collects=task.on_error == "collect")
        first += len(of_tile)
        if run.outlet is None:
            values += of_tile
    return _columns(task, values)


def _inputs(run: Run, node: int) -> dict[str, Any]:
    task, shape, flat = run.plan.draft.task(node), run.plan.wiring.shapes[node], arguments(run, node)
    if shape is not None:
        return shape.named(task, flat)
    return dict(zip((each.name for each in task.signature.parameters), flat, strict=True))


def _is_limited(run: Run, node: int) -> bool:
    """Say whether somebody limits what may run at a time where the step is."""
    scope, groups = run.plan.draft.scope_of[node], run.plan.draft.scopes
    while scope != NONE:
        if getattr(groups[scope].group, "limit", None):
            return True
        scope = groups[scope].parent
    return run.options.limit > 0


def tile_size(body: Plan, limit: int | None) -> int:
    """Return how many items are drawn at a time: of small ones a thousand, and always enough for the limit."""
    size = max(_LEAST, min(_ITEMS, _NODES // max(1, len(body))))
    if limit and len(body) > 1:  # first steps of items go before second ones of others: that is not to be a thousand
        size = min(size, max(_FEW, _TURNS * limit))
    return max(size, 4 * (limit or 0))


def tile_values(plan: Tile, over: Sequence[str], items: Sequence[tuple[Any, ...]], shared: dict[str, Any]) -> list[Any]:
    """Return the values that the run of a tile begins with."""
    values = [None] * len(plan.draft.tasks) + plan.wiring.constants
    for k, name in enumerate(over):
        slots, each = plan.slots(name)
        for at, slot in enumerate(slots):
            values[slot] = items[at // each][k]
    for name, value in shared.items():
        for slot in plan.slots(name)[0]:
            values[slot] = value
    return values


def outcome(tile: Run, *, collects: bool) -> list[Any]:
    """Return the values of the items, with None for those that failed; raise the first error unless it is collected."""
    values: list[Any] = RunSource(tile).value()
    if tile.state is State.SUCCEEDED:
        return values
    if not collects:
        raise next(iter(tile.errors.values()))
    return [value if item_state(tile, copy) is State.SUCCEEDED else None for copy, value in enumerate(values)]


def _columns(task: Map, values: list[Any]) -> Any:
    """Turn the values of the items, if they are several each, into a list for each output."""
    if task.columns is None:
        return values
    return tuple([_part(value, key) for value in values] for key in task.columns)


def _part(value: Any, key: str | int) -> Any:
    if isinstance(key, str):
        return None if value is None else value.get(key)  # a graph leaves out what failed
    return None if value is None else value[key]


@attrs.frozen(eq=False)
class _Step:
    """A map under way."""

    run: Run
    node: int
    task: Map
    body: Plan
    shared: dict[str, Any]
    is_limited: bool

    async def carry_out(self, drawn: Iterator[tuple[Any, ...]], first: int) -> Run | None:
        """Carry out the next tile and return it, or None if there are no more items; `first` is the number of one."""
        if self.is_limited and first:
            self.run.spread()
            await checkpoint()  # whoever waited for a slot gets it
        size = tile_size(self.body, self.task.limit)
        slots = self._borrow(size * len(self.body)) if self.is_limited else 0
        try:
            if self.is_limited and len(self.run.plan) > 1:  # others may wait for slots as well
                size = min(size, max(_FEW, _TURNS * slots))
            items = list(islice(drawn, size))
            return await self._carried_out(items, first, slots) if items else None
        finally:
            for _ in range(slots - 1):
                self.run.schedule.repay(self.node)

    def _borrow(self, most: int) -> int:
        """Take more slots than that of the step, as many as are free; return how many it has then."""
        slots, most = 1, min(most, self.task.limit or _MOST)
        while slots < most and self.run.schedule.borrow(self.node):
            slots += 1
        return slots

    async def _carried_out(self, items: list[tuple[Any, ...]], first: int, slots: int) -> Run:
        run, collects = self.run, self.task.on_error == "collect"
        plan = tile_of(self.body, len(items), run.plan.path(self.node), first, collects=collects)
        limit = slots or min(self.task.limit or 0, _MOST)
        tile = inside(run, plan, tile_values(plan, self.task.over, items, self.shared), limit)
        run.tiles[self.node].append(tile)
        relay = Relay(run, self.node, tile)
        if run.outlet is not None:
            run.outlet.open(tile)
        try:
            await run.execute(tile)
        finally:
            relay.finish()
        if run.outlet is not None:
            await run.outlet.emptied()
            run.forget(self.node)
        return tile


def inside(run: Run, plan: Tile, values: list[Any], limit: int) -> Run:
    """Make a run for a step of another: it is told the same time, its steps get the same Context and resources."""
    began = run.schedule.now()
    inner = Run(plan, values, run.run_id, attrs.evolve(run.options, subscribers=(), limit=limit))
    inner.started = run.time(began)
    inner.answering, inner.handlers = run.answering, handlers_in(plan, run.answering)
    inner.use = run.use
    lend(run, inner)
    return inner

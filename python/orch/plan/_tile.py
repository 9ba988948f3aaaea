"""Tiles: the body of a `Map` so many times side by side, as one plan. The items of a map are carried out tile by tile.

The nodes of copy k are those of the body, moved by k strides; a group has its exit join behind them. A plan of so many
copies is made once, and kept with that of the body; what differs from tile to tile is where its items lie.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs

from orch.definition import Parallel
from orch.plan._draft import Draft
from orch.plan._lower import compile  # noqa: A004 (the verb users know from re)
from orch.plan._plan import Plan

__all__ = ("Tile", "tile_of")

_KEPT = 40_000  # nodes in the plans of one body: of a full tile, and of what was left over


@attrs.define(eq=False)
class _Items(Draft):
    """The tables of a tile, with paths of items: `first` is the number of the first one."""

    body: Plan = attrs.field(kw_only=True)
    prefix: str = attrs.field(kw_only=True)
    first: int = attrs.field(kw_only=True)
    stride: int = attrs.field(kw_only=True)

    def path(self, node: int) -> str:
        """Return the path of a task in an item, or of a group there, or of the item."""
        copy, inner = divmod(node, self.stride)
        item = f"{self.prefix}[{self.first + copy}]"
        if inner == len(self.body.draft.tasks) or self.body.kind(0) == "task":
            return item
        return f"{item}/{self.body.paths.get(inner) or self.body.path(inner)}"

    def scope_path(self, scope: int) -> str:
        """Return the path of a group; the outermost one stands for the map."""
        return self.path(self.scopes[scope].join) if scope else self.prefix


@attrs.frozen(eq=False, repr=False, slots=False)
class Tile(Plan):
    """The plan of some items of a map, whose paths are those of the items."""

    draft: _Items
    size: int = attrs.field(kw_only=True)

    @property
    def body(self) -> Plan:
        """The plan of what is done for each item."""
        return self.draft.body

    @property
    def stride(self) -> int:
        """How many nodes an item has."""
        return self.draft.stride

    @property
    def first(self) -> int:
        """The number of the first item."""
        return self.draft.first

    @cached_property
    def paths(self) -> dict[int, str]:
        """The paths of the tasks by node."""
        return {node: self.draft.path(node) for node in self.nodes}

    def exit(self, copy: int) -> int:
        """Return the node of an item that settles last."""
        return (copy + 1) * self.draft.stride - 1

    def slots(self, name: str) -> tuple[list[int], int]:
        """Return the slots that take an input, item after item, and how many of them an item has."""
        found = self.wiring.inputs[name].slots
        return found, len(found) // self.size


def tile_of(body: Plan, size: int, prefix: str, first: int, *, collects: bool) -> Tile:
    """Return the plan of so many items, of which a failed one ends the others, unless their failures are collected."""
    plan = _copies(body, size, collects=collects)
    stride = len(body.draft.tasks) + (body.kind(0) != "task")
    tables: dict[str, Any] = {at.name: getattr(plan.draft, at.name) for at in attrs.fields(Draft)}
    draft = _Items(**tables, body=body, prefix=prefix, first=first, stride=stride)
    fields: dict[str, Any] = {at.name: getattr(plan, at.name) for at in attrs.fields(Plan)}
    fields |= {"draft": draft, "like": plan}
    tile = Tile(**fields, size=size)
    tile.__dict__["nodes"] = plan.nodes
    return tile


def _copies(body: Plan, size: int, *, collects: bool) -> Plan:
    kept, key = body.tiles, (size, collects)
    plan = kept.pop(key, None)
    if plan is None:
        strategy = "continue" if collects else "abort"
        plan = compile(Parallel([body.workflow] * size, on_failure=strategy))
    kept[key] = plan
    while len(kept) > 1 and sum(copies for copies, _ in kept) * len(body.draft.tasks) > _KEPT:
        kept.pop(next(iter(kept)), None)
    return plan

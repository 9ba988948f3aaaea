"""First half of lowering: give every task and every group boundary its number.

In: a definition, a tree of groups and tasks. Out: a `Draft`, the same tree as flat tables. Nodes are numbered in
order of definition, so the nodes of a group are one contiguous range; behind it lies the group's *exit join*, a
node that the core settles by itself when everything in the group is settled (the root has none: the run ends with
it). The walk keeps its own stack, so depth costs memory and never recursion.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import attrs

from orch.definition import Group, Task, Workflow

__all__ = ("NONE", "Draft", "Scope", "number")

NONE = 0xFFFFFFFF  # the core's word for "no such node"


@attrs.define(eq=False)
class Scope:
    """A group as a row: the nodes `start` to `end` (exclusive) are inside, `join` is its exit."""

    group: Workflow
    kind: str  # that of the group; "task" where a lone task is the whole workflow
    segment: str  # the last part of its path
    parent: int
    start: int
    end: int = 0
    join: int = NONE
    handed: int | None = None  # the slot of what it hands on in a Sequence; None: it hands on what it was handed
    children: list[int] = attrs.field(factory=list[int])  # a node number each, or ~scope for a group


@attrs.define(eq=False)
class Draft:
    """The definition as tables; `tasks`, `segments` and `scope_of` have one entry a node, `tasks` None for joins."""

    tasks: list[Task[..., Any] | None] = attrs.field(factory=list)
    segments: list[str] = attrs.field(factory=list[str])
    scope_of: list[int] = attrs.field(factory=list[int])
    scopes: list[Scope] = attrs.field(factory=list[Scope])
    joins: dict[int, int] = attrs.field(factory=dict[int, int])  # by exit join: its scope

    def add(self, task: Task[..., Any] | None, segment: str, scope: int) -> int:
        """Number a task, or with None a join, and return the number."""
        self.tasks.append(task)
        self.segments.append(segment)
        self.scope_of.append(scope)
        return len(self.tasks) - 1

    def task(self, node: int) -> Task[..., Any]:
        """Return the task of a node that is known to be no join."""
        return cast("Task[..., Any]", self.tasks[node])

    def exit(self, child: int) -> int:
        """Return the node of a step that settles last: the task itself, or the join of a group."""
        return child if child >= 0 else self.scopes[~child].join

    def handed(self, child: int) -> int | None:
        """Return the slot of the value that a step hands on."""
        return child if child >= 0 else self.scopes[~child].handed

    def scope_path(self, scope: int) -> str:
        """Return the path of a group; that of the root is empty."""
        parts: list[str] = []
        while scope:
            parts.append(self.scopes[scope].segment)
            scope = self.scopes[scope].parent
        return "/".join(reversed(parts))

    def path(self, node: int) -> str:
        """Return the path of a task, or of the group whose exit the node is."""
        outer = self.scope_path(self.scope_of[node])
        return f"{outer}/{self.segments[node]}" if outer else self.segments[node]


def number(root: Workflow) -> Draft:
    """Return the tables of `root`, in one walk, linear in the number of steps."""
    draft = Draft()
    kind, steps = (root.kind, root.steps) if isinstance(root, Group) else ("task", (root,))
    draft.scopes.append(Scope(root, kind, "", NONE, 0))
    stack: list[tuple[int, Iterator[Workflow], dict[str, int]]] = [(0, iter(steps), {})]
    while stack:
        scope, rest, used = stack[-1]
        step = next(rest, None)
        if step is None:
            stack.pop()
            _close(draft, scope)
        elif isinstance(step, Group):
            draft.scopes[scope].children.append(~len(draft.scopes))
            stack.append((len(draft.scopes), iter(step.steps), {}))
            draft.scopes.append(Scope(step, step.kind, _distinct(step.name, used), scope, len(draft.tasks)))
        else:
            node = draft.add(cast("Task[..., Any]", step), _distinct(step.name, used), scope)
            draft.scopes[scope].children.append(node)
    return draft


def _close(draft: Draft, scope: int) -> None:
    row = draft.scopes[scope]
    row.end = len(draft.tasks)
    if scope:
        row.join = row.handed = draft.add(None, row.segment, row.parent)
        draft.joins[row.join] = scope
    if row.kind == "sequence":
        handed = (draft.handed(child) for child in reversed(row.children))
        row.handed = next((slot for slot in handed if slot is not None), None)


def _distinct(name: str, used: dict[str, int]) -> str:
    """Return `name`, or `name#2`, `name#3`, … where siblings carry it already."""
    used[name] = used.get(name, 0) + 1
    if used[name] == 1:
        return name
    return _distinct(f"{name}#{used[name]}", used)

"""
First half of lowering: give every task and every group boundary its number.

In: a definition, a tree of groups and tasks. Out: a `Draft`, the same tree as flat tables. Nodes are numbered
in order of definition, so that the nodes of a group are one contiguous range; behind that range lies the group's
*exit join*, a node the core settles by itself when everything in the group is settled. The root needs no join: the
run ends with it. The walk keeps its own stack, so depth costs memory and never recursion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from orch.definition import Group, Task, Workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("NONE", "Draft", "Scope", "number")

NONE = 0xFFFFFFFF
"""The core's word for "no such node"."""


@attrs.define(eq=False)
class Scope:
    """One group as a row: nodes `start` to `end` (exclusive) are inside, `join` is its exit (NONE for the root)."""

    group: Workflow
    segment: str
    parent: int
    start: int
    end: int = 0
    join: int = NONE
    handed: int | None = None
    """The slot whose value the group hands on to the next step of a Sequence; None: it hands on what it was handed."""
    children: list[int] = attrs.field(factory=list[int])
    """The steps in order: a node number, or ~scope for a group."""


@attrs.define(eq=False)
class Draft:
    """The definition as tables. `tasks`, `segments` and `scope_of` have one entry a node, None where it is a join."""

    tasks: list[Task[..., Any] | None] = attrs.field(factory=list)
    segments: list[str] = attrs.field(factory=list[str])
    scope_of: list[int] = attrs.field(factory=list[int])
    scopes: list[Scope] = attrs.field(factory=list[Scope])
    joins: dict[int, int] = attrs.field(factory=dict[int, int])
    """By exit join: the number of its scope."""

    def add_task(self, task: Task[..., Any], segment: str, scope: int) -> int:
        """Number a task, and return the number."""
        self.tasks.append(task)
        self.segments.append(segment)
        self.scope_of.append(scope)
        return len(self.tasks) - 1

    def add_join(self, scope: int) -> int:
        """Number the exit of `scope`, which stands in the parent's range, and return the number."""
        row = self.scopes[scope]
        self.tasks.append(None)
        self.segments.append(row.segment)
        self.scope_of.append(row.parent)
        self.joins[len(self.tasks) - 1] = scope
        return len(self.tasks) - 1

    def task(self, node: int) -> Task[..., Any]:
        """Return the task of a node that is known to be none of the joins."""
        return cast("Task[..., Any]", self.tasks[node])

    def exit(self, child: int) -> int:
        """Return the node that settles last of a step: the task itself, or the join of a group."""
        return child if child >= 0 else self.scopes[~child].join

    def handed(self, child: int) -> int | None:
        """Return the slot of the value that a step hands on."""
        return child if child >= 0 else self.scopes[~child].handed

    def segment(self, child: int) -> str:
        """Return the last part of the path of a step."""
        return self.segments[child] if child >= 0 else self.scopes[~child].segment


def number(root: Workflow) -> Draft:
    """Return the tables of `root`, in one walk, linear in the number of steps."""
    draft = Draft()
    draft.scopes.append(Scope(root, "", NONE, 0))
    steps = root.steps if isinstance(root, Group) else (root,)
    stack: list[tuple[int, Iterator[Workflow], dict[str, int]]] = [(0, iter(steps), {})]
    while stack:
        scope, rest, used = stack[-1]
        step = next(rest, None)
        if step is None:
            stack.pop()
            _close(draft, scope)
        elif isinstance(step, Group):
            stack.append((_open(draft, step, scope, used), iter(step.steps), {}))
        else:
            node = draft.add_task(cast("Task[..., Any]", step), _unique(step.name, used), scope)
            draft.scopes[scope].children.append(node)
    return draft


def _open(draft: Draft, group: Group, parent: int, used: dict[str, int]) -> int:
    number = len(draft.scopes)
    draft.scopes.append(Scope(group, _unique(group.name, used), parent, len(draft.tasks)))
    draft.scopes[parent].children.append(~number)
    return number


def _close(draft: Draft, scope: int) -> None:
    row = draft.scopes[scope]
    row.end = len(draft.tasks)
    if scope:
        row.join = row.handed = draft.add_join(scope)
    if isinstance(row.group, Group) and row.group.kind == "sequence":
        row.handed = draft.handed(row.children[-1]) if row.children else None


def _unique(name: str, used: dict[str, int]) -> str:
    """Return `name`, or `name#2`, `name#3`, … where siblings carry it already."""
    count = used.get(name, 0) + 1
    used[name] = count
    if count == 1:
        return name
    return _unique(f"{name}#{count}", used) if f"{name}#{count}" in used else f"{name}#{count}"

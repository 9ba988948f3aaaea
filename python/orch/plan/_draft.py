"""First half of lowering: give every task and every group boundary its number.

In: a definition, a tree of groups and tasks. Out: a `Draft`, the same tree as flat tables. Nodes are numbered in order
of definition, so the nodes of a group are one contiguous range; behind it lies the group's *exit join*, a node that the
core settles by itself when everything in the group is settled (the root has none: the run ends with it). The walk keeps
its own stack, so depth costs memory and never recursion.
"""

from collections.abc import Iterator
from typing import Any, cast

import attrs

from orch.definition import Border, Group, Task, Workflow

__all__ = ("NONE", "Draft", "Scope", "distinct", "number")

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
    children: list[int] = attrs.field(factory=list[int])  # a node number each, or ~scope for a group
    border: Border | None = None  # what is said of inputs and outputs of the group
    gives: dict[str, tuple[int, int]] | None = None  # of a graph that says what its outputs are called, as `outputs_of`

    @property
    def is_task(self) -> bool:
        """Whether each of its outputs is one of the graph around."""
        return self.border is not None and self.border.is_task


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

    def step(self, child: int) -> Workflow:
        """Return the definition of a step."""
        return self.task(child) if child >= 0 else self.scopes[~child].group

    def exit(self, child: int) -> int:
        """Return the node of a step that settles last: the task itself, or the join of a group."""
        return child if child >= 0 else self.scopes[~child].join

    def outputs_of(self, child: int) -> dict[str, tuple[int, int]]:
        """Return what a step gives: names, each with the slot and which of several outputs (-1 for the whole value)."""
        if child < 0:
            row = self.scopes[~child]
            if row.gives is not None and row.is_task:
                return row.gives
            return {row.group.name: (row.join, -1)}
        task = self.task(child)
        if not task.unpacks:
            return {task.outputs[0]: (child, -1)}
        return {name: (child, k) for k, name in enumerate(task.outputs)}

    def given_by(self, child: int) -> dict[str, tuple[int, int]]:
        """Return what a step gives beyond the border of its group, by the names there."""
        border = self.scopes[self.scope_of[self.exit(child)]].border
        found = self.outputs_of(child)
        if border is None or border.gives is None:
            return found
        return {border.gives[name]: at for name, at in found.items() if name in border.gives}

    def scope_path(self, scope: int) -> str:
        """Return the path of a group; that of the root is empty."""
        return self.path(self.scopes[scope].join) if scope else ""

    def path(self, node: int) -> str:
        """Return the path of a task, or of the group whose exit the node is."""
        parts, scope = [self.segments[node]], self.scope_of[node]
        while scope:
            parts.append(self.scopes[scope].segment)
            scope = self.scopes[scope].parent
        return "/".join(reversed(parts))


def number(root: Workflow) -> Draft:
    """Return the tables of `root`, in one walk, linear in the number of steps."""
    draft = Draft()
    kind, steps = (root.kind, root.steps) if isinstance(root, Group) else ("task", (root,))
    draft.scopes.append(Scope(root, kind, "", NONE, 0, border=getattr(root, "border", None)))
    stack: list[tuple[int, Iterator[Workflow], dict[str, int]]] = [(0, iter(steps), {})]
    while stack:
        scope, rest, used = stack[-1]
        row = draft.scopes[scope]
        for step in rest:
            segment = distinct(step.name, used)
            if isinstance(step, Group):
                row.children.append(~len(draft.scopes))
                stack.append((len(draft.scopes), iter(step.steps), {}))
                draft.scopes.append(Scope(step, step.kind, segment, scope, len(draft.tasks), border=step.border))
                break
            row.children.append(draft.add(cast("Task[..., Any]", step), segment, scope))
        else:
            stack.pop()
            row.end = len(draft.tasks)
            if row.border is not None and row.border.gives is not None:
                row.gives = {name: at for child in row.children for name, at in draft.given_by(child).items()}
            if scope:
                row.join = draft.add(None, row.segment, row.parent)
                draft.joins[row.join] = scope
    return draft


def distinct(name: str, used: dict[str, int]) -> str:
    """Return `name`, or `name#2`, `name#3`, … where it is in use already; `used` counts."""
    while (count := used.get(name, 0) + 1) > 1:
        used[name] = count
        name = f"{name}#{count}"
    used[name] = 1
    return name

"""
The plan: a checked definition as flat tables, ready for any number of runs.

Whoever holds a `Plan` holds something acyclic whose names are all resolved. Node k is a task or the exit join of a
group; its value will be in slot k. Everything here is made once and only read afterwards, from any thread.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from orch.plan._draft import NONE, Draft
from orch.plan._names import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orch._core import Dag, Layout
    from orch.definition import Workflow
    from orch.plan._wire import Input, Wiring

__all__ = ("COLLECT", "IN_PLACE", "Plan")

IN_PLACE, COLLECT = 1, 2
"""Bits of `Plan.kinds`: the body is called in place; the value of a group must be put together first."""


@attrs.frozen(eq=False, repr=False, slots=False)
class Plan:
    """
    A workflow, lowered: made by `orch.plan.compile`, accepted by every verb that takes a workflow.

    Immutable and reusable, also by runs at the same time. `len(plan)` is the number of tasks.
    """

    workflow: Workflow
    """The definition this was made from."""
    draft: Draft = attrs.field(repr=False)
    """Tasks, groups and names as tables."""
    wiring: Wiring = attrs.field(repr=False)
    """Edges and slots."""
    dag: Dag = attrs.field(repr=False)
    layout: Layout = attrs.field(repr=False)
    calls: list[Callable[..., Any] | None] = attrs.field(repr=False)
    """By node: what a lane calls with the values of the slots."""
    kinds: bytes = attrs.field(repr=False)
    """By node: bits IN_PLACE and COLLECT."""
    threaded: bool
    """Whether any body runs in a worker thread."""
    selected: frozenset[str] | None = None
    """The outputs that the value of a Graph maps; None: all of them."""

    def __len__(self) -> int:
        return len(self.draft.tasks) - len(self.draft.joins)

    def __repr__(self) -> str:
        return f"<Plan of {self.workflow.name!r}: {len(self)} tasks, {self.dag.edges} edges>"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of all inputs, required ones first, each in order of first use."""
        known = self.wiring.inputs
        return tuple(sorted(known, key=lambda name: not known[name].required))

    @property
    def input_table(self) -> Mapping[str, Input]:
        """Inputs by name, with the slots they fill."""
        return self.wiring.inputs

    def order(self) -> list[str]:
        """Return the paths of the tasks in a stable topological order: definition order where nothing else decides."""
        return self._paths_of(self.dag.order())

    def critical_path(self) -> list[str]:
        """Return the paths of the tasks on a longest chain of dependencies."""
        return self._paths_of(self.dag.longest_path())

    def describe(self) -> dict[str, Any]:
        """Return the plan as plain data: tasks with what they wait for, inputs, and the size."""
        tasks = {
            self.paths[node]: {"after": self._paths_of(self._before(node)), "lane": self.layout_lane(node)}
            for node in self.nodes()
        }
        inputs = {name: {"required": each.required} for name, each in self.wiring.inputs.items()}
        return {"name": self.workflow.name, "tasks": tasks, "inputs": inputs, "edges": self.dag.edges}

    # -- names -----------------------------------------------------------------------------------------------------

    def nodes(self) -> Iterator[int]:
        """Yield the numbers of the tasks (not of the joins), in order of definition."""
        return (node for node, task in enumerate(self.draft.tasks) if task is not None)

    def path(self, node: int) -> str:
        """Return the path of a task, or of the group whose exit the node is."""
        return self.paths[node] if "paths" in self.__dict__ else self._path(node)

    def name(self, node: int) -> str:
        """Return the name of a task, or of the group whose exit the node is."""
        task = self.draft.tasks[node]
        return task.name if task is not None else self.draft.scopes[self.draft.joins[node]].group.name

    def kind(self, scope: int) -> str:
        """Return "task", "sequence", "parallel" or "graph"."""
        return kind_of(self.draft.scopes[scope].group)

    @cached_property
    def paths(self) -> list[str]:
        """The path of every node; where two would be equal (names may hold slashes), the later gets `#2`."""
        taken: dict[str, int] = {}
        return [self._distinct(self._path(node), taken) for node in range(len(self.draft.tasks))]

    @cached_property
    def outputs(self) -> dict[str, tuple[int, int]]:
        """Names of what the workflow gives: (slot, which of several outputs or -1)."""
        found: dict[str, tuple[int, int]] = {}
        for child in self.draft.scopes[0].children:
            found.update(self.outputs_of(child))
        return found if self.selected is None else {name: found[name] for name in found if name in self.selected}

    def scope_path(self, scope: int) -> str:
        """Return the path of a group; that of the root is empty."""
        parts: list[str] = []
        while scope:
            row = self.draft.scopes[scope]
            parts.append(row.segment)
            scope = row.parent
        return "/".join(reversed(parts))

    def ancestors_of_group(self, scope: int) -> Iterator[int]:
        """Yield the group and the groups around it, innermost first."""
        while scope != NONE:
            yield scope
            scope = self.draft.scopes[scope].parent

    def _path(self, node: int) -> str:
        outer = self.scope_path(self.draft.scope_of[node])
        return f"{outer}/{self.draft.segments[node]}" if outer else self.draft.segments[node]

    @staticmethod
    def _distinct(path: str, taken: dict[str, int]) -> str:
        taken[path] = taken.get(path, 0) + 1
        return path if taken[path] == 1 else f"{path}#{taken[path]}"

    def outputs_of(self, child: int) -> dict[str, tuple[int, int]]:
        """Return what a step gives to the Graph around it: a task its outputs, a group its value under its name."""
        if child < 0:
            row = self.draft.scopes[~child]
            return {row.group.name: (row.join, -1)}
        task = self.draft.task(child)
        if not task.unpacks:
            return {task.outputs[0]: (child, -1)}
        return {name: (child, k) for k, name in enumerate(task.outputs)}

    def _paths_of(self, nodes: list[int]) -> list[str]:
        return [self.paths[node] for node in nodes if self.draft.tasks[node] is not None]

    def _before(self, node: int) -> list[int]:
        """Return the tasks that a task waits for directly, looking through joins."""
        found: set[int] = set()
        stack = self.dag.predecessors(node)
        while stack:
            each = stack.pop()
            if self.draft.tasks[each] is None:
                stack.extend(self.dag.predecessors(each))
            else:
                found.add(each)
        return sorted(found)

    def layout_lane(self, node: int) -> str:
        """Return where a task's body runs: "loop", "thread" or "place"."""
        task = self.draft.tasks[node]
        if task is not None and task.signature.kind == "plain":
            return "place" if task.thread is False else "thread"
        return "loop"

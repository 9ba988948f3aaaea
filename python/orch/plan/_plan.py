"""The plan: a checked definition as flat tables, ready for any number of runs.

Whoever holds a `Plan` holds something acyclic whose names are all resolved. Node k is a task or the exit join of a
group; its value will be in slot k. Everything here is made once and only read afterwards, from any thread.
"""

from collections.abc import Callable, Iterable
from functools import cache, cached_property
from typing import Any, cast

import attrs

from orch._core import Dag, Layout
from orch.definition import Graph, Map, Workflow
from orch.plan._draft import Draft, distinct
from orch.plan._part import part_of
from orch.plan._rules import Rules
from orch.plan._wire import Wiring

__all__ = ("COLLECT", "IN_PLACE", "RULES", "Plan")

IN_PLACE = 1  # bit of `Plan.kinds`: a plain function that is called on the event loop
COLLECT = 2  # the same: the value of a group has to be put together first
RULES = 4  # the same: the step has `Plan.rules` to go by


@attrs.frozen(eq=False, repr=False, slots=False)
class Plan:
    """A workflow, lowered: made by `orch.plan.compile`, accepted by every verb that takes a workflow.

    Immutable and reusable, also by runs at the same time. `len(plan)` is the number of tasks.
    """

    workflow: Workflow
    draft: Draft
    wiring: Wiring
    dag: Dag
    layout: Layout
    calls: list[Callable[..., Any] | None]  # by node: what a lane calls with the values of the slots
    kinds: bytes  # by node: bits IN_PLACE, COLLECT and RULES
    threaded: bool  # whether any body, or compensation, runs in a worker thread
    rules: dict[int, Rules]  # by node, of the steps with bit RULES
    guarded: tuple[int, ...]  # scopes that must be told when they settle: breaker, compensation, or own strategy
    like: "Plan | None" = attrs.field(default=None, kw_only=True)  # another plan of the same tables, except for names
    cached: tuple[int, ...] = attrs.field(
        default=(), kw_only=True
    )  # nodes whose rules have an identity: of `orch.plan.caching` only

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return f"<Plan of {self.workflow.name!r}: {len(self)} tasks, {self.dag.edges} edges>"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of all inputs, required ones first, each in order of first use."""
        known = self.wiring.inputs
        return tuple(sorted(known, key=lambda name: not known[name].required))

    def needs(self, name: str) -> bool:
        """Say whether a run has to give an input."""
        return self.wiring.inputs[name].required

    @property
    def needs_context(self) -> bool | None:
        """Whether a step, or a compensation, has to have a Context; None if not even an optional one is asked for."""
        undo = any(rules.undo is not None and rules.undo.needs_context for rules in self.rules.values())
        used = any(each.needs_context for uses in self.wiring.uses.values() for _, each in uses)
        return (
            undo
            or used
            or any(required for _, _, required in self.wiring.contexts)
            or (False if self.wiring.contexts else None)
        )

    @cached_property
    def tiles(self) -> dict[tuple[int, bool], "Plan"]:
        """Plans of several copies of this workflow, kept for `orch.plan.tile_of`."""
        return {}

    @property
    def replaceable(self) -> tuple[str, ...]:
        """The names of what resources fill, for which values may be bound in their place."""
        return tuple(self.wiring.replaceable)

    def order(self) -> list[str]:
        """Return the paths of the tasks in a stable topological order: definition order where nothing else decides."""
        return self._paths_of(self.dag.order())

    def critical_path(self) -> list[str]:
        """Return the paths of the tasks on a longest chain of dependencies; groups do not lengthen it."""
        return self._paths_of(self.layout.longest_path())

    def describe(self) -> dict[str, Any]:
        """Return the plan as plain data: tasks with what they wait for directly, inputs, and the size."""
        tasks = {self.paths[node]: self._paths_of(self._before(node)) for node in self.nodes}
        inputs = {name: {"required": self.wiring.inputs[name].required} for name in self.inputs}
        return {"name": self.workflow.name, "tasks": tasks, "inputs": inputs, "edges": self.dag.edges}

    @cached_property
    def nodes(self) -> list[int]:
        """The numbers of the tasks (not of the joins), in order of definition."""
        return [node for node, task in enumerate(self.draft.tasks) if task is not None]

    @cached_property
    def interrupts(self) -> list[int]:
        """The steps that ask questions, in order of definition."""
        return [node for node, rules in self.rules.items() if rules.form == "interrupt"]

    @cached_property
    def bodies(self) -> list["Plan"]:
        """The plans of what maps in it do for each item, at any depth."""
        maps = (self.draft.task(node) for node, rules in self.rules.items() if rules.form == "map")
        inside: list[Plan] = [Workflow._compile(cast("Map", each).body) for each in maps]  # noqa: SLF001 (it is kept there)
        return inside + [deeper for body in inside for deeper in body.bodies]

    @cached_property
    def shape(self) -> dict[str, tuple[Any, ...]]:
        """By path of each task what it is, reads and waits for; of a group (with a slash behind it) the latter."""
        at = {node: self.paths.get(node) or f"{self.draft.path(node)}/" for node in range(len(self.draft.tasks))}
        slots = self.wiring.slots
        read = {node: tuple(at[slot] for slot in slots[node] if slot in at) for node in at}
        waits = {node: tuple(map(at.__getitem__, self.dag.predecessors(node))) for node in at}
        return {at[node]: (task and task.form, read[node], waits[node]) for node, task in enumerate(self.draft.tasks)}

    def kind(self, scope: int) -> str:
        """Return "sequence", "parallel", "graph", or "task" for the root where a lone task is the workflow."""
        return self.draft.scopes[scope].kind

    def name(self, node: int) -> str:
        """Return the name of a task, or of the group whose exit the node is."""
        joins = self.draft.joins
        return self.draft.step(~joins[node] if node in joins else node).name

    def path(self, node: int) -> str:
        """Return the path of a task, or of the group whose exit the node is."""
        known = self.__dict__.get("paths", {})  # one error is no reason to name a million tasks
        return known.get(node) or self.draft.path(node)

    @cached_property
    def paths(self) -> dict[int, str]:
        """The paths of the tasks by node; where two would be equal (names may hold slashes), the later gets `#2`."""
        draft, taken = self.draft, dict[str, int]()
        prefix = cache(lambda scope: f"{draft.scope_path(scope)}/" if scope else "")
        return {node: distinct(prefix(draft.scope_of[node]) + draft.segments[node], taken) for node in self.nodes}

    @cached_property
    def at(self) -> dict[str, int]:
        """The nodes of the tasks by path."""
        return {path: node for node, path in self.paths.items()}

    def outputs_of(self, child: int) -> dict[str, tuple[int, int]]:
        """Return what a step adds to the value of its Graph: names, each with the slot and which output (or -1)."""
        return self.draft.given_by(child)

    @cached_property
    def outputs(self) -> dict[str, tuple[int, int]]:
        """What the workflow gives, as `outputs_of`."""
        return {name: at for child in self.draft.scopes[0].children for name, at in self.outputs_of(child).items()}

    def part(self, names: Iterable[str]) -> Graph:
        """Return the part of a Graph that gives these outputs, or has steps of these names, and all that they need."""
        return part_of(self.draft, self.dag, names)

    def _before(self, node: int) -> list[int]:
        """Return the tasks that a task waits for directly, looking through joins."""
        found, stack = set[int](), self.dag.predecessors(node)
        while stack:
            each = stack.pop()
            if each in self.draft.joins and each not in found:
                stack += self.dag.predecessors(each)
            found.add(each)
        return sorted(found)

    def _paths_of(self, nodes: list[int]) -> list[str]:
        return [self.paths[node] for node in nodes if node not in self.draft.joins]

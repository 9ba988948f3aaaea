"""The values of groups, put together from those of their steps; and what a settled run tells its `RunResult`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orch.event import Event, State
from orch.execution._run import Run
from orch.execution._trace import Decoder
from orch.plan import COLLECT
from orch.result import GroupShape

__all__ = ("RunSource", "arguments", "collect")

_DONE = State.SUCCEEDED.code, State.COMPENSATED.code


def collect(run: Run, scopes: Iterable[int]) -> None:
    """Put the values of these groups into the slots of their exits, inner groups first; each once a run."""
    for scope in scopes:
        if scope not in run.collected:
            for inner in _inner_first(run, scope):
                run.values[run.plan.draft.scopes[inner].join] = _value(run, inner)
                run.collected.add(inner)


def arguments(run: Run, step: int) -> list[Any]:
    """Return the arguments of a step, after the values of groups that it reads are put together."""
    if run.plan.kinds[step] & COLLECT:
        collect(run, run.plan.wiring.collects[step])
    return [run.values[slot] for slot in run.plan.wiring.slots[step]]


def _inner_first(run: Run, scope: int) -> list[int]:
    """Return the groups in a group, itself included, so that each comes behind those it contains."""
    order, stack = [scope], [scope]
    while stack:
        children = run.plan.draft.scopes[stack.pop()].children
        inner = [~child for child in children if child < 0 and ~child not in run.collected]
        order += inner
        stack += inner
    return order[::-1]


def _value(run: Run, scope: int) -> Any:
    plan = run.plan
    children = plan.draft.scopes[scope].children
    if plan.kind(scope) == "graph":
        return _outputs(run, {name: at for child in children for name, at in plan.outputs_of(child).items()})
    return [run.values[plan.draft.exit(child)] for child in children]


def _outputs(run: Run, places: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Return what a graph gave, without what failed, was skipped or not kept."""
    given = {name: at for name, at in places.items() if _has(run, at[0])}
    return {name: run.values[slot] if pick < 0 else run.values[slot][pick] for name, (slot, pick) in given.items()}


def _has(run: Run, slot: int) -> bool:
    """Say whether there is a value: of a group whatever there is of it, of a task if it succeeded and was kept.

    A task that was undone has given its value nevertheless.
    """
    done = run.schedule.state(slot) in _DONE
    return slot in run.plan.draft.joins or (done and slot not in run.released)


class RunSource:
    """The `orch.result.Source` of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def trace(self) -> Sequence[Event]:
        """Decode the journal."""
        decoder = Decoder(self._run)
        return (decoder.begin(), *decoder.advance(), decoder.end())

    def value(self) -> Any:
        """Put the workflow's value together; what there is of it, if it failed."""
        root = self._run.plan.draft.scopes[0]
        if root.kind == "graph":
            return self.outputs()
        collect(self._run, (~child for child in root.children if child < 0))
        return self._run.values[root.children[0]] if root.kind == "task" else _value(self._run, 0)

    def outputs(self) -> Mapping[str, Any]:
        """Return what a graph gave; nothing for another workflow."""
        plan = self._run.plan
        if plan.kind(0) != "graph":
            return {}
        collect(self._run, (plan.draft.joins[slot] for slot, _ in plan.outputs.values() if slot in plan.draft.joins))
        return _outputs(self._run, plan.outputs)

    def tasks(self) -> Sequence[tuple[str, str]]:
        """List path and name of every task."""
        return [(self._run.plan.paths[node], self._run.plan.name(node)) for node in self._run.plan.nodes]

    def groups(self) -> Iterable[GroupShape]:
        """List the groups with the positions of their tasks; joins are no tasks, hence the search."""
        plan, nodes = self._run.plan, self._run.plan.nodes
        for scope, row in enumerate(plan.draft.scopes):
            start, stop = bisect_left(nodes, row.start), bisect_left(nodes, row.end)
            path, error = plan.draft.scope_path(scope), self._run.errors.get(row.join)
            yield GroupShape(path, row.kind, start, stop, error)

    def value_at(self, position: int) -> Any:
        """Return the value of a task that succeeded and was kept."""
        node = self._run.plan.nodes[position]
        if not _has(self._run, node):
            raise LookupError(position)
        return self._run.values[node]

"""The values of groups, put together from those of their steps; and what a settled run tells its `RunResult`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

from orch.event import Event, State
from orch.execution._places import named, places, shapes
from orch.execution._run import Run
from orch.execution._trace import Decoder
from orch.plan import COLLECT
from orch.result import GroupShape, Origin

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
        first, events, last = decoder.begin(), decoder.advance(), decoder.end()
        if self._run.tiles and not self._run.watched:  # then items of maps were put on record tile by tile
            events.sort(key=attrgetter("time"))
            for seq, event in enumerate(events, first.seq + 1):
                object.__setattr__(event, "seq", seq)  # nobody else has seen it yet
        return (first, *events, last)

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
        return list(named(self._run, self._places))

    def groups(self) -> Iterable[GroupShape]:
        """List the groups with the positions of their tasks."""
        return shapes(self._run)

    def value_at(self, position: int) -> Any:
        """Return the value of a task that succeeded and was kept."""
        run, node = self._places[position]
        if not _has(run, node):
            raise LookupError(position)
        return run.values[node]

    def origin(self) -> Origin:
        """Say what the run was made of; of arguments, what cannot be read off the values that are left."""
        run, lost = self._run, self._run.released
        undoing = (node for node, rules in run.plan.rules.items() if lost and rules.undo is not None)
        torn = [node for node in undoing if node in run.trails and not lost.isdisjoint(run.plan.wiring.slots[node])]
        called_with = {run.plan.path(node): run.trails[node].arguments for node in torn}
        return Origin(run.plan.shape, run.given, run.select, called_with)

    @cached_property
    def _places(self) -> list[tuple[Run, int]]:
        return places(self._run)

"""What a settled run has to tell to its `RunResult`, read when it is asked for."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from orch.event import Event, State
from orch.execution._trace import Decoder
from orch.execution._values import output, value_of
from orch.result import GroupShape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orch.execution._run import Run

__all__ = ("RunSource",)


class RunSource:
    """The `orch.result.Source` of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._nodes = list(run.plan.nodes())

    def trace(self) -> Sequence[Event]:
        """Decode the journal."""
        decoder = Decoder(self._run)
        return (decoder.begin(), *decoder.advance(), decoder.end())

    def value(self) -> Any:
        """Put the workflow's value together."""
        return value_of(self._run.plan, self._run.values, self._run.collected)

    def outputs(self) -> Mapping[str, Any]:
        """Return what a graph gave, without the outputs of tasks that gave nothing."""
        run = self._run
        if run.plan.kind(0) != "graph":
            return {}
        self.value()
        given = {name: place for name, place in run.plan.outputs.items() if self._succeeded(place[0])}
        return {name: output(run.values, place) for name, place in given.items()}

    def tasks(self) -> Sequence[tuple[str, str]]:
        """List path and name of every task."""
        plan = self._run.plan
        return [(plan.paths[node], plan.name(node)) for node in self._nodes]

    def groups(self) -> Iterable[GroupShape]:
        """List the groups with the positions of their tasks; joins are no tasks, hence the search."""
        plan = self._run.plan
        for scope, row in enumerate(plan.draft.scopes):
            start, stop = bisect_left(self._nodes, row.start), bisect_left(self._nodes, row.end)
            yield GroupShape(plan.scope_path(scope), plan.kind(scope), start, stop)

    def value_at(self, position: int) -> Any:
        """Return the value of a task that succeeded and was kept."""
        node = self._nodes[position]
        if not self._succeeded(node) or node in self._run.released:
            raise LookupError(position)
        return self._run.values[node]

    def _succeeded(self, node: int) -> bool:
        return self._run.schedule.state(node) == State.SUCCEEDED.code

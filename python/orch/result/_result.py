"""
`RunResult`: the truth about a run, worked out when somebody asks.

A result is made in microseconds whatever the size of the run. It holds a `Source`, which reads what the run has
recorded, and keeps what it has once asked it for.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from orch.errors import WorkflowError
from orch.event import State
from orch.result import _report
from orch.result._lookup import Index, Tasks
from orch.result._source import Known
from orch.result._state import TaskRecord, fold, fold_groups, seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from orch.event import Event
    from orch.result._source import Source
    from orch.result._state import GroupRecord


@attrs.frozen(eq=False, repr=False, slots=False)
class RunResult:
    """
    What is known about a run.

    Attributes:
        run_id: The run.
        name: The name of the workflow.
        state: Where the run stands: FAILED if and only if something failed.
        errors: What its tasks raised at last, in order of time.
        context: The context the run worked on.
        started: When it began, in UTC, aware.
        finished: When it ended.
    """

    run_id: str
    name: str
    state: State
    _source: Source
    errors: tuple[BaseException, ...] = ()
    context: Any = None
    started: datetime | None = None
    finished: datetime | None = None
    _abandoned: tuple[str, ...] = ()

    @property
    def duration(self) -> float | None:
        """Seconds from begin to end."""
        return seconds(self.started, self.finished)

    @cached_property
    def value(self) -> Any:
        """A task's value; of a Sequence or Parallel the list of its steps' values; of a Graph its outputs by name."""
        return self._source.value()

    @cached_property
    def outputs(self) -> Mapping[str, Any]:
        """The values of a graph's outputs, by name."""
        return dict(self._source.outputs())

    @cached_property
    def trace(self) -> Sequence[Event]:
        """Everything that happened, in order."""
        return self._source.trace()

    @cached_property
    def tasks(self) -> Mapping[str, TaskRecord]:
        """The record of each task by path, in definition order; a lookup also takes a name that is unique."""
        known = fold(self.trace)
        records = (known.get(path) or TaskRecord(path, name) for path, name in self._index.tasks)
        return Tasks({record.path: record for record in records}, self._index)

    @cached_property
    def groups(self) -> Mapping[str, GroupRecord]:
        """The record of each group by path; that of the workflow is `""`."""
        groups = fold_groups(self._source.groups(), list(self.tasks.values()))
        if "" in groups:  # the run knows better: it may have been cancelled after its last task
            groups[""] = attrs.evolve(groups[""], state=self.state, started=self.started, finished=self.finished)
        return groups

    @cached_property
    def abandoned(self) -> tuple[TaskRecord, ...]:
        """The tasks whose functions were still running in a thread when the run's grace was over."""
        return tuple(self.tasks[path] for path in self._abandoned)

    @cached_property
    def _index(self) -> Index:
        return Index(self._source.tasks())

    def __getitem__(self, name: str) -> Any:
        """
        The graph's output of this name, else the value of the task at this path, else of the task with this name.

        Raises:
            KeyError: There is none, or it has no value, or several tasks have the name.
        """
        if name in self.outputs:
            return self.outputs[name]
        position = self._index.find(name, self.outputs)
        try:
            return self._source.value_at(position)
        except LookupError:
            raise KeyError(f"task {name!r} has no value: {self._fate(name)}") from None

    def _fate(self, name: str) -> str:
        state = self.tasks[name].state
        return "it was not kept" if state is State.SUCCEEDED else f"it is {state.value}"

    def __contains__(self, name: object) -> bool:
        try:
            self[name]  # type: ignore[index]  # any key may be asked for
        except KeyError:
            return False
        return True

    def raise_for_failure(self) -> None:
        """
        Do nothing if the run did not fail.

        Raises:
            WorkflowError: It failed; the exceptions are `errors`, `.result` is this result.
        """
        if self.state is State.FAILED:
            errors = [error for error in self.errors if isinstance(error, Exception)]
            raise WorkflowError(f"workflow {self.name!r} failed", errors, self)

    def report(self) -> dict[str, Any]:
        """
        Everything but the trace as plain data, which JSON can hold.

        Values of JSON's own types are copied, up to 10 000 lists and mappings and 32 levels each; any other is given by
        its `repr`, cut to 200 characters. Errors are given by type and message.
        """
        facts = ("run_id", "name", "state", "started", "finished", "duration", "value", "outputs")
        return {
            **{name: _report.plain(getattr(self, name)) for name in facts},
            "errors": [_report.plain(error) for error in self.errors],
            "tasks": [_report.plain_record(task) for task in self.tasks.values()],
            "groups": [_report.plain_record(group) for group in self.groups.values()],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """The report as JSON, in ASCII."""
        return json.dumps(self.report(), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        took = "" if self.duration is None else f" in {self.duration:.3f} s"
        errors = f", errors: {len(self.errors)}" if self.errors else ""
        return f"<RunResult {self.name!r} {self.state.value}{took}{errors}, run {self.run_id!r}>"

    def _repr_html_(self) -> str:
        """Tell notebooks: a table of the tasks."""
        return _report.to_html(repr(self)[1:-1], self.tasks)

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        """Tell notebooks: text and HTML, or those of them they ask for."""
        forms = {"text/plain": self.__repr__, "text/html": self._repr_html_}
        wanted = set(include or forms).difference(exclude or ())
        return {kind: form() for kind, form in forms.items() if kind in wanted}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle and copy what is known, not the run it is read from; records are folded again when asked for."""
        state = {field.name: getattr(self, field.name) for field in attrs.fields(RunResult)}
        known = Known(self._index.tasks, self._source.groups(), self._source.value_at)
        return state | {"_source": known, "value": self.value, "outputs": self.outputs, "trace": tuple(self.trace)}

"""`RunResult`: the truth about a run, made in microseconds at any size and worked out when somebody asks."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import attrs

from orch.errors import UnsupportedError, WorkflowError
from orch.event import Event, State, TaskEvent
from orch.event._discreet import discreet, sanitizer_of
from orch.result._past import Origin, Past, Pause
from orch.result._report import named, plain, to_html
from orch.result._state import GroupRecord, GroupShape, TaskRecord, Tasks, Timed, fold_groups


class Source(Protocol):
    """What a run has recorded. A result asks when it is asked itself, and keeps the answers that are costly."""

    def trace(self) -> Sequence[Event]: ...
    def value(self) -> Any: ...  # of a workflow that failed, what there is of it: None for each missing step
    def outputs(self) -> Mapping[str, Any]: ...  # those of a graph that there are; empty if it is something else
    def tasks(self) -> Sequence[tuple[str, str]]: ...  # path and name of each in definition order
    def groups(self) -> Iterable[GroupShape]: ...  # each before the groups in it, the workflow itself included
    def value_at(self, position: int) -> Any: ...  # of `tasks()`; LookupError if it has none or it was released
    def origin(self) -> Origin: ...  # what another run needs to go on with it


class _Known(NamedTuple):
    """What of a `Source` a pickled result still needs; the rest of it has been asked already."""

    places: Sequence[tuple[str, str]]
    values: Mapping[int, Any]
    known: Origin

    def tasks(self) -> Sequence[tuple[str, str]]:
        return self.places

    def value_at(self, position: int) -> Any:
        return self.values[position]

    def origin(self) -> Origin:
        return self.known


@attrs.frozen(eq=False, repr=False, slots=False)
class RunResult(Timed):
    """What is known about a run: it is FAILED if and only if something failed; `errors` are in order of time."""

    run_id: str
    name: str
    state: State
    _source: Source
    errors: tuple[BaseException, ...] = ()
    context: Any = None
    started: datetime | None = None
    finished: datetime | None = None
    _abandoned: tuple[str, ...] = ()
    pauses: tuple[Pause, ...] = ()
    """The questions that a PAUSED run has left open: `runner.resume(result, workflow, answers={name: …})` goes on."""
    parent: str | None = None
    """The id of the run, FAILED, CANCELLED or SUCCEEDED, that this one was resumed from."""

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
    def tasks(self) -> Tasks:
        """The record of each task by path, in definition order; a lookup also takes a name that is unique."""
        return Tasks(self._source.tasks(), lambda: self.trace)

    @cached_property
    def groups(self) -> Mapping[str, GroupRecord]:
        """The record of each group by path; that of the workflow is `""`."""
        groups = fold_groups(self._source.groups(), list(self.tasks.values()))
        if "" in groups:  # the run knows better: it may have been cancelled after its last task
            groups[""] = attrs.evolve(groups[""], state=self.state, started=self.started, finished=self.finished)
        return {path: discreet(group, sanitizer_of(self)) for path, group in groups.items()}

    @cached_property
    def abandoned(self) -> tuple[TaskRecord, ...]:
        """The tasks whose functions were still running in a thread when the run's grace was over."""
        return tuple(self.tasks[path] for path in self._abandoned)

    def __getitem__(self, name: str) -> Any:
        """The graph's output of this name, else the value of the task at this path, else of the one of this name."""
        if name in self.outputs:
            return self.outputs[name]
        position = self.tasks.find(name, self.outputs)
        try:
            return self._source.value_at(position)
        except LookupError:
            state = self.tasks[name].state
            fate = "was not kept" if state is State.SUCCEEDED else f"is {state.value}"
            raise KeyError(f"task {name!r} has no value: it {fate}") from None

    def __contains__(self, name: object) -> bool:
        with suppress(KeyError):
            self[name]  # type: ignore[index]  # any key may be asked for
            return True
        return False

    def raise_for_failure(self) -> None:
        """Raise a `WorkflowError` of `errors`, `.result` being this result, if the run failed."""
        if self.state is State.FAILED:
            errors = [error for error in self.errors if isinstance(error, Exception)]
            raise WorkflowError(f"workflow {self.name!r} failed", errors, self)

    def report(self) -> dict[str, Any]:
        """Everything but the trace, as data that JSON can hold: what it has no type for is told in words, and cut."""
        facts = ("run_id", "name", "state", "started", "finished", "duration", "parent")
        lists: dict[str, Iterable[Any]] = {"errors": self.errors, "pauses": self.pauses}
        lists |= {"tasks": self.tasks.values(), "groups": self.groups.values()}
        told, clean = {name: plain(getattr(self, name)) for name in facts}, sanitizer_of(self)
        told["value"] = plain(self.value, clean)
        told["outputs"] = named(self.outputs, clean)
        return told | {name: [plain(each, clean) for each in things] for name, things in lists.items()}

    def to_json(self, *, indent: int | None = None) -> str:
        """The report as JSON, in ASCII."""
        return json.dumps(self.report(), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        took = "" if self.duration is None else f" in {self.duration:.3f} s"
        errors = f", errors: {len(self.errors)}" if self.errors else ""
        return f"<RunResult {self.name!r} {self.state.value}{took}{errors}, run {self.run_id!r}>"

    def _repr_html_(self) -> str:
        return to_html(repr(self)[1:-1], self.tasks)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        forms = {"text/plain": self.__repr__, "text/html": self._repr_html_}
        wanted = set(include or forms).difference(exclude or ())
        return {kind: form() for kind, form in forms.items() if kind in wanted}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle and copy what is known, not the run it is read from; records are folded again when asked for."""
        places, values = self._source.tasks(), dict[int, Any]()
        for position in range(len(places)):
            with suppress(LookupError):
                values[position] = self._source.value_at(position)
        state = {name: getattr(self, name) for name in (*attrs.fields_dict(RunResult), "value", "outputs", "groups")}
        return state | {"trace": tuple(self.trace), "_source": _Known(tuple(places), values, self._source.origin())}


def past_of(result: RunResult) -> Past:
    """Return what a result knows of its run; UnsupportedError if that is too little."""
    source = result._source  # noqa: SLF001 (they are one page)
    origin = source.origin()
    if origin.inputs is None:
        cure = "resume it in the process that ran it, or give its steps what can be pickled"
        raise UnsupportedError(f"the inputs of run {result.run_id!r} could not be pickled with its result; {cure}")
    ends = [each.path for each in result.trace if isinstance(each, TaskEvent) and each.state is State.SUCCEEDED]
    records = {record.path: record for record in result.tasks.values()}
    done = tuple(path for path in ends if path in records and records[path].state is State.SUCCEEDED)
    values = dict[str, Any]()
    for position, (path, _) in enumerate(source.tasks()):
        with suppress(LookupError):
            values[path] = source.value_at(position)
    facts = origin.shape, origin.inputs, origin.select, done, values, origin.arguments, result.pauses
    return Past(result.run_id, result.parent, result.state, *facts)

"""Groups: workflows made of workflows. What the steps of a `Graph` are wired to is found when the plan is made."""

from __future__ import annotations

import functools
import inspect
import unicodedata
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, ClassVar, Literal, Self, TypeVar, overload

from attrs import field, frozen

from orch.definition._border import Border, renaming
from orch.definition._map import Map, MapMode, OnError
from orch.definition._options import breaker_of, timeout_of
from orch.definition._task import Step, Task, workflow_of
from orch.definition._workflow import Workflow
from orch.errors import DuplicateNameError, check_known, combine, expect, spelled
from orch.policies import CircuitBreaker, FailureStrategy, Seconds, Strategy

__all__ = ("Graph", "Group", "Parallel", "Sequence", "bordered", "folded", "offered")

_OF_MAPS = "mode", "limit", "on_error"  # options of as_task

G = TypeVar("G", bound="Group")


@frozen(init=False, eq=False, repr=False)
class Group(Workflow):
    """What `Sequence`, `Parallel` and `Graph` have in common. A group in which a step failed is failed once it settles.

    Args:
        *steps: Workflows, or callables, of which tasks are made; also one list of them.
        name: What it is called; its kind unless given.
        on_failure: What it does when a step fails: a `FailureStrategy`, its value, or an object with `on_failure`.
        timeout: Seconds (or a timedelta) it may take from the start of its first task on; over it, the group fails.
        breaker: A `CircuitBreaker` for which the whole group is one call; to be shared with other groups and tasks.
        limit: How many of the tasks in it, at any depth, may run at a time; None for as many as like.
    """

    kind: ClassVar[Literal["sequence", "parallel", "graph"]]

    steps: tuple[Workflow, ...]
    on_failure: FailureStrategy | Strategy
    timeout: float | None = field(converter=timeout_of)
    breaker: CircuitBreaker | None = field(converter=breaker_of)  # a shared object: no part of the value
    limit: int | None = field(validator=lambda _, at, value: expect(at.name, value, int, NoneType, least=1))
    border: Border | None = field(init=False, default=None)
    """What `bind`, `select` and `as_task` have said about its inputs and outputs."""

    @spelled()
    def __init__(
        self,
        *steps: Step | Iterable[Step],
        name: str | None = None,
        on_failure: FailureStrategy | Strategy | str = FailureStrategy.ABORT,
        timeout: Seconds | None = None,
        breaker: CircuitBreaker | None = None,
        limit: int | None = None,
    ) -> None:
        self._begin(steps, name, on_failure, timeout, breaker, limit)

    def _begin(
        self,
        steps: tuple[Any, ...],
        name: str | None,
        on_failure: FailureStrategy | Strategy | str,
        *options: Any,
        **more: Any,
    ) -> None:
        strategy = FailureStrategy.coerce(on_failure)
        name = self.kind if name is None else name
        self.__attrs_init__(name, self._workflows(steps), strategy, *options, **more)
        if problems := self._problems():
            raise combine(problems)

    def _workflows(self, steps: tuple[Any, ...]) -> tuple[Workflow, ...]:
        one = steps[0] if len(steps) == 1 else None
        if isinstance(one, Iterable) and not isinstance(one, str) and not callable(one):
            steps = tuple(one)
        workflows = []
        for i, step in enumerate(steps, 1):
            try:
                workflows.append(workflow_of(step))
            except (TypeError, ValueError) as error:
                for each in filter(inspect.iscoroutine, steps):
                    each.close()  # the others will not be awaited either
                error.args = (f"step {i} of {type(self).__name__}: {error}",)
                raise
        return tuple(workflows)

    def _problems(self) -> list[DuplicateNameError]:
        return []

    @property
    def options(self) -> dict[str, Any]:
        """What is to be given to make a group like it of other steps."""
        return {name: getattr(self, name) for name in ("name", "on_failure", "timeout", "breaker", "limit")}

    def bind(self, /, **values: Any) -> Self:
        """Return this group with values for some of its inputs, for every step that takes them as such."""
        border = self.border or Border()
        known = (*self.inputs, *self._lowered().replaceable, *border.bound)
        check_known(values, known, repr(self), "input")
        return self._behind(border.bind(values))

    def select(self, *names: str) -> Graph:
        """Return the part of a graph that gives these outputs, or has steps of these names, with all that they need.

        A DefinitionError says which of them it does not give, or that the group is no graph.
        """
        part: Graph = self._lowered().part(names)
        return part

    @overload
    def as_task(
        self,
        name: str | None = None,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        over: None = None,
    ) -> Self: ...
    @overload
    def as_task(
        self,
        name: str | None = None,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        over: str | Iterable[str],
        mode: MapMode = "zip",
        limit: int | None = None,
        on_error: OnError = "raise",
    ) -> Map: ...
    def as_task(
        self,
        name: str | None = None,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        over: str | Iterable[str] | None = None,
        **options: Any,
    ) -> Self | Map:
        """Return this group as a step of others that calls its inputs and outputs something else.

        Nothing but its inputs is filled from outside, and the outputs of a graph are outputs of the graph around it,
        one by one, as those of a task are. The group may still be run by itself, with the new names. A DefinitionError
        says which names it does not have.

        Args:
            name: What the step is called; as it is called now, unless given.
            inputs: New names of some inputs, `{outer: inner}`.
            outputs: New names of some outputs, `{inner: outer}`, if it is a graph: other groups give one value.
            over: Inputs, by their new names, of which the step takes many: it is then a `Map` of the group, and each
                output of a graph is the list of those of the items.
            **options: With `over`, the `mode`, `limit` and `on_error` of the map.
        """
        check_known(options, _OF_MAPS, "as_task", "option")
        if options and over is None:
            cure = "without over=…, the inputs of which it is to take many"
            raise TypeError(f"as_task has no option {next(iter(options))!r} {cure}")
        takes = renaming("inputs", inputs, self.inputs if inputs else (), repr(self))
        given = self.outputs if isinstance(self, Graph) else ()
        gives = renaming("outputs", outputs, given, repr(self))
        border = (self.border or Border()).rename(takes, gives, given if isinstance(self, Graph) else None)
        group = self._behind(border, self.name if name is None else name)
        if over is None:
            return group
        output = group.outputs if isinstance(group, Graph) else None
        return Map(group, over=over if isinstance(over, str) else tuple(over), output=output, **options)

    def _behind(self, border: Border, name: str | None = None) -> Self:
        options = {**self.options, "name": self.name if name is None else name}
        return bordered(type(self), border, *self.steps, **options)

    def _parts(self) -> tuple[list[Any], tuple[Workflow, ...]]:
        border = self.border.parts if self.border else []
        options = [self.name, self.limit, self.timeout, self.on_failure]
        return [*options, *border, *(step.name for step in self.steps)], self.steps

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {len(self.steps)} step{'s' if len(self.steps) != 1 else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.border is None:
            return functools.partial(type(self), **self.options), self.steps
        return functools.partial(bordered, type(self), **self.options), (self.border, *self.steps)


class Sequence(Group):
    """Steps one after another; each hands its value on to the next. Its value is the list of theirs.

    >>> Sequence(int.bit_length, print, name="show", limit=1)
    <Sequence 'show', 2 steps>
    """

    __slots__ = ()
    kind = "sequence"


class Parallel(Group):
    """Steps at the same time. Its value is the list of theirs, in order of definition.

    >>> Parallel([len, sum], on_failure="continue").on_failure
    <FailureStrategy.CONTINUE: 'continue'>
    """

    __slots__ = ()
    kind = "parallel"


@frozen(init=False, eq=False, repr=False)
class Graph(Group):
    """Tasks wired by names: a parameter named like another task's output is an edge, `deps` adds one.

    Everything else a task asks for is an input of the graph. Its value is the mapping of its outputs. A
    `DuplicateNameError` tells of two steps of one name, and of two producers of one output.

    >>> def extract(url): ...
    >>> def load(extract): ...
    >>> Graph(extract, load, name="etl").outputs
    ('extract', 'load')
    """

    kind = "graph"

    strict_types: bool = field(default=False, validator=lambda _, at, value: expect(at.name, value, bool))
    """Whether the plan is refused if an annotation of a step contradicts what another step says it returns."""

    @spelled()
    def __init__(
        self,
        *steps: Step | Iterable[Step],
        name: str | None = None,
        on_failure: FailureStrategy | Strategy | str = FailureStrategy.ABORT,
        timeout: Seconds | None = None,
        breaker: CircuitBreaker | None = None,
        limit: int | None = None,
        strict_types: bool = False,
    ) -> None:
        self._begin(steps, name, on_failure, timeout, breaker, limit, strict_types=strict_types)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of everything its steps give, in order of definition."""
        if self.border and self.border.gives is not None:
            return tuple(self.border.gives.values())
        return tuple(name for step in self.steps for name in _outputs(step))

    @property
    def options(self) -> dict[str, Any]:
        """What is to be given to make a graph like it of other steps."""
        return {**super().options, "strict_types": self.strict_types}

    def _parts(self) -> tuple[list[Any], tuple[Workflow, ...]]:
        parts, steps = super()._parts()
        return [*parts, self.strict_types], steps

    def _problems(self) -> list[DuplicateNameError]:
        names: dict[str, int] = {}
        outputs: dict[str, int] = {}
        problems = []
        for i, step in enumerate(self.steps):
            if (first := names.setdefault(folded(step.name), i)) != i:
                problems.append(DuplicateNameError(step.name, (self._place(first), self._place(i))))
                continue  # the same step twice, probably: its outputs are no news
            for name in _outputs(step):
                if (first := outputs.setdefault(folded(name), i)) != i:
                    places = (f"{self.steps[each].name!r} at {self._place(each)}" for each in (first, i))
                    problems.append(DuplicateNameError(name, places, output=True))
        return problems

    def _place(self, i: int) -> str:
        step = self.steps[i]
        return step.place if isinstance(step, Task) else f"step {i + 1} of the graph"


def bordered(kind: type[G], border: Border | None, *steps: Workflow, **options: Any) -> G:
    """Make a group that has a border, unless that says nothing."""
    group = kind(*steps, **options)
    object.__setattr__(group, "border", border if border != Border() else None)
    return group


def _outputs(step: Workflow) -> tuple[str, ...]:
    """Return the names of what a step gives the graph around it."""
    if isinstance(step, Graph) and step.border and step.border.is_task:
        return step.outputs
    return step.outputs if isinstance(step, Task) else (step.name,)  # a group gives its value


def offered(step: Workflow) -> tuple[str, ...]:
    """Return the names by which a step's values can be asked for beside it: a closed group shows its direct tasks'."""
    if isinstance(step, Graph) and step.border and step.border.gives is not None:
        return (step.name, *step.outputs)
    inner = (each for each in step.steps if isinstance(each, Task)) if isinstance(step, Group) else ()
    return (*_outputs(step), *(name for each in inner for name in each.outputs))


def folded(name: str) -> str:
    """Return a name as it is compared with others: what looks the same is the same."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)

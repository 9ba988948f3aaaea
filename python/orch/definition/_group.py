"""Groups: workflows made of workflows. What the steps of a `Graph` are wired to is found when the plan is made."""

from __future__ import annotations

import functools
import inspect
import unicodedata
from collections.abc import Iterable
from types import NoneType
from typing import Any, ClassVar, Literal

from attrs import field, frozen

from orch.definition._options import breaker_of, timeout_of
from orch.definition._task import Step, Task, Workflow, workflow_of
from orch.errors import DuplicateNameError, combine, expect
from orch.policies import CircuitBreaker, FailureStrategy, Seconds, Strategy

__all__ = ("Graph", "Group", "Parallel", "Sequence", "folded", "offered")


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

    def __init__(
        self,
        *steps: Step | Iterable[Step],
        name: str | None = None,
        on_failure: FailureStrategy | Strategy | str = FailureStrategy.ABORT,
        timeout: Seconds | None = None,
        breaker: CircuitBreaker | None = None,
        limit: int | None = None,
    ) -> None:
        strategy = FailureStrategy.coerce(on_failure)
        name = self.kind if name is None else name
        self.__attrs_init__(name, self._workflows(steps), strategy, timeout, breaker, limit)
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

    def _parts(self) -> tuple[list[Any], tuple[Workflow, ...]]:
        return [self.name, self.limit, self.timeout, self.on_failure, *(step.name for step in self.steps)], self.steps

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {len(self.steps)} step{'s' if len(self.steps) != 1 else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self.options), self.steps


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


class Graph(Group):
    """Tasks wired by names: a parameter named like another task's output is an edge, `deps` adds one.

    Everything else a task asks for is an input of the graph. Its value is the mapping of its outputs. A
    `DuplicateNameError` tells of two steps of one name, and of two producers of one output.

    >>> def extract(url): ...
    >>> def load(extract): ...
    >>> Graph(extract, load, name="etl").outputs
    ('extract', 'load')
    """

    __slots__ = ()
    kind = "graph"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of everything its steps give, in order of definition."""
        return tuple(name for step in self.steps for name in _outputs(step))

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


def _outputs(step: Workflow) -> tuple[str, ...]:
    return step.outputs if isinstance(step, Task) else (step.name,)  # a group gives its value


def offered(step: Workflow) -> tuple[str, ...]:
    """Return the names by which a step's values can be asked for beside it: a closed group shows its direct tasks'."""
    inner = (each for each in step.steps if isinstance(each, Task)) if isinstance(step, Group) else ()
    return (*_outputs(step), *(name for each in inner for name in each.outputs))


def folded(name: str) -> str:
    """Return a name as it is compared with others: what looks the same is the same."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)

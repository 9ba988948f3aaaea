"""Groups: workflows made of workflows. `Sequence` and `Parallel` are here, `Graph` has a page of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, ClassVar, Literal

from attrs import field, frozen

from orch.definition._task import Task, Workflow, same
from orch.errors import DefinitionError, combine, expect
from orch.policies import FailureStrategy, Strategy

__all__ = ("Group", "Parallel", "Sequence")

Step = Workflow | Callable[..., Any]


def _check_limit(_group: Any, _field: Any, limit: Any) -> None:
    if isinstance(limit, bool):
        raise TypeError(f"limit: expected int or None, found {limit}")
    expect("limit", limit, int, NoneType)
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1, found {limit}")


@frozen(init=False, eq=False, repr=False)
class Group(Workflow):
    """
    What `Sequence`, `Parallel` and `Graph` have in common. A group in which a step failed is failed once it settles.

    Args:
        *steps: Workflows, or callables, of which tasks are made; also one list of them.
        name: What it is called; its kind unless given.
        on_failure: What it does when a step fails: a `FailureStrategy`, its value, or an object with `on_failure`.
        limit: How many of the tasks in it, at any depth, may run at a time; None for as many as like.

    Raises:
        TypeError: A step that is neither a workflow nor callable; an argument of a wrong type.
        ValueError: A limit below 1, an unknown strategy, a name that is none.
    """

    kind: ClassVar[Literal["sequence", "parallel", "graph"]]

    steps: tuple[Workflow, ...]
    on_failure: FailureStrategy | Strategy
    limit: int | None = field(validator=_check_limit)

    def __init__(
        self,
        *steps: Step | Iterable[Step],
        name: str | None = None,
        on_failure: FailureStrategy | Strategy | str = FailureStrategy.ABORT,
        limit: int | None = None,
    ) -> None:
        workflows, strategy = _workflows(type(self).__name__, steps), FailureStrategy.coerce(on_failure)
        self.__attrs_init__(self.kind if name is None else name, workflows, strategy, limit)
        if problems := self._problems():
            raise combine(problems)

    def _problems(self) -> list[DefinitionError]:
        """Find what the steps have against one another."""
        return []

    def _alike(self, other: Group) -> bool:
        same_size = len(self.steps) == len(other.steps)
        return same_size and same((self.name, self.limit, self.on_failure), (other.name, other.limit, other.on_failure))

    def _inside(self) -> tuple[Workflow, ...]:
        return self.steps

    def _values(self) -> list[Any]:
        return [self.limit, *(step.name for step in self.steps)]

    def _details(self) -> str:
        return ", 1 step" if len(self.steps) == 1 else f", {len(self.steps)} steps"

    def __reduce__(self) -> tuple[Any, ...]:
        make = functools.partial(type(self), name=self.name, on_failure=self.on_failure, limit=self.limit)
        return make, self.steps


class Sequence(Group):
    """
    Steps one after another; each hands its value on to the next. Its value is the list of theirs.

    >>> Sequence(int.bit_length, print, name="show", limit=1)
    <Sequence 'show', 2 steps>
    """

    __slots__ = ()
    kind = "sequence"


class Parallel(Group):
    """
    Steps at the same time. Its value is the list of theirs, in order of definition.

    >>> Parallel([len, sum], on_failure="continue").on_failure
    <FailureStrategy.CONTINUE: 'continue'>
    """

    __slots__ = ()
    kind = "parallel"


def _workflows(kind: str, steps: tuple[Any, ...]) -> tuple[Workflow, ...]:
    if len(steps) == 1 and isinstance(steps[0], Iterable) and not isinstance(steps[0], str) and not callable(steps[0]):
        steps = tuple(steps[0])
    workflows = []
    for i, step in enumerate(steps, 1):
        try:
            workflows.append(step if isinstance(step, Workflow) else Task(step))
        except (TypeError, ValueError) as error:
            for each in filter(inspect.iscoroutine, steps):
                each.close()  # the others will not be awaited either
            kind_of_error = TypeError if isinstance(error, TypeError) else ValueError
            raise kind_of_error(f"step {i} of {kind}: {error}") from None
    return tuple(workflows)

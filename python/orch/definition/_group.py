"""Groups: workflows made of workflows. `Sequence` and `Parallel` are here, `Graph` has a page of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import NoneType
from typing import Any, ClassVar, Literal

from attrs import field, frozen

from orch.definition._task import Task, Workflow, same
from orch.errors import DefinitionError, combine, expect
from orch.policies import FailureStrategy, Strategy

__all__ = ("Group", "Parallel", "Sequence", "walk")

Step = Workflow | Callable[..., Any]


def _check_limit(_group: Any, _field: Any, limit: Any) -> None:
    if limit is None:
        return
    expect("limit", limit, int, NoneType)
    if isinstance(limit, bool):
        raise TypeError(f"limit: expected int or None, found {limit}")
    if limit < 1:
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
        return (self.name, self.limit, len(self.steps)) == (other.name, other.limit, len(other.steps)) and same(
            self.on_failure, other.on_failure
        )

    def _inside(self) -> tuple[Workflow, ...]:
        return self.steps

    def __hash__(self) -> int:
        return hash((self.kind, self.name, self.limit, *(step.name for step in self.steps)))

    def _details(self) -> str:
        return ", 1 step" if len(self.steps) == 1 else f", {len(self.steps)} steps"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.steps, self.name, self.on_failure, self.limit)


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


def walk(workflow: Workflow) -> Iterator[tuple[int, Workflow]]:
    """
    Visit a workflow and everything nested in it, each with its depth, parents first, in order of definition.

    >>> [(depth, each.name) for depth, each in walk(Sequence(len, Parallel(sum, any)))]
    [(0, 'sequence'), (1, 'len'), (1, 'parallel'), (2, 'sum'), (2, 'any')]
    """
    todo = [(0, workflow)]
    while todo:
        depth, here = todo.pop()
        yield depth, here
        if isinstance(here, Group):
            todo += [(depth + 1, step) for step in reversed(here.steps)]


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


def _restored(kind: type[Group], steps: tuple[Workflow, ...], name: str, on_failure: Any, limit: int | None) -> Group:
    return kind(*steps, name=name, on_failure=on_failure, limit=limit)

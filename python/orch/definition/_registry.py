"""`TaskRegistry`: tasks that are collected where they are written, in namespaces, and become a `Graph` when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack, overload

from orch.definition._group import Graph, folded, offered
from orch.definition._task import Step, Task, TaskOptions, workflow_of
from orch.definition._workflow import Workflow, name_of
from orch.errors import (
    DefinitionError,
    DuplicateNameError,
    MissingDependencyError,
    check_known,
    close_matches,
    combine,
    did_you_mean,
)
from orch.policies import CircuitBreaker, FailureStrategy, Seconds, Strategy

__all__ = ("GraphOptions", "TaskRegistry")

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W", bound=Workflow)

_DEFAULT = "default"
_SHOWN = 20  # namespaces in a message


class GraphOptions(TypedDict, total=False):
    """The options of a graph, as `TaskRegistry.graph` takes them by keyword."""

    name: str | None
    on_failure: FailureStrategy | Strategy | str
    timeout: Seconds | None
    breaker: CircuitBreaker | None
    limit: int | None
    strict_types: bool


class TaskRegistry:
    """Tasks by namespace, in the order in which they were added; each namespace makes a graph of its own.

    A name stands for one step of a namespace, and `deps` name steps of the same one. `len` and `in` look at all.

    >>> registry = TaskRegistry()
    >>> @registry.task(dag="etl")
    ... def extract(url): ...
    >>> @registry.task(dag="etl", deps=[extract])
    ... def load(): ...
    >>> registry, registry.graph("etl", limit=2)
    (<TaskRegistry: 'etl' (2)>, <Graph 'etl', 2 steps>)
    """

    __slots__ = ("__weakref__", "_dags")

    def __init__(self) -> None:
        self._dags: dict[str, dict[str, Workflow]] = {}  # by namespace, steps by folded name

    @overload
    def task(self, fn: Callable[P, R], /, *, dag: str = _DEFAULT, **options: Unpack[TaskOptions]) -> Task[P, R]: ...
    @overload
    def task(
        self, fn: None = None, /, *, dag: str = _DEFAULT, **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(self, fn: Any = None, /, *, dag: str = _DEFAULT, **options: Unpack[TaskOptions]) -> Any:
        """Make a task of a function and add it, as a decorator with or without options, which are those of `Task`."""
        check_known(options, ("dag", *TaskOptions.__annotations__), "TaskRegistry.task")

        def make(fn: Callable[..., Any]) -> Task[..., Any]:
            return self.add(Task(fn, **options), dag=dag)

        return make if fn is None else make(fn)

    @overload
    def add(self, step: W, /, *, dag: str = _DEFAULT) -> W: ...
    @overload
    def add(self, step: Callable[P, R], /, *, dag: str = _DEFAULT) -> Task[P, R]: ...
    def add(self, step: Step, /, *, dag: str = _DEFAULT) -> Workflow:
        """Add a workflow, or a callable, of which a task is made, and return it.

        A DuplicateNameError says where the namespace has that name already.
        """
        workflow = workflow_of(step)
        key, steps = folded(workflow.name), self._dags.get(name_of(dag, "dag"), {})
        if (first := steps.get(key)) is not None:
            raise DuplicateNameError(workflow.name, (_place(first, dag), _place(workflow, dag)))
        self._dags.setdefault(dag, {})[key] = workflow
        return workflow

    def graph(self, dag: str = _DEFAULT, /, **options: Unpack[GraphOptions]) -> Graph:
        """Make a graph of a namespace as it is now, named like it unless `name` says otherwise.

        A MissingDependencyError says which task depends on what the namespace does not have, and which other has it.
        """
        steps = self._steps(dag)
        if problems := list(self._unmet(dag)):
            raise combine(problems)
        fields: GraphOptions = {"name": dag, **options}
        return Graph(steps.values(), **fields)

    @property
    def dags(self) -> tuple[str, ...]:
        """The namespaces, in the order of their first tasks."""
        return tuple(self._dags)

    def names(self, dag: str | None = None) -> tuple[str, ...]:
        """Return the names of the steps of a namespace, or of all, in the order in which they were added."""
        dags = self._dags.values() if dag is None else [self._steps(dag)]
        return tuple(step.name for steps in dags for step in steps.values())

    def __len__(self) -> int:
        return sum(map(len, self._dags.values()))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(folded(name) in steps for steps in self._dags.values())

    def __repr__(self) -> str:
        sizes = [f"{dag!r} ({len(steps)})" for dag, steps in self._dags.items()]
        return f"<TaskRegistry: {', '.join(sizes[:_SHOWN]) or 'empty'}{', …' if len(sizes) > _SHOWN else ''}>"

    def _steps(self, dag: str) -> dict[str, Workflow]:
        if name_of(dag, "dag") not in self._dags:
            known = f"it has {', '.join(map(repr, self.dags[:_SHOWN]))}" if self._dags else "it is empty"
            cure = did_you_mean(close_matches(dag, self._dags)) or known
            raise DefinitionError(f"the registry has no namespace {dag!r}; {cure}")
        return self._dags[dag]

    def _unmet(self, dag: str) -> Iterable[MissingDependencyError]:
        """Yield a problem for each of `deps` in a namespace that is no step of it."""
        tasks = [step for step in self._dags[dag].values() if isinstance(step, Task)]
        if not any(task.deps for task in tasks):
            return
        seen = {each: _seen(steps.values()) for each, steps in self._dags.items()}
        here = seen.pop(dag)
        for task in tasks:
            for dep in task.deps:
                name, key = (dep, folded(dep)) if isinstance(dep, str) else (dep.name, _identity(dep))
                elsewhere = [each for each, others in seen.items() if key in others]
                # An equal step is meant, too, which only its name can say, unless that step is known to be another.
                if key not in here and (elsewhere or folded(name) not in here):
                    near = close_matches(name, (each for each in here if isinstance(each, str)))
                    yield MissingDependencyError(task.name, name, near, elsewhere)


def _seen(steps: Iterable[Workflow]) -> set[str | int]:
    """Return what `deps` may call the steps: names, names of what they give, and the identity of what they call."""
    steps = list(steps)
    names = (folded(name) for step in steps for name in (step.name, *offered(step)))
    return {*names, *map(_identity, steps)}


def _identity(step: Workflow) -> int:
    return id(getattr(step, "fn", step))


def _place(step: Workflow, dag: str) -> str:
    return step.place if isinstance(step, Task) else f"{step!r} in {dag!r}"

"""How a task is compensated: what each parameter of its compensation is filled with, resolved when the plan is made.

A compensation asks by name for `value` (what the task returned), `error` (what went wrong), any parameter of the task,
a `Context`, or a resource. One required positional parameter of another name that is left over gets the value.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from orch.context import Context
from orch.definition import Parameter, Resource, Task, Use
from orch.errors import DefinitionError, close_matches, did_you_mean
from orch.plan._call import Shape

__all__ = ("Undo", "undo_of")

_GIVEN = ("value", "error")


@attrs.frozen(eq=False)
class Undo:
    """A compensation whose parameters all have something to be filled with."""

    task: Task[..., Any]
    """The compensation itself, with its own options and bound values."""
    done: Task[..., Any]
    """What it compensates."""
    shape: Shape | None  # of that task
    takes: dict[str, Any]  # by parameter, under which key its value is found: a name, Context, or a resource
    needs_context: bool
    """Whether it cannot be called without a Context."""
    resources: tuple[Resource[Any], ...]
    """What has to be open when it is called, other than what the task has used."""

    def arguments(
        self,
        flat: Sequence[Any],
        value: object,
        error: BaseException | None,
        context: Context[Any] | None,
        opened: Mapping[Resource[Any], Any] = MappingProxyType({}),
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of the compensation, given what lay in the slots of the task, and what came of it.

        `opened` has the values of its `resources`.
        """
        found: dict[Any, Any] = {**_named(self.done, self.shape, flat), "value": value, "error": error, **opened}
        if context is not None:
            found[Context] = context
        named = {name: found[key] for name, key in self.takes.items() if key in found}
        return self.task.signature.arguments({**self.task.bound, **named}, self.task.extra)


def undo_of(done: Task[..., Any], task: Task[..., Any], shape: Shape | None) -> Undo:
    """Resolve the parameters of `task`, which compensates `done`; a DefinitionError names what nothing fills."""
    known = [*_GIVEN, *done.bound, *_parameters(done)]
    parameters = [each for each in task.signature.parameters if each.positional or each.keyword_only]
    uses = {each.name: use.resource for each in parameters if (use := _use(task, each)) is not None}
    free = [each for each in parameters if each.context or each.name not in task.bound]
    takes: dict[str, Any] = {each.name: Context for each in free if each.context}
    takes |= {each.name: each.name for each in free if each.name in known and each.name not in (takes | uses)}
    takes |= {name: _used_by(done, resource) or resource for name, resource in uses.items()}
    left = [each for each in free if each.required and each.name not in takes]
    if len(left) == 1 and left[0].positional and "value" not in takes.values():
        takes[left.pop().name] = "value"
    if left:
        raise _unfilled(done, task, left, known)
    others = tuple(dict.fromkeys(key for key in takes.values() if isinstance(key, Resource)))
    needy = any(each.context and each.required for each in free) or any(each.needs_context for each in others)
    return Undo(task, done, shape, takes, needy, others)


def _use(task: Task[..., Any], parameter: Parameter) -> Use | None:
    """Return by which resource a run fills a parameter of a task."""
    value = None if parameter.context else task.bound.get(parameter.name, parameter.default)
    return value if isinstance(value, Use) else None


def _used_by(done: Task[..., Any], resource: Resource[Any]) -> str | None:
    """Return the parameter by which the task asks for a resource, be it that another value is bound there.

    What stands in for the resource in the task, say in a test, stands in for it in the compensation.
    """
    for each in done.signature.parameters:
        asked = [use.resource for use in (each.default, done.bound.get(each.name)) if isinstance(use, Use)]
        if resource in asked and each.name != "upstream" and not each.context:
            return each.name
    return None


def _parameters(task: Task[..., Any]) -> list[str]:
    return [each.name for each in task.signature.parameters if each.positional or each.keyword_only]


def _named(task: Task[..., Any], shape: Shape | None, flat: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of a task by name; without a shape they are simply its positional parameters."""
    return shape.named(task, flat) if shape is not None else dict(zip(_parameters(task), flat, strict=False))


def _unfilled(done: Task[..., Any], task: Task[..., Any], left: list[Parameter], known: list[str]) -> DefinitionError:
    names = ", ".join(repr(each.name) for each in left)
    meant = did_you_mean([near for each in left for near in close_matches(each.name, known)])
    cure = meant or f"it may ask for {', '.join(map(repr, dict.fromkeys(known)))} or a Context, or have values bound"
    what = f"task {done.name!r}: nothing fills {names} of its compensation {task.name!r}"
    return DefinitionError(f"{what}; {cure}")

"""Why a lookup would miss: what differs from what is there, as far as digests can tell. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from orch.definition import Task, Workflow
from orch.errors import InputError, close_matches, expect
from orch.plan import Identity, Key, Unhashable, why_uncached

__all__ = ("Explanation", "explain")

About = Iterable[tuple[str, bytes]]  # what a key is made of


class Explanation(NamedTuple):
    """Whether a call would be found in a cache, and if not, why; text says it in a sentence."""

    task: str
    """Which function it is, as `module:qualified.name`."""
    hit: bool
    """Whether it would be found."""
    differs: tuple[str, ...] = ()
    """What is not the same as in the nearest entry: `"code"`, `"version"`, `"closure 'rate'"`, `"input 'rows'"`."""
    problem: str = ""
    """Why there can be no entry, or that there is none of this task."""

    def __bool__(self) -> bool:
        return self.hit

    def __str__(self) -> str:
        if self.hit:
            return f"{self.task}: hit"
        if self.problem:
            return f"{self.task}: miss, {self.problem}"
        return f"{self.task}: miss, not as in the nearest entry: {', '.join(self.differs)}"


def explain(
    step: Task[..., Any] | Callable[..., Any],
    inputs: Mapping[str, Any],
    is_there: Callable[[Key], bool],
    entries: Callable[[str], Iterable[About]],
) -> Explanation:
    """Compare a call with what a cache has: `entries` says of what it has of a function what that is about."""
    identity = Identity(_task(step))
    named = _named(identity, inputs)
    if uncached := why_uncached(identity):
        return Explanation(identity.name, hit=False, problem=uncached)
    try:
        key = identity.key_of(named)
    except Unhashable as problem:
        return Explanation(identity.name, hit=False, problem=f"it has no key: {problem.path}: {problem.problem}")
    if is_there(key):
        return Explanation(identity.name, hit=True)
    known = [_differences(dict(key.about), dict(about)) for about in entries(key.task)]
    if not known:
        return Explanation(identity.name, hit=False, problem="nothing of it is there")
    nearest = min(known, key=len)
    gone = "what was there is gone, or was never kept"
    return Explanation(identity.name, hit=False, differs=nearest, problem="" if nearest else gone)


def _task(step: Any) -> Task[..., Any]:
    if isinstance(step, Workflow) and not isinstance(step, Task):
        raise TypeError(f"explain: expected a task, found {step!r}: name one of its steps")
    return step if isinstance(step, Task) else Task(step)


def _named(identity: Identity, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the call by name, as a plan would fill them."""
    expect("inputs", inputs, Mapping)
    task = identity.task
    parameters = [each for each in task.signature.parameters if not (each.var_positional or each.var_keyword)]
    is_open = any(each.var_keyword for each in task.signature.parameters)
    defaults = {each.name: each.default for each in parameters if not each.required}
    values = defaults | dict(task.bound) | dict(inputs)
    missing = [each.name for each in parameters if each.name not in values and each.name not in identity.left_out]
    unknown = [name for name in inputs if not is_open and name not in {each.name for each in parameters}]
    if missing or unknown:
        names = tuple(each.name for each in parameters)
        meant = dict.fromkeys(each for name in unknown for each in close_matches(str(name), names))
        raise InputError(missing, unknown, tuple(meant), names)
    return values


def _differences(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> tuple[str, ...]:
    return tuple(name for name in {**one, **other} if one.get(name) != other.get(name))

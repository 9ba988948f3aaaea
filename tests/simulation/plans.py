"""What a seed stands for: a definition, what its bodies do, and what happens around it. Plain values, shown as text."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import attrs

import orch

__all__ = (
    "Breaker",
    "Case",
    "Group",
    "Limiter",
    "Shape",
    "Step",
    "Undo",
    "groups",
    "leaves",
    "parents",
    "show",
    "waits",
)


@attrs.frozen
class Undo:
    """A compensation: "ok", "fails", "slow" (and plain functions: "plain", "plain fails"), or "hangs"."""

    kind: str = "ok"
    seconds: float = 0.0


@attrs.frozen
class Step:
    """One task. Its body passes checkpoints, sleeps, hangs or fails in its first attempts, then gives a value."""

    name: str = ""
    plain: bool = False  # a plain function, called in place
    threaded: bool = False  # or in a worker thread, where it may sleep as well, but not be cancelled
    checkpoints: int = 0
    seconds: float = 0.0
    hangs: int = 0  # in so many attempts
    fails: int = 0  # in so many attempts, if they get so far
    error: str = "boom"
    on_cancel: str = "pass"  # or "value", "error", "cleanup", "cleanup value": what it answers a cancellation with
    cleanup: float = 0.0
    takes: bool = False  # has a parameter for what a Sequence hands on
    deps: tuple[int, ...] = ()  # in a Graph: positions of siblings before it
    retry: orch.Retry | None = None
    timeout: float | None = None
    breaker: int | None = None
    limiter: int | None = None
    undo: Undo | None = None
    undo_unknown: bool = False


@attrs.frozen
class Group:
    """Steps and groups. A strategy with commas is an object that picks one after another; "raises" one that raises."""

    kind: str
    steps: tuple["Shape", ...] = ()
    name: str = ""
    strategy: str = "abort"
    limit: int | None = None
    timeout: float | None = None
    breaker: int | None = None


Shape = Step | Group


@attrs.frozen
class Breaker:
    """A circuit breaker, shared by whatever names its number."""

    fail_max: int
    reset: float


@attrs.frozen
class Limiter:
    """A limiter, shared likewise: "capacity", "rate" or "bucket"."""

    kind: str
    size: int
    per: float = 1.0


@attrs.frozen
class Case:
    """One simulation."""

    seed: int
    root: Shape
    limit: int | None = None
    breakers: tuple[Breaker, ...] = ()
    limiters: tuple[Limiter, ...] = ()
    cancel: tuple[float, int] | None = None  # when the caller is cancelled: a time, and checkpoints after it
    stops: tuple[tuple[float, str], ...] = ()  # when the run is told to cancel a step, by name; without one, itself
    twin: bool = False  # whether another run of the same kind goes on beside it, with the same breakers and limiters
    subscribers: tuple[str, ...] = ()
    undo_timeout: float = 20.0
    threads: int | None = None
    grace: float = 5.0

    @cached_property
    def steps(self) -> dict[str, Step]:
        """All steps by name."""
        return {step.name: step for step in leaves(self.root)}

    @cached_property
    def threaded(self) -> frozenset[str]:
        """The steps whose bodies run in threads, where no cancellation reaches them."""
        return frozenset(name for name, step in self.steps.items() if step.threaded)

    @cached_property
    def undoable(self) -> frozenset[str]:
        """The steps that have a compensation."""
        return frozenset(name for name, step in self.steps.items() if step.undo is not None)

    @cached_property
    def groups(self) -> dict[str, Group]:
        """All groups by name, outer ones first."""
        return {group.name: group for group in groups(self.root)}

    @cached_property
    def inside(self) -> dict[str, frozenset[str]]:
        """By group the steps in it, at any depth."""
        return {name: frozenset(step.name for step in leaves(group)) for name, group in self.groups.items()}

    @cached_property
    def around(self) -> dict[str, tuple[Group, ...]]:
        """The groups around every step and group, the innermost first."""
        return dict(parents(self.root))

    @cached_property
    def waits(self) -> dict[str, frozenset[str]]:
        """By step all the steps that have to end before it, worked out from the case and not from the plan."""
        return dict(waits(self.root))


def leaves(shape: Shape) -> Iterator[Step]:
    """All steps, in order of definition."""
    if isinstance(shape, Step):
        yield shape
    else:
        for step in shape.steps:
            yield from leaves(step)


def groups(shape: Shape) -> Iterator[Group]:
    """All groups, outer ones first."""
    if isinstance(shape, Group):
        yield shape
        for step in shape.steps:
            yield from groups(step)


def parents(shape: Shape, around: tuple[Group, ...] = ()) -> Iterator[tuple[str, tuple[Group, ...]]]:
    """Name every step and group with the groups around it, the innermost first."""
    yield shape.name, around
    if isinstance(shape, Group):
        for step in shape.steps:
            yield from parents(step, (shape, *around))


def waits(shape: Shape, before: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """Name every step with all the steps that have to end before it, directly or not."""
    if isinstance(shape, Step):
        yield shape.name, before
        return
    earlier = before
    for step in shape.steps:
        deps = [shape.steps[dep] for dep in step.deps] if isinstance(step, Step) else []
        yield from waits(step, earlier | {leaf.name for dep in deps for leaf in leaves(dep)})
        if shape.kind == "sequence":
            earlier |= {leaf.name for leaf in leaves(step)}


def show(case: Case) -> str:
    """Write the whole case down, one step a line, what is as usual left out."""
    facts = _facts(case, ("seed", "root"))
    return "\n".join([f"seed {case.seed}{facts}", *_tree(case.root, "  ")])


def _tree(shape: Shape, indent: str) -> Iterator[str]:
    if isinstance(shape, Step):
        yield f"{indent}{shape.name}{_facts(shape, ('name',))}"
        return
    yield f"{indent}{shape.kind} {shape.name}{_facts(shape, ('name', 'kind', 'steps'))}"
    for step in shape.steps:
        yield from _tree(step, indent + "  ")


def _facts(value: Any, without: tuple[str, ...]) -> str:
    fields = [field for field in attrs.fields(type(value)) if field.name not in without]
    said = [(field.name, getattr(value, field.name)) for field in fields if getattr(value, field.name) != field.default]
    return "".join(f" {name}={fact!r}" for name, fact in said)

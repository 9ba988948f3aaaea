"""What of a run another one can go on with: plain data, whoever has kept it; and the questions it has left open."""

import pickle
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import attrs

from orch.event import State
from orch.event._text import brief

__all__ = ("Origin", "Past", "Pause")

Shape = Mapping[str, tuple[Any, ...]]


@attrs.frozen
class Pause:
    """A question that waits for its answer: what `path` asks, and what the answer has to be."""

    path: str
    name: str
    question: Any = attrs.field(default=None, repr=brief, hash=False)
    type: Any = attrs.field(default=Any, hash=False)


@attrs.frozen
class Origin:
    """What a run was made of, besides its workflow."""

    shape: Shape
    """By path of each task, how it is wired: to tell whether another workflow is the same."""
    inputs: Mapping[str, Any] | None
    """As they were given; None if they could not be pickled."""
    select: tuple[str, ...] | None = None
    arguments: Mapping[str, Sequence[Any]] = attrs.field(factory=dict)
    """By path, of steps that may have to be undone: what they were called with, if that cannot be found otherwise."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the inputs if they can be: a result is not to be lost for a connection that its run was given."""
        given = None
        with suppress(Exception):  # whatever users' classes do
            given = pickle.dumps((self.inputs, self.arguments))
        return _unpickled, (self.shape, given, self.select)


def _unpickled(shape: Shape, given: bytes | None, select: tuple[str, ...] | None) -> Origin:
    inputs, arguments = (None, {}) if given is None else pickle.loads(given)  # noqa: S301 (as what it was a part of)
    return Origin(shape, inputs, select, arguments)


@attrs.frozen
class Past:
    """A run as far as it came."""

    run_id: str
    parent: str | None
    state: State
    shape: Shape
    inputs: Mapping[str, Any]
    select: tuple[str, ...] | None
    done: tuple[str, ...]
    """The paths of the steps that have succeeded and were not undone, in order of their ends."""
    values: Mapping[str, Any]
    """What they gave, by path, as far as it was kept."""
    arguments: Mapping[str, Sequence[Any]]
    pauses: tuple[Pause, ...]

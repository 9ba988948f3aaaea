"""`Graph`: tasks wired by names. Names and outputs are checked here; what they are wired to, when the plan is made."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from orch.definition._group import Group
from orch.definition._task import Task, Workflow
from orch.errors import DuplicateNameError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orch.errors import DefinitionError

__all__ = ("Graph",)


class Graph(Group):
    """
    Tasks wired by names: a parameter named like another task's output is an edge, `deps` adds one.

    Everything else a task asks for is an input of the graph. Its value is the mapping of its outputs.

    >>> def extract(url): ...
    >>> def load(extract): ...
    >>> Graph(extract, load, name="etl").outputs
    ('extract', 'load')

    Raises:
        DuplicateNameError: Two steps of one name, or two producers of one output.
    """

    __slots__ = ()
    kind = "graph"

    def _problems(self) -> list[DefinitionError]:
        return [*_duplicate_names(self.steps), *_duplicate_outputs(self.steps)]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of everything its steps give, in order of definition."""
        return tuple(name for step in self.steps for name in outputs_of(step))


def outputs_of(step: Workflow) -> tuple[str, ...]:
    """List what a step gives to the graph around it: a task its outputs, a group its value under its name."""
    return step.outputs if isinstance(step, Task) else (step.name,)


def _duplicate_names(steps: tuple[Workflow, ...]) -> Iterator[DefinitionError]:
    first: dict[str, int] = {}
    for i, step in enumerate(steps):
        j = first.setdefault(_plain(step.name), i)
        if i != j:
            yield DuplicateNameError(step.name, (_place(steps, j), _place(steps, i)))


def _duplicate_outputs(steps: tuple[Workflow, ...]) -> Iterator[DefinitionError]:
    first: dict[str, int] = {}
    for i, step in enumerate(steps):
        for name in outputs_of(step):
            j = first.setdefault(_plain(name), i)
            if i != j and _plain(step.name) != _plain(steps[j].name):
                places = tuple(f"{steps[k].name!r} at {_place(steps, k)}" for k in (j, i))
                yield DuplicateNameError(name, places, output=True)


def _plain(name: str) -> str:
    """Fold the ways of writing one text (NFC): what looks the same is the same name."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _place(steps: tuple[Workflow, ...], i: int) -> str:
    step: Any = steps[i]
    return step.place if isinstance(step, Task) else f"step {i + 1} of the graph"

"""`Graph`: tasks wired by names. Names and outputs are checked here; what they are wired to, when the plan is made."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from orch.definition._group import Group
from orch.definition._task import Task, Workflow
from orch.errors import DuplicateNameError

if TYPE_CHECKING:
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

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of everything its steps give, in order of definition."""
        return tuple(name for step in self.steps for name in _outputs(step))

    def _problems(self) -> list[DefinitionError]:
        names: dict[str, int] = {}
        outputs: dict[str, int] = {}
        problems: list[DefinitionError] = []
        for i, step in enumerate(self.steps):
            if (j := names.setdefault(_folded(step.name), i)) != i:
                problems.append(DuplicateNameError(step.name, (self._place(j), self._place(i))))
                continue
            for name in _outputs(step):
                if (j := outputs.setdefault(_folded(name), i)) != i:
                    places = tuple(f"{self.steps[k].name!r} at {self._place(k)}" for k in (j, i))
                    problems.append(DuplicateNameError(name, places, output=True))
        return problems

    def _place(self, i: int) -> str:
        step = self.steps[i]
        return step.place if isinstance(step, Task) else f"step {i + 1} of the graph"


def _outputs(step: Workflow) -> tuple[str, ...]:
    """List what a step gives to the graph around it: a task its outputs, a group its value, under its name."""
    return step.outputs if isinstance(step, Task) else (step.name,)


def _folded(name: str) -> str:
    """Fold the ways of writing one text (NFC): what looks the same is the same name."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)

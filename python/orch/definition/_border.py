"""The border of a group: values for its inputs, and what its names are called outside. Most groups have none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any

from attrs import evolve, field, frozen

from orch.definition._workflow import name_of
from orch.errors import DefinitionError, DuplicateNameError, close_matches, combine, did_you_mean, expect

__all__ = ("Border", "renaming")

_SHOWN = 20  # names in a message


def _check_different(_: object, __: object, gives: Any) -> None:
    names: dict[str, str] = {}
    for name, outer in (gives or {}).items():
        if (first := names.setdefault(outer, name)) != name:
            raise DuplicateNameError(outer, (first, name), output=True)


@frozen
class Border:
    """What is said where a group meets what is around it; keys are the names inside."""

    values: dict[str, Any] = field(factory=dict)
    """Values for inputs, which nobody outside can give any more."""
    takes: dict[str, str] = field(factory=dict)
    """What inputs are called outside, where that is another name."""
    gives: dict[str, str] | None = field(default=None, validator=_check_different)
    """What outputs are called outside; the others are not given. None: all are, by their names."""
    is_task: bool = False
    """Whether it is one step to what is around: only its inputs are filled from there, and of a graph its outputs are
    outputs of the graph around, and not together one value."""

    @property
    def parts(self) -> list[Any]:
        """What makes its value; those of users one by one, as not all of them can be compared."""
        gives, bound = None if self.gives is None else tuple(self.gives.items()), sorted(self.values)
        takes = tuple(sorted(self.takes.items()))
        return [takes, gives, self.is_task, tuple(bound), *(self.values[name] for name in bound)]

    @property
    def bound(self) -> tuple[str, ...]:
        """What the inputs that have values are called outside."""
        return tuple(dict.fromkeys(self.takes.get(name, name) for name in self.values))

    def bind(self, values: Mapping[str, Any]) -> Border:
        """Return this border with values for inputs, by their names outside."""
        return evolve(
            self, values={**self.values, **{at: values[name] for name in values for at in self._inside(name)}}
        )

    def rename(self, inputs: Mapping[str, str], outputs: Mapping[str, str], given: Iterable[str] | None) -> Border:
        """Return that of a step which calls its inputs, and the outputs that are `given` by now, something else."""
        takes = {**self.takes, **{at: outer for outer, name in inputs.items() for at in self._inside(name)}}
        gives = {name: name for name in given} if self.gives is None and given is not None else self.gives
        gives = gives and {name: outputs.get(outer, outer) for name, outer in gives.items()}
        return evolve(self, takes=takes, gives=gives, is_task=True)

    def _inside(self, name: str) -> list[str]:
        """Return what an input is called inside, where several may take it."""
        return [at for at, outer in self.takes.items() if outer == name] + [name] * (name not in self.takes)


def renaming(field: str, names: Mapping[str, str] | None, known: Sequence[str], what: str) -> dict[str, str]:
    """Expect a renaming of some of the known names: of `inputs` the values, of `outputs` the keys are known ones."""
    expect(field, names, Mapping, NoneType)
    checked = {name_of(name, field): name_of(other, field) for name, other in (names or {}).items()}
    asked = list(checked.values() if field == "inputs" else checked)
    if problems := [_unknown(field, name, known, what) for name in asked if name not in known]:
        raise combine(problems)
    if twice := [name for name in asked if asked.count(name) > 1]:
        raise ValueError(f"inputs: expected one new name for each input, found two for {twice[0]!r}")
    return checked


def _unknown(field: str, name: str, known: Sequence[str], what: str) -> DefinitionError:
    form = "{outer: inner}" if field == "inputs" else "{inner: outer}"
    has = f"it has {', '.join(map(repr, known[:_SHOWN])) or 'none'}, and {field}= is {form}"
    cure = did_you_mean(close_matches(name, known)) or has
    return DefinitionError(f"as_task: {what} has no {field[:-1]} {name!r}; {cure}")

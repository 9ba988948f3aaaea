"""`Workflow`, the base of all definitions.

A definition is a value: frozen, comparable, hashable, picklable, good for any number of runs. It does nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType, NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from attrs import field, frozen

from orch.errors import expect

__all__ = ("Workflow", "name_of")

_LONGEST_NAME = 1000
_SHOWN = 60  # characters of a name in a repr
_HASHABLE = (str, int, float, bytes, NoneType, FunctionType)  # with hashes that agree with `_same`


def name_of(name: Any, what: str = "name") -> str:
    """Expect a name: any text of a sensible length, which is inert wherever it is shown."""
    expect(what, name, str)
    if not name or len(name) > _LONGEST_NAME or "\0" in name:
        found = "NUL in it" if "\0" in name else f"{len(name)} characters"
        raise ValueError(f"{what}: expected a text of 1 to {_LONGEST_NAME} characters without NUL, found {found}")
    return str.__str__(name)  # not a subclass, which may show itself as it likes


@frozen(eq=False, repr=False)
class Workflow:
    """Anything that can be run: a `Task`, or a group of workflows (`Sequence`, `Parallel`, `Graph`).

    Workflows compare by value; telling two of them apart, hashing and showing them works at any depth of nesting.
    """

    name: str = field(converter=name_of)
    """What the workflow is called in results, events and errors."""
    _plan: Any = field(init=False, default=None)
    # What orch.plan makes of it once, kept here for the next run: no part of the value.

    _compile: ClassVar[Callable[[Workflow], Any]]
    # orch.plan.compile, which puts itself here when it is imported: definitions do not know who lowers them.

    if TYPE_CHECKING:  # attrs makes one for each kind, with its fields as parameters; pyright does not know

        def __attrs_init__(self, *args: Any, **kwargs: Any) -> None: ...
        def _parts(self) -> tuple[list[Any], Sequence[Workflow]]: ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what a run has to give it, then of what it may give; a DefinitionError if it has a mistake."""
        names: tuple[str, ...] = self._lowered().inputs
        return names

    def _lowered(self) -> Any:
        return Workflow._compile(self)

    def __eq__(self, other: object) -> bool:
        # With a stack of its own: workflows nest deeper than Python recurses. Each kind lists the `_parts` that make
        # its value, and apart from them the workflows in it.
        pairs: list[tuple[Any, Any]] = [(self, other)]
        seen = set()
        while pairs:
            one, two = pairs.pop()
            if one is two or (id(one), id(two)) in seen:
                continue
            if type(one) is not type(two):
                return False
            (parts, inside), (others, other_inside) = one._parts(), two._parts()
            if len(parts) != len(others) or not all(map(_same, parts, others)):
                return False
            seen.add((id(one), id(two)))
            pairs += zip(inside, other_inside, strict=True)
        return True

    def __hash__(self) -> int:
        # Of what is not safe to hash, the type: users' values may be anything.
        parts = [part if isinstance(part, _HASHABLE) else type(part) for part in self._parts()[0]]
        return hash((type(self), *parts))

    def __copy__(self) -> Self:
        return self

    def __repr__(self) -> str:
        name = self.name if len(self.name) <= _SHOWN else f"{self.name[: _SHOWN - 1]}…"
        return f"<{type(self).__name__} {name!r}>"


def _same(one: object, two: object) -> bool:
    """Compare two values of a user: equal, and of one type (1 is not True). What cannot be compared is not the same."""
    try:
        return one is two or (type(one) is type(two) and bool(one == two))
    except Exception:  # noqa: BLE001  (an array says that its truth is ambiguous)
        return False

"""How a bug is planted: changes of attributes of the engine's modules, for the time of a simulation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import orch.execution._run as run

__all__ = ("MUTANTS", "Change", "mutant", "planted", "schedule")

Change = tuple[Any, str, Any]
"""An object, the name of an attribute, and what it is to be."""

MUTANTS: dict[str, Callable[[], list[Change]]] = {}


def mutant(make: Callable[[], list[Change]]) -> Callable[[], list[Change]]:
    """Add a mutant, under the name of the function."""
    MUTANTS[make.__name__.replace("_", " ")] = make
    return make


@contextmanager
def planted(changes: list[Change]) -> Iterator[None]:
    """Have the changes in place; the last first, they are taken back."""
    before = [(where, name, where.__dict__[name]) for where, name, _ in changes]
    for where, name, new in changes:
        setattr(where, name, new)
    try:
        yield
    finally:
        for where, name, old in reversed(before):
            setattr(where, name, old)


class _Other:
    """A schedule that does some things in another way; `verbs` are called with the true one and the arguments."""

    def __init__(self, schedule: Any, verbs: dict[str, Callable[..., Any]]) -> None:
        self.__dict__.update({name: partial(verb, schedule) for name, verb in verbs.items()})
        self._schedule = schedule

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schedule, name)

    def __len__(self) -> int:
        return len(self._schedule)


def schedule(**verbs: Callable[..., Any]) -> list[Change]:
    """Put verbs of one's own before those of the schedule."""
    true = run.__dict__["clocked"]
    return [(run, "clocked", lambda *given: _Other(true(*given), verbs))]

"""What annotations allow. They choose classes and refuse what does not fit; values are what they say they are."""

import typing
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import repeat
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, ClassVar, Final, Literal, NotRequired, Required, TypeVar, Union, get_args, get_origin

from orch._codec._classes import hints_of, is_writable_class
from orch._codec._values import KINDS

Hints = tuple[Any, ...]
"""Alternatives, one of which a value has to fit."""


class UNKNOWN:
    """The hint of what the caller will say something about only when it is read."""


_WRAPPERS = (Annotated, ClassVar, Final, Required, NotRequired, getattr(typing, "ReadOnly", Required))
_TOWER: dict[Any, tuple[type, ...]] = {float: (int, bool), complex: (int, bool, float)}  # what may stand for what
_STEPS = 1_000  # an alias may be its own alternative
_SHOWN = 80


def alternatives(*hints: Any) -> Hints:
    """Take hints apart until only alternatives are left."""
    try:
        return _alternatives(hints)
    except TypeError:  # one of them, say a Literal of a list, has no hash
        return _alternatives.__wrapped__(hints)


@lru_cache(1024)
def _alternatives(hints: Hints) -> Hints:
    todo, found = list(reversed(hints)), list[Any]()
    for _ in range(_STEPS):
        if not todo:
            break
        hint = todo.pop()
        more = _opened(hint)
        if more is not None:
            todo += reversed(more)
        elif hint not in found:
            found.append(hint)
    return tuple(found)


def _opened(hint: Any) -> Sequence[Any] | None:
    origin = get_origin(hint)
    if origin is Union or origin is UnionType:
        return get_args(hint)
    if origin in _WRAPPERS:
        return get_args(hint)[:1]
    if isinstance(hint, TypeVar):
        return hint.__constraints__ or (hint.__bound__ or Any,)
    if isinstance(hint, typing.NewType):
        return (hint.__supertype__,)
    if type(origin or hint).__name__ == "TypeAliasType":  # of typing, from Python 3.12 on, or of typing_extensions
        return ((origin or hint).__value__,)
    return (NoneType,) if hint is None else None


def describe(hints: Hints) -> str:
    """Say what is expected."""
    return " or ".join(map(_name, hints)) or "nothing at all"


def _name(hint: Any) -> str:
    if typing.is_typeddict(hint):
        return f"{hint.__qualname__} with the keys {', '.join(map(repr, hints_of(hint)))}"
    if _is_free(_class_of(hint)):
        return "plain data"
    return hint.__qualname__ if isinstance(hint, type) else repr(hint)[:_SHOWN]


def candidates(hints: Hints, name: str) -> list[type]:
    """Find the classes of this name among the alternatives."""
    classes = dict.fromkeys(map(_class_of, hints))
    return [each for each in classes if is_writable_class(each) and each.__qualname__ == name]


def accepts(hints: Hints, value: object) -> bool:
    """Whether a single value fits; a class that nothing written can be an instance of is not asked."""
    kind: Any = type(value)
    try:
        allowed = _allows(hints, kind)
    except TypeError:  # no hash, as above
        allowed = _allows.__wrapped__(hints, kind)
    literals = () if allowed else (each for hint in hints if _class_of(hint) is Literal for each in get_args(hint))
    return allowed or any(type(each) is type(value) and each == value for each in literals)


@lru_cache(1024)
def _allows(hints: Hints, kind: Any) -> bool:
    return any(_takes(outer, kind) or kind in _TOWER.get(outer, ()) for outer in map(_class_of, hints))


def _class_of(hint: Any) -> Any:
    found = get_origin(hint) or hint
    return found if isinstance(found, type) or found is Literal else Any


def _takes(kind: Any, written: type) -> bool:
    return _is_free(kind) or (kind is not Literal and not typing.is_typeddict(kind) and issubclass(written, kind))


@lru_cache(1024)
def _is_free(kind: Any) -> bool:
    if kind is Any or kind is object or kind is UNKNOWN:
        return True
    if kind is Literal or typing.is_typeddict(kind) or is_writable_class(kind):
        return False
    try:
        return not any(issubclass(each, kind) for each in KINDS)
    except TypeError:  # a protocol that is not for run time
        return True


def of_items(hints: Hints, kind: type, size: int) -> list[Hints] | None:
    """Say what each item of a list, tuple or set has to fit; None if none of the hints allows one."""
    columns = [each for hint in hints if (each := _column(hint, kind, size)) is not None]
    merge = _merging()
    return list(map(merge, zip(*columns, strict=True))) if columns else None


def _column(hint: Any, kind: type, size: int) -> Sequence[Any] | None:
    outer, inner = _class_of(hint), get_args(hint)
    if not _takes(outer, kind):
        return None
    if outer is tuple and inner[-1:] != (...,) and (inner or isinstance(hint, GenericAlias)):
        return inner if len(inner) == size else None
    return list(repeat(_inner(hint, inner[:1])[0], size))


def _inner(hint: Any, given: Sequence[Any]) -> Sequence[Any]:
    """Take the arguments of a hint that is about a container; what it does not say is free, or as unknown as it is."""
    outer = _class_of(hint)
    if hint is UNKNOWN:
        return (UNKNOWN, UNKNOWN)
    return (Any, Any) if _is_free(outer) else (*given, Any, Any)


def of_mapping(hints: Hints, keys: set[str] | None) -> tuple[Hints, Callable[[Any], Hints]] | None:
    """Say what keys have to fit, and each value by its key (`keys`, if all are text); None if no hint allows it."""
    entries = [each for hint in hints if (each := _entry(hint, keys)) is not None]
    merge = _merging()
    if not entries:
        return None
    return alternatives(*(key for key, _ in entries)), lambda key: merge(tuple(value(key) for _, value in entries))


def _entry(hint: Any, keys: set[str] | None) -> tuple[Any, Callable[[Any], Any]] | None:
    outer = _class_of(hint)
    if typing.is_typeddict(outer):
        values = hints_of(outer)
        fits = keys is not None and outer.__required_keys__ <= keys <= values.keys()
        return (str, values.__getitem__) if fits else None
    if not _takes(outer, dict):
        return None
    key, value = _inner(hint, get_args(hint))[:2]
    return key, lambda _: value


def _merging() -> Callable[[tuple[Any, ...]], Hints]:
    known: dict[tuple[int, ...], Hints] = {}

    def merge(row: tuple[Any, ...]) -> Hints:
        key = tuple(map(id, row))
        if key not in known:
            known[key] = alternatives(*row)
        return known[key]

    return merge

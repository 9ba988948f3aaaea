"""What annotations allow. They choose classes and refuse what does not fit; values are what they say they are."""

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache, wraps
from itertools import repeat
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, ClassVar, Final, Literal, ParamSpec, TypeVar, Union, cast, get_args, get_origin

from orch._codec._classes import hints_of, is_writable_class
from orch._codec._values import KINDS

Hints = tuple[Any, ...]
"""Alternatives, one of which a value has to fit."""

P = ParamSpec("P")
R = TypeVar("R")


class UNKNOWN:
    """The hint of what the caller will say something about only when it is read."""


_WRAPPERS = {
    Annotated,
    ClassVar,
    Final,
    *(getattr(typing, name, Final) for name in ("Required", "NotRequired", "ReadOnly")),
}
_TOWER: dict[Any, tuple[type, ...]] = {float: (int, bool), complex: (int, bool, float)}  # what may stand for what
_STEPS = 1_000  # an alias may be its own alternative
_SHOWN = 80


def _remembered(function: Callable[P, R]) -> Callable[P, R]:
    remembering: Any = lru_cache(1024)(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return cast("R", remembering(*args, **kwargs))
        except TypeError:  # a hint without a hash, say a Literal of a list
            return function(*args, **kwargs)

    return call


@_remembered
def alternatives(*hints: Any) -> Hints:
    """Take hints apart until only alternatives are left."""
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


@_remembered
def candidates(hints: Hints, name: str) -> tuple[type, ...]:
    """Find the classes of this name among the alternatives."""
    classes = dict.fromkeys(map(_class_of, hints))
    return tuple(each for each in classes if is_writable_class(each) and each.__qualname__ == name)


def accepts(hints: Hints, value: object) -> bool:
    """Whether a single value fits; a class that nothing written can be an instance of is not asked."""
    if Any in hints or _allows(hints, type(value)):
        return True
    literals = (each for hint in hints if _class_of(hint) is Literal for each in get_args(hint))
    return any(type(each) is type(value) and each == value for each in literals)


@_remembered
def _allows(hints: Hints, kind: type) -> bool:
    return any(_takes(outer, kind) or kind in _TOWER.get(outer, ()) for outer in map(_class_of, hints))


def _class_of(hint: Any) -> Any:
    found = get_origin(hint) or hint
    return found if isinstance(found, type) or found is Literal else Any


def _takes(kind: Any, written: type) -> bool:
    return _is_free(kind) or (kind is not Literal and not typing.is_typeddict(kind) and issubclass(written, kind))


@_remembered
def _is_free(kind: Any) -> bool:
    if kind is Any or kind is object or kind is UNKNOWN:
        return True
    if kind is Literal or typing.is_typeddict(kind) or is_writable_class(kind):
        return False
    try:
        return not any(issubclass(each, kind) for each in KINDS)
    except TypeError:  # a protocol that is not for run time
        return True


def of_items(hints: Hints, kind: type, size: int) -> Iterable[Hints] | None:
    """Say what each item of a list, tuple or set has to fit; None if none of the hints allows one."""
    each, rows = _items(hints, kind)
    fitting = [row for row in rows if len(row) == size]
    if not fitting:
        return None if each is None else repeat(each, size)
    return [alternatives(*(each or ()), *column) for column in zip(*fitting, strict=True)]


@_remembered
def _items(hints: Hints, kind: type) -> tuple[Hints | None, list[Hints]]:
    """What any item has to fit, if there may be any number of them; and the rows of those tuples that say how many."""
    loose, rows = list[Any](), list[Hints]()
    for hint in hints:
        outer, inner = _class_of(hint), get_args(hint)
        if not _takes(outer, kind):
            continue
        if outer is tuple and inner[-1:] != (...,) and (inner or isinstance(hint, GenericAlias)):
            rows.append(inner)
        else:
            loose.append(_inner(hint)[0])
    return alternatives(*loose) if loose else None, rows


def _inner(hint: Any) -> Sequence[Any]:
    """Take the arguments of a hint that is about a container; what it does not say is free, or as unknown as it is."""
    if hint is UNKNOWN:
        return (UNKNOWN, UNKNOWN)
    return (Any, Any) if _is_free(_class_of(hint)) else (*get_args(hint), Any, Any)


def of_mapping(hints: Hints, keys: AbstractSet[str] | None) -> tuple[Hints, Callable[[Any], Hints]] | None:
    """Say what keys have to fit, and each value by its key (`keys`, if all are text); None if no hint allows it."""
    entries, typed = _entries(hints)
    fitting = [] if keys is None else [values for needed, values in typed if needed <= keys <= values.keys()]
    if not fitting:
        return None if entries is None else (entries[0], lambda _: entries[1])
    key, value = entries or ((), ())
    return (*key, str), lambda name: alternatives(*value, *(values[name] for values in fitting))


@_remembered
def _entries(hints: Hints) -> tuple[tuple[Hints, Hints] | None, list[tuple[AbstractSet[str], Mapping[str, Any]]]]:
    """What keys and values have to fit, if there may be any; and of those that say, the keys needed, and all."""
    outer = list(map(_class_of, hints))
    typed = [(each.__required_keys__, hints_of(each)) for each in outer if typing.is_typeddict(each)]
    loose = [_inner(hint) for hint, kind in zip(hints, outer, strict=True) if _takes(kind, dict)]
    entries = alternatives(*(key for key, *_ in loose)), alternatives(*(value for _, value, *_ in loose))
    return entries if loose else None, typed

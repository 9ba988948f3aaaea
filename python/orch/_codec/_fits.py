"""Whether a value is what an annotation says, as it stands: nothing is converted, and a bool is no number."""

import typing
from collections.abc import Collection, Mapping
from contextlib import suppress
from enum import Enum
from inspect import formatannotation
from itertools import repeat
from typing import Any, Literal, NamedTuple, get_args, get_origin

from orch._codec._classes import hints_of
from orch._codec._hints import alternatives

__all__ = ("Misfit", "misfit", "spelled")

_DEPTH = 100  # containers within each other that are looked into: a list may contain itself
_MANY = 20  # choices, which are not listed any more
_NUMBERS: dict[Any, tuple[type, ...]] = {int: (int,), float: (float, int), complex: (complex, float, int)}


class Misfit(NamedTuple):
    """Where a value is not what it should be: the way to it from the whole, which is `""`."""

    where: str
    expected: str
    found: object
    by_value: bool  # whether its class would do


def misfit(hint: Any, value: object, where: str = "", depth: int = _DEPTH) -> Misfit | None:
    """Return the first part of a value that does not fit; None if all of it does, as far as that can be said."""
    hints = alternatives(hint)
    found = [_misfit(each, value, where, depth) for each in hints]
    if not hints or None in found:
        return None
    deeper = [each for each in found if each is not None and each.where != where]
    if len(deeper) == 1:
        return deeper[0]  # nothing else would be of that class
    return Misfit(where, spelled(hint), value, any(each is not None and each.by_value for each in found))


def spelled(hint: Any) -> str:
    """Return an annotation as it is written; of the choices there are, each."""
    return " or ".join(dict.fromkeys(map(_spelled, alternatives(hint))))


def _spelled(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if typing.is_typeddict(hint):
        return f"{hint.__qualname__} with the keys {', '.join(map(repr, hints_of(hint)))}"
    if isinstance(hint, type) and issubclass(hint, Enum) and len(hint) <= _MANY:
        return " or ".join(f"{hint.__qualname__}.{name}" for name in hint.__members__)
    return "None" if hint is type(None) else formatannotation(hint)


def _misfit(hint: Any, value: Any, where: str, depth: int) -> Misfit | None:
    kind = get_origin(hint) or hint
    if kind is Literal:
        alike = [each for each in get_args(hint) if type(each) is type(value)]
        return None if value in alike else Misfit(where, _spelled(hint), value, by_value=bool(alike))
    if typing.is_typeddict(kind):
        return _misfit_of_typed(kind, value, where, depth)
    if not isinstance(kind, type) or kind is object:
        return None
    if not _is_instance(value, kind):
        return Misfit(where, _spelled(hint), value, by_value=False)
    inside = _inside(kind, get_args(hint), value, where) if depth else ()
    return Misfit(where, _spelled(hint), value, by_value=True) if inside is None else _first_of(inside, depth)


def _first_of(inside: Collection[tuple[Any, Any, str]], depth: int) -> Misfit | None:
    return next((wrong for hint, value, where in inside if (wrong := misfit(hint, value, where, depth - 1))), None)


def _misfit_of_typed(kind: Any, value: Any, where: str, depth: int) -> Misfit | None:
    hints = hints_of(kind)
    if not isinstance(value, dict) or not kind.__required_keys__ <= value.keys() <= hints.keys():
        return Misfit(where, _spelled(kind), value, by_value=isinstance(value, dict))
    return _first_of([(hints[key], each, f"{where}[{key!r}]") for key, each in value.items()] if depth else (), depth)


def _is_instance(value: object, kind: type) -> bool:
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    with suppress(Exception):  # a protocol that is not for run time, or a class that refuses to be asked
        return isinstance(value, kind)
    return True


def _inside(kind: type, args: tuple[Any, ...], value: Any, where: str) -> Collection[tuple[Any, Any, str]] | None:
    """Return what is in a container, each with what it has to fit and the way to it; None: too much or too little."""
    if not args or not isinstance(value, Collection) or isinstance(value, str | bytes | bytearray):
        return ()
    if isinstance(value, Mapping):
        if not issubclass(kind, Mapping) or len(args) != 2:  # noqa: PLR2004 (of keys, of values)
            return ()
        keys = [(args[0], key, f"{where}[{key!r:.50}]") for key in value]
        return [*keys, *((args[1], value[key], f"{where}[{key!r:.50}]") for key in value)]
    hints = _of_items(kind, args, len(value))
    if hints is None:
        return None
    return [(hint, each, f"{where}[{i}]") for i, (hint, each) in enumerate(zip(hints, value, strict=False))]


def _of_items(kind: type, args: tuple[Any, ...], size: int) -> Collection[Any] | None:
    """Return what each item has to fit; None if a tuple has to have another size."""
    if kind is not tuple:
        return list(repeat(args[0], size)) if len(args) == 1 else ()
    if args[-1:] == (...,):
        return list(repeat(args[0], size))
    return args if len(args) == size else None

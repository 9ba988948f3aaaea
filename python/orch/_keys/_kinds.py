"""From values of all other types to bytes: what the standard library has, instances of classes, arrays.

Types of modules that need not be loaded are known by name. What is not known is refused: two values that differ in what
nobody can see from here must not have one key.
"""

from collections.abc import Callable
from enum import Enum
from functools import lru_cache, partial
from types import BuiltinFunctionType, ClassMethodDescriptorType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

from orch._keys._encode import PUT, Out, Put, Unhashable, put, put_bytes, put_each, put_named, put_text

__all__ = ("class_name",)

_MISSING = object()
_CURE = "give its class a __cache_key__, or the task cache=False"
_NATIVE = MethodDescriptorType, WrapperDescriptorType, ClassMethodDescriptorType  # what only types written in C define


def class_name(kind: type) -> str:
    """Name a class: two with one name are one to keys."""
    return f"{kind.__module__}:{kind.__qualname__}"


def public(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is private."""
    return {name: value for name, value in fields.items() if not name.startswith("_")}


def _with_key(otherwise: Put) -> Put:
    """Write what an object says is its key, else it as others of its class."""

    def put_it(out: Out, value: Any, depth: int) -> None:
        key = getattr(value, "__cache_key__", _MISSING)
        if key is _MISSING:
            otherwise(out, value, depth)
        else:
            put_named(out, b"k", class_name(type(value)), {"": key() if callable(key) else key}, depth)

    return put_it


@lru_cache(1024)
def _find(kind: type) -> Put:
    """Choose how instances of a type are written."""
    if issubclass(kind, type):
        return lambda out, value, _: put_text(out, class_name(value), b"t")
    return _with_key(_of_library(kind) or _of_class(kind))


def _of_library(kind: type) -> Put | None:
    """Choose for types of the standard library, and arrays."""
    name = class_name(kind)
    if issubclass(kind, Enum):
        return lambda out, value, depth: put_named(out, b"e", name, {str(value.name): value.value}, depth)
    if name in _SIMPLE:
        return partial(_put_parts, name, _SIMPLE[name])
    if hasattr(kind, "__fspath__") and kind.__module__.partition(".")[0] == "pathlib":
        return _as_text(lambda value: f"{class_name(type(value))}:{value}", b"p")
    if name.partition(".")[0].partition(":")[0] == "numpy" and _is_array(kind):
        return _put_array
    return None


def _as_text(text_of: Callable[[Any], str], mark: bytes) -> Put:
    return lambda out, value, _: put_text(out, text_of(value), mark)


def _put_parts(name: str, parts: Callable[[Any], tuple[Any, ...]], out: Out, value: Any, depth: int) -> None:
    put_text(out, name, b"o")
    put_each(out, parts(value), depth)


def _zone(value: Any) -> Any:
    zone = value.tzinfo
    return zone if zone is None else (class_name(type(zone)), getattr(zone, "key", None), str(zone), value.utcoffset())


_SIMPLE: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "datetime:datetime": lambda value: (value.replace(tzinfo=None).isoformat(), value.fold, _zone(value)),
    "datetime:time": lambda value: (value.replace(tzinfo=None).isoformat(), value.fold, _zone(value)),
    "datetime:date": lambda value: (value.isoformat(),),
    "datetime:timedelta": lambda value: (value.days, value.seconds, value.microseconds),
    "datetime:timezone": lambda value: (value.utcoffset(None), value.tzname(None)),
    "zoneinfo:ZoneInfo": lambda value: (value.key,),
    "decimal:Decimal": lambda value: tuple(value.as_tuple()),
    "fractions:Fraction": lambda value: (value.numerator, value.denominator),
    "uuid:UUID": lambda value: (value.int,),
    "re:Pattern": lambda value: (value.pattern, value.flags),
    "collections:OrderedDict": lambda value: tuple(value.items()),  # its order counts when two are compared
    "collections:defaultdict": lambda value: (dict(value), value.default_factory),
    "collections:Counter": lambda value: (dict(value),),
    "collections:deque": lambda value: (list(value), value.maxlen),
    "types:SimpleNamespace": lambda value: (vars(value),),
    "builtins:mappingproxy": lambda value: (dict(value),),
}


def _is_array(kind: type) -> bool:
    bases = [each.__qualname__ for each in kind.__mro__]
    return bases[0] == "ndarray" or "generic" in bases  # a subclass may have more than its numbers: masks, say


def _put_array(out: Out, value: Any, depth: int) -> None:
    kind = value.dtype
    put_text(out, class_name(type(value)), b"o")
    put(out, (kind.str, repr(kind), list(map(int, value.shape))), depth)
    if kind.hasobject:
        put(out, value.tolist(), depth)
    else:
        put_bytes(out, value.tobytes())


# -- classes of users --------------------------------------------------------------------------------------------------


def _of_class(kind: Any) -> Put:
    """Choose for other classes: declared fields, what they inherit from, or all there is of a plain object."""
    name, fields = class_name(kind), _declared(kind)
    if fields is not None:
        return partial(_put_fields, name, [each for each in fields if not each.startswith("_")])
    base = next((each for each in kind.__mro__ if each in _BASES), None)
    if base is not None:
        return partial(_put_derived, name, base)
    return partial(_put_plain, name) if _is_plain(kind) else _refuse


def _declared(kind: Any) -> list[str] | None:
    """Return the fields that a class declares: attrs, a dataclass, a model, a named tuple; None if it is none."""
    if hasattr(kind, "__attrs_attrs__"):
        return [each.name for each in kind.__attrs_attrs__]
    if hasattr(kind, "__pydantic_fields__"):
        return [*kind.__pydantic_fields__, "model_extra"]
    names = getattr(kind, "_fields" if issubclass(kind, tuple) else "__struct_fields__", None)
    return list(getattr(kind, "__dataclass_fields__", ())) or (None if names is None else list(names))


def _put_fields(name: str, fields: list[str], out: Out, value: Any, depth: int) -> None:
    found = {each: got for each in fields if (got := getattr(value, each, _MISSING)) is not _MISSING}
    put_named(out, b"o", name, found, depth)


_BASES = (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)


def _put_derived(name: str, base: type, out: Out, value: Any, depth: int) -> None:
    put_named(out, b"o", name, _state(value), depth)
    PUT[base](out, value, depth)


def _put_plain(name: str, out: Out, value: Any, depth: int) -> None:
    fields = _state(value)
    if not fields:
        _refuse(out, value, depth)
    put_named(out, b"o", name, fields, depth)


def _state(value: Any) -> dict[str, Any]:
    """Return what an object that declares no fields is made of; nobody has said that what is private does not count."""
    slots = [each for kind in type(value).__mro__ for each in _slots(kind)]
    found = {each: getattr(value, each) for each in slots if hasattr(value, each)} | getattr(value, "__dict__", {})
    hidden = [each for each in found if each.startswith("_") and each not in {"__dict__", "__weakref__"}]
    if hidden:
        what = f"{class_name(type(value))} keeps something in the private {hidden[0]!r}"
        raise Unhashable(f"{what}: make it a dataclass, of which only public fields count, or {_CURE}")
    return public(found)


def _slots(kind: type) -> list[str]:
    slots = vars(kind).get("__slots__", ())
    private = kind.__name__.lstrip("_")
    names = [slots] if isinstance(slots, str) else list(slots)
    return [f"_{private}{each}" if each.startswith("__") and not each.endswith("__") else each for each in names]


def _is_plain(kind: type) -> bool:
    """Say whether all that instances are is in their attributes: no metaclass, and nothing that is written in C."""
    return type(kind) is type and not any(map(_is_native, kind.__mro__[:-1]))


def _is_native(kind: type) -> bool:
    known = vars(kind)
    return isinstance(known.get("__new__"), BuiltinFunctionType) or any(isinstance(v, _NATIVE) for v in known.values())


def _refuse(_: Out, value: Any, __: int) -> None:
    raise Unhashable(f"{class_name(type(value))} cannot be part of a key: {_CURE}")


PUT.find = _find

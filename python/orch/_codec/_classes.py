"""Classes whose instances can be written: dataclasses, attrs classes, named tuples, pydantic models."""

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from functools import cached_property, lru_cache, partial
from typing import Any, TypeGuard, get_type_hints

import attrs

from orch._codec._pydantic import shape_of_model
from orch._codec._shape import Field, Shape
from orch._codec._values import KINDS

_MORE_THAN_FIELDS = (*KINDS, BaseException)  # what else they are would be lost


def is_writable_class(value: Any) -> TypeGuard[type]:
    """Whether `value` is a class whose instances are written under its name."""
    return isinstance(value, type) and (issubclass(value, Enum) or shape_of(value) is not None)


def shape_of(cls: Any) -> Shape | None:
    """Say what instances of `cls` are made of; None if they cannot be written."""
    return _shape_of(cls)


@lru_cache(1024)
def _shape_of(cls: Any) -> Shape | None:
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _shape_of_tuple(cls)
    if issubclass(cls, _MORE_THAN_FIELDS) or issubclass(cls, Enum):
        return None
    hints = hints_of(cls)
    if attrs.has(cls):
        fields = {
            each.name: Field(_hint(hints, each), each.alias if each.init else None, each.default is attrs.NOTHING)
            for each in attrs.fields(cls)
        }
    elif dataclasses.is_dataclass(cls):
        fields = {
            each.name: Field(_hint(hints, each), each.name if each.init else None, _is_required(each))
            for each in dataclasses.fields(cls)
        }
    else:
        return shape_of_model(cls)
    return Shape(fields, partial(_take, fields), partial(_make, cls, fields))


@lru_cache(1024)
def hints_of(cls: Any) -> Mapping[str, Any]:
    """Read the annotations of a class, without those that name what is not there at run time."""
    try:
        return get_type_hints(cls)
    except Exception:  # noqa: BLE001 (whatever evaluating what users wrote leads to)
        return _one_by_one(cls)


def _one_by_one(cls: Any) -> Mapping[str, Any]:
    found, names = dict[str, Any](), {cls.__name__: cls}  # a class within a function is in no module
    for base in reversed(cls.__mro__):
        for name, hint in vars(base).get("__annotations__", {}).items():
            alone = type("", (), {"__annotations__": {name: hint}, "__module__": base.__module__})
            with suppress(Exception):
                found |= get_type_hints(alone, localns=names)
    return found


def _hint(hints: Mapping[str, Any], field: Any) -> Any:
    found = hints.get(field.name, field.type)
    return Any if found is None or isinstance(found, str) else found


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _shape_of_tuple(cls: Any) -> Shape:
    hints, defaults = hints_of(cls), cls._field_defaults
    fields = {name: Field(hints.get(name, Any), name, name not in defaults) for name in cls._fields}
    return Shape(fields, lambda value: dict(zip(fields, value, strict=True)), lambda values: cls(**values))


def _take(fields: Mapping[str, Field], value: Any) -> dict[str, Any]:
    more = getattr(value, "__dict__", {}).keys() - fields.keys()
    lost = [name for name in more if not isinstance(getattr(type(value), name, None), cached_property)]
    if lost:  # what is cached is worked out again
        raise ValueError(f"its attribute {min(lost)!r} is no field, and would be lost")
    return {name: getattr(value, name) for name in fields}


def _make(cls: Any, fields: Mapping[str, Field], values: dict[str, Any]) -> Any:
    given = {name: argument for name, field in fields.items() if (argument := field.argument) and name in values}
    made = cls(**{argument: values[name] for name, argument in given.items()})
    later = {name: value for name, value in values.items() if name not in given}
    for name, value in later.items():
        object.__setattr__(made, name, value)  # frozen or not
    if later and attrs.has(cls):
        attrs.validate(made)
    return made

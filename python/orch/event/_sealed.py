"""
Immutable records that are cheap to make.

`attrs.frozen` writes each field through `object.__setattr__`: 1.1 µs for the thirteen fields of a `TaskEvent`, where a
run makes two events a task and may spend 2 µs on them in all. A sealed class is the same class in every respect but
one: while `__init__` runs, the instance belongs to a hidden twin that allows plain assignment (0.4 µs). Nobody else can
hold it by then.
"""

from __future__ import annotations

from typing import Any, TypeVar

import attrs

T = TypeVar("T")

_set_class = object.__dict__["__class__"].__set__


def sealed(cls: type[T]) -> type[T]:
    """Make instances of `cls`, a final class made by `attrs.frozen`, cheap to construct."""

    def unseal(self: Any) -> None:
        _set_class(self, twin)

    def seal(self: Any) -> None:
        self.__class__ = cls

    # Both of setattr and delattr, or each assignment goes through a slow slot.
    open_ = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    hooks = {"__attrs_pre_init__": unseal, "__attrs_post_init__": seal}
    plain = type(cls.__name__, (cls,), open_ | hooks)
    twin = attrs.define(plain, eq=False, repr=False, weakref_slot=False, on_setattr=attrs.setters.NO_OP)
    # The first hook is looked up on `cls`, before the instance is a twin.
    type.__setattr__(cls, "__attrs_pre_init__", unseal)
    type.__setattr__(cls, "__init__", twin.__dict__["__init__"])
    return cls

"""What the codec has to know of a class: its fields, and how instances are taken apart and made."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Field(NamedTuple):
    """One field: how it is annotated, by which name the constructor takes it (None: not at all), whether it must."""

    hint: Any
    argument: str | None
    required: bool


class Shape(NamedTuple):
    """The fields of a class by name. `more`: an instance may have others."""

    fields: Mapping[str, Field]
    take: Callable[[Any], dict[str, Any]]
    make: Callable[[dict[str, Any]], Any]
    more: bool = False

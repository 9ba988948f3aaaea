"""From values to what JSON can hold."""

import json
from collections.abc import Iterable
from enum import Enum, Flag
from typing import Any

from orch._codec._classes import shape_of
from orch._codec._limits import DEPTH, At, fail, said
from orch._codec._values import LISTS, MAPPING, NAMES, SINGLES, is_plain, is_text
from orch.errors import inert


class Writer:
    """Writes one part of a document, and remembers the classes it has met, by name."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.classes: dict[str, set[type]] = {}

    def write(self, value: Any, at: At = None, depth: int = DEPTH) -> Any:
        """Write `value`, which stands `at` this place; CodecError if it would not come back as it is."""
        kind: type = type(value)
        if is_plain(value):
            return value
        if kind in NAMES:
            return self._single(value, NAMES[kind], at)
        if isinstance(value, Enum):
            return self._named(kind, value.value if isinstance(value, Flag) else value.name)
        if not depth:
            raise fail(self.part, at, f"more than {DEPTH} values within each other, or one within itself")
        return self._several(value, kind, at, depth - 1)

    def _several(self, value: Any, kind: type, at: At, depth: int) -> Any:
        if kind is list:
            return [self.write(each, (at, place), depth) for place, each in enumerate(value)]
        if kind is dict:
            return self._mapping(value, at, depth)
        if kind in LISTS:
            return {LISTS[kind]: self._items(value, at, depth)}
        return self._named(kind, self._fields(value, kind, at, depth))

    def _single(self, value: Any, name: str, at: At) -> Any:
        try:
            text = SINGLES[name].write(value)
        except ValueError as error:
            raise fail(self.part, at, str(error)) from error
        return {name: text if is_text(text) else self.write(text, at)}

    def _items(self, values: Iterable[Any], at: At, depth: int) -> list[Any]:
        if isinstance(values, tuple):
            return [self.write(each, (at, place), depth) for place, each in enumerate(values)]
        return sorted((self.write(each, (at, ...), depth) for each in values), key=json.dumps)  # their order is chance

    def _mapping(self, values: dict[Any, Any], at: At, depth: int) -> Any:
        if all(type(key) is str and not key.startswith("!") and is_text(key) for key in values):
            return {key: self.write(value, (at, key), depth) for key, value in values.items()}
        flat = list[Any]()
        for place, (key, value) in enumerate(values.items()):
            flat += (self.write(key, (at, (place,)), depth), self.write(value, (at, key), depth))
        return {MAPPING: flat}

    def _fields(self, value: Any, kind: type, at: At, depth: int) -> dict[str, Any]:
        shape = shape_of(kind)
        if shape is None:
            cure = "make it a dataclass, an attrs class or a pydantic model, or turn it into plain data"
            raise fail(self.part, at, f"{inert(kind.__qualname__)} cannot be written: {cure}")
        try:
            fields = shape.take(value)
        except Exception as error:  # fields may be properties, and these the user's
            raise fail(self.part, at, f"{inert(kind.__qualname__)} cannot be written: {inert(said(error))}") from error
        return {name: self.write(each, (at, name), depth) for name, each in fields.items()}

    def _named(self, kind: type, inner: Any) -> dict[str, Any]:
        self.classes.setdefault(kind.__qualname__, set()).add(kind)
        return {f"!{kind.__qualname__}": inner}

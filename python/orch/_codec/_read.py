"""From what JSON can hold to values: exactly those that were written, if they are what is expected."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum, Flag
from itertools import repeat
from typing import Any

from orch._codec._classes import shape_of
from orch._codec._hints import UNKNOWN, Hints, accepts, alternatives, candidates, describe, of_items, of_mapping
from orch._codec._limits import DEPTH, EQUAL, At, fail, said
from orch._codec._shape import Shape
from orch._codec._values import LISTS, MAPPING, SINGLES
from orch.errors import close_matches, did_you_mean, inert

_LISTS = {name: kind for kind, name in LISTS.items()}


class Broken(str):
    """Stands in parsed JSON for what is wrong with it there."""

    __slots__ = ()


class Reader:
    """Reads one part of a document; `classes` are for places of which the caller has not said yet what they hold."""

    def __init__(self, part: str, classes: Mapping[str, Iterable[type]] | None = None) -> None:
        self.part = part
        self._classes = classes or {}

    def read(self, node: Any, hints: Hints, at: At = None, depth: int = DEPTH) -> Any:
        """Read the value that `node` stands for; CodecError unless it fits one of the hints."""
        kind = type(node)
        if kind is dict:
            name = next(iter(node), "")
            if len(node) == 1 and name.startswith("!"):
                return self._marked(name, node[name], hints, at, depth)
            return self._object(node, hints, at, depth)
        if kind is list:
            return self._items(list, node, hints, at, depth)
        if kind is Broken or (kind is float and math.isinf(node)):
            raise fail(self.part, at, str(node) if kind is Broken else "a number that no float can hold")
        return self._fitting(node, hints, at)

    def _fitting(self, value: Any, hints: Hints, at: At) -> Any:
        if not accepts(hints, value):
            raise self._unexpected(type(value).__name__, hints, at)
        return value

    def _unexpected(self, found: str, hints: Hints, at: At) -> Exception:
        return fail(self.part, at, f"expected {describe(hints)}, found {found}")

    def _marked(self, name: str, inner: Any, hints: Hints, at: At, depth: int) -> Any:
        if name in SINGLES:
            return self._fitting(self._single(name, inner, at), hints, at)
        if name in _LISTS:
            return self._items(_LISTS[name], inner, hints, at, depth)
        if name == MAPPING:
            return self._pairs(inner, hints, at, depth)
        return self._instance(name[1:], inner, hints, at, depth)

    def _single(self, name: str, inner: Any, at: At) -> Any:
        text = self.read(inner, (str,), at)
        try:
            return SINGLES[name].read(text)
        except Exception as error:
            raise fail(self.part, at, f"expected {name[2:]}, found {text!r:.60}") from error

    def _items(self, kind: type, inner: Any, hints: Hints, at: At, depth: int) -> Any:
        nodes = self._list(inner, at, depth)
        expected = of_items(hints, kind, len(nodes))
        if expected is None:
            raise self._unexpected(f"{kind.__name__} of {len(nodes)}", hints, at)
        places: Iterable[Any] = range(len(nodes)) if kind in (list, tuple) else repeat(...)
        values = [
            self.read(node, each, (at, place), depth - 1)
            for node, each, place in zip(nodes, expected, places, strict=False)
        ]
        return values if kind is list else tuple(values) if kind is tuple else kind(self._distinct(values, at))

    def _list(self, inner: Any, at: At, depth: int) -> list[Any]:
        if type(inner) is not list:
            raise fail(self.part, at, f"expected a list, found {type(inner).__name__}")
        self._check_depth(at, depth)
        return inner

    def _check_depth(self, at: At, depth: int) -> None:
        if not depth:
            raise fail(self.part, at, f"more than {DEPTH} values within each other")

    def _distinct(self, values: list[Any], at: At) -> list[Any]:
        """Give what may become a set or the keys of a mapping."""
        try:
            crowd = max(Counter(map(hash, values)).values(), default=0)
            twice = crowd <= EQUAL and len(set(values)) < len(values)
        except Exception as error:  # the hash may be the user's
            raise fail(self.part, at, f"not a key: {said(error)}") from error
        if crowd > EQUAL or twice:
            problem = "a key stands there twice" if twice else f"{crowd} keys with one hash, expected at most {EQUAL}"
            raise fail(self.part, at, problem)
        return values

    def _object(self, nodes: dict[str, Any], hints: Hints, at: At, depth: int) -> dict[str, Any]:
        self._check_depth(at, depth)
        expected = of_mapping(hints, nodes.keys())
        if expected is None or not all(accepts(expected[0], key) for key in nodes):
            raise self._unexpected(f"a mapping of {len(nodes)}", hints, at)
        return {key: self.read(node, expected[1](key), (at, key), depth - 1) for key, node in nodes.items()}

    def _pairs(self, inner: Any, hints: Hints, at: At, depth: int) -> dict[Any, Any]:
        flat = self._list(inner, at, depth)
        if len(flat) % 2:
            raise fail(self.part, at, "a key without a value")
        texts = set(flat[::2]) if all(type(node) is str for node in flat[::2]) else None
        expected = of_mapping(hints, texts)
        if expected is None:
            raise self._unexpected(f"a mapping of {len(flat) // 2}", hints, at)
        keys = [self.read(node, expected[0], (at, (place,)), depth - 1) for place, node in enumerate(flat[::2])]
        nodes = zip(self._distinct(keys, at), flat[1::2], strict=True)
        return {key: self.read(node, expected[1](key), (at, key), depth - 1) for key, node in nodes}

    def _instance(self, name: str, inner: Any, hints: Hints, at: At, depth: int) -> Any:
        found = candidates(hints, name) or (tuple(self._classes.get(name, ())) if UNKNOWN in hints else ())
        if len(found) > 1:
            raise fail(self.part, at, f"several classes are named {name!r}: rename one of them")
        if not found:
            cure = ": name that class in data_type=, or annotate the field with it" if self.part == "data" else ""
            raise fail(self.part, at, f"expected {describe(hints)}, found the class {name!r:.80}{cure}")
        if issubclass(found[0], Enum):
            return self._member(found[0], inner, at)
        shape = shape_of(found[0])
        if shape is None or type(inner) is not dict:
            raise fail(self.part, at, f"expected the fields of {name}, found {type(inner).__name__}")
        self._check_depth(at, depth)
        return self._made(name, shape, inner, at, depth)

    def _member(self, cls: Any, inner: Any, at: At) -> Any:
        try:
            return cls(self.read(inner, (int,), at)) if issubclass(cls, Flag) else cls.__members__[inner]
        except (KeyError, TypeError, ValueError) as error:
            raise fail(self.part, at, f"{cls.__qualname__} has no {type(inner).__name__} {inner!r:.80}") from error

    def _made(self, name: str, shape: Shape, nodes: dict[str, Any], at: At, depth: int) -> Any:
        self._check_fields(name, shape, nodes, at)
        values = {}
        for key, node in nodes.items():
            hint = shape.fields[key].hint if key in shape.fields else Any
            values[key] = self.read(node, alternatives(hint), (at, key), depth - 1)
        try:
            return shape.make(values)
        except Exception as error:  # the constructor is the user's
            raise fail(self.part, at, f"{name} cannot be made of this: {inert(said(error))}") from error

    def _check_fields(self, name: str, shape: Shape, nodes: dict[str, Any], at: At) -> None:
        for key in nodes:
            if key not in shape.fields and not shape.more:
                hint = did_you_mean(close_matches(key, shape.fields), "; {}")
                raise fail(self.part, (at, key), f"{name} has no such field{hint}")
        for key, field in shape.fields.items():
            if field.required and field.argument and key not in nodes:
                raise fail(self.part, (at, key), f"{name} needs this field, and it is not there")

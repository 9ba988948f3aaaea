"""Whether a value is what an annotation says, as it stands."""

import enum
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, NotRequired, Protocol, TypedDict, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from orch._codec._fits import misfit, spelled


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Many(enum.IntEnum):
    A = 1


@dataclass
class Order:
    total: int


class Typed(TypedDict):
    a: int
    b: NotRequired[list[str]]


class Closes(Protocol):
    def close(self) -> None: ...


class Odd(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("do not ask")


class Refuses(metaclass=Odd): ...


Id = NewType("Id", int)
T = TypeVar("T", int, str)
Json = TypeAliasType("Json", dict[str, "Json"] | list["Json"] | int)  # type: ignore[misc]
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)

FITS: list[tuple[Any, Any]] = [
    (Any, object()),
    (object, 1),
    (int, 1),
    (float, 1),
    (float, 1.5),
    (complex, 1),
    (bool, True),
    (str, "a"),
    (None, None),
    (int | None, None),
    (Color, Color.RED),
    (Order, Order(1)),
    (Literal["a", 1], 1),
    (list[int], []),
    (list[int], [1, 2]),
    (list, ["anything", 1]),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (set[int], {1}),
    (frozenset[int], frozenset({1})),
    (dict[str, list[int]], {"a": [1]}),
    (Mapping[str, int], {"a": 1}),
    (Sequence[int], (1, 2)),
    (Sequence[str], "abc"),
    (Iterable[int], {"a": "of keys nobody asks"}),
    (Iterable[int], [1]),
    (Iterator[int], iter(["nobody looks"])),
    (Callable[[int], str], len),
    (type[int], int),
    (Annotated[int, "positive"], 1),
    (Id, 1),
    (T, "a"),
    (Typed, {"a": 1}),
    (Typed, {"a": 1, "b": ["x"]}),
    (Closes, 5),  # such a protocol is not for run time
    (Refuses, 5),
    (list["int"], ["a text is no class"]),
    (Path, Path()),
    (Decimal, Decimal(1)),
    (list[Any], ENDLESS),
    (list[list[Any]], ENDLESS),
]


@pytest.mark.parametrize(("hint", "value"), FITS, ids=repr)
def test_what_fits(hint: Any, value: object) -> None:
    assert misfit(hint, value) is None


MISFITS: list[tuple[Any, Any, str, str, bool]] = [
    (int, "1", "", "int", False),
    (int, 1.0, "", "int", False),
    (int, True, "", "int", False),
    (float, True, "", "float", False),
    (float, "1", "", "float", False),
    (bool, 1, "", "bool", False),
    (None, 0, "", "None", False),
    (int | None, "a", "", "int or None", False),
    (Color, 1, "", "Color.RED or Color.BLUE", False),
    (Color, "RED", "", "Color.RED or Color.BLUE", False),
    (Literal["a", "b"], "c", "", "'a' or 'b'", True),
    (Literal["a", "b"], 1, "", "'a' or 'b'", False),
    (Literal[1], True, "", "1", False),
    (list[int], (1,), "", "list[int]", False),
    (list[int], [1, "x"], "[1]", "int", False),
    (list[list[int]], [[1], [2, "x"]], "[1][1]", "int", False),
    (tuple[int, str], (1,), "", "tuple[int, str]", True),
    (tuple[int, str], (1, 2), "[1]", "str", False),
    (tuple[int, ...], (1, "x"), "[1]", "int", False),
    (dict[str, int], {"a": "x"}, "['a']", "int", False),
    (dict[str, int], {1: 1}, "[1]", "str", False),
    (dict[str, list[int]] | int, {"a": [1, "x"]}, "['a'][1]", "int", False),
    (Typed, {"b": []}, "", "Typed with the keys 'a', 'b'", True),
    (Typed, {"a": 1, "c": 2}, "", "Typed with the keys 'a', 'b'", True),
    (Typed, {"a": "x"}, "['a']", "int", False),
    (Typed, 5, "", "Typed with the keys 'a', 'b'", False),
    (Order, {"total": 1}, "", f"{__name__}.Order", False),
    (Json, "x", "", "", False),
]


@pytest.mark.parametrize(("hint", "value", "where", "expected", "by_value"), MISFITS)
def test_what_does_not_fit_and_where(hint: Any, value: object, where: str, expected: str, by_value: bool) -> None:
    wrong = misfit(hint, value)
    assert wrong is not None
    if hint is not Json:
        assert (wrong.where, wrong.expected, wrong.by_value) == (where, expected, by_value)


def test_how_annotations_are_written() -> None:
    assert spelled(int | None) == "int or None"
    assert spelled(typing.Optional[Literal["a"]]) == "'a' or None"  # noqa: UP045 (the other way to write it)
    assert spelled(list[int] | Color) == "list[int] or Color.RED or Color.BLUE"
    assert spelled(enum.IntEnum("Big", [f"N{i}" for i in range(30)])).endswith("Big")  # too many to list


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


def listed(inner: Any) -> Any:
    return list[inner]


hints: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([int, float, str, bool, None, Any, int | str, dict[str, int], tuple[int, ...], set[str]]),
    lambda inner: inner.map(listed),
    max_leaves=4,
)


@given(hints, plain)
def test_any_value_is_judged_and_none_is_changed(hint: Any, value: Any) -> None:
    before = repr(value)
    wrong = misfit(hint, value)
    assert wrong is None or wrong.expected
    assert repr(value) == before


@given(plain)
def test_everything_is_of_its_own_class(value: Any) -> None:
    assert misfit(type(value), value) is None
    assert misfit(list[type(value)], [value]) is None  # type: ignore[misc]

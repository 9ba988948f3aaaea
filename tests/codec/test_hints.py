"""What annotations allow, seen from outside: which data is read with which `data_type`."""

import typing
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from decimal import Decimal
from numbers import Number
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, NewType, Protocol, TypeVar

import pytest
from typing_extensions import TypeAliasType

from orch import CodecError, Context
from tests.codec.samples import Color, Item, Model, Point, Settings

T = TypeVar("T")
Bound = TypeVar("Bound", bound=Item)
Choice = TypeVar("Choice", Item, Point)
Amount = NewType("Amount", int)
Items = TypeAliasType("Items", list[Item])
Json = TypeAliasType("Json", dict[str, "Json"] | list["Json"] | int)  # type: ignore[misc]
ITEM, POINT = Item("a", 1.5), Point(1, 2.0)


class Sized(Protocol):
    def __len__(self) -> int: ...


@typing.runtime_checkable
class Shown(Protocol):
    def bit_length(self) -> int: ...


class Foreign: ...


FITS: list[tuple[Any, Any]] = [
    *((Any, [1]), (object, {2}), (int, True), (float, 3), (complex, 1.5), (Number, Decimal(1)), (date, date.min)),
    *((Amount, 5), (T, 5), (Bound, ITEM), (Choice, POINT), (int | None, None), (int | str, "x"), (Foreign, "x")),
    *((Literal["a", 5], 5), (Literal["a"] | int, 7), (str | bytes, b""), (Annotated[Item, []], ITEM), (Final[int], 5)),
    *((list, [1]), (list[int], [1]), (Sequence[Item], [ITEM]), (Sequence[Item], (ITEM,)), (Iterable[Item], {ITEM})),
    *(
        (Collection[Item], {ITEM: 1}),
        (Sized, [1]),
        (Shown, 5),
        (Hashable, 1),
        (Callable[[int], int], [5]),
        (PathLike[str], Path("x")),
    ),
    *((tuple, (1, 2)), (tuple[int, ...], (1, 2)), (tuple[()], ()), (tuple[Item, int], (ITEM, 1))),
    *((tuple[int] | tuple[int, Item], (1, ITEM)), (list[Item] | list[Point], [ITEM, POINT]), (list["Item"], [1])),
    *((set[Item], {ITEM}), (AbstractSet[Item], frozenset({ITEM})), (frozenset, frozenset({1}))),
    *((dict[str, Item], {"a": ITEM}), (Mapping[Color, int], {Color.RED: 1}), (dict, {1: 2}), (dict[Point, Item], {})),
    *((dict[Point, Item], {POINT: ITEM}), (Settings | dict[str, int], {"a": 1}), (Settings, {"item": ITEM})),
    *((Items, [ITEM]), (Json, {"a": [1, {"b": 2}]}), (Item | None | Model, Model())),
    (typing.Optional[Item], ITEM),  # noqa: UP045 (the old ways)
    (typing.Union[Item, int], ITEM),  # noqa: UP007
    (typing.List[Item], [ITEM]),  # noqa: UP006
    (typing.List, [1]),  # noqa: UP006
    (typing.Tuple, (1, 2)),  # noqa: UP006
    (typing.Dict[str, Item], {"a": ITEM}),  # noqa: UP006
]
MISFITS: list[tuple[Any, Any]] = [
    *((int, 1.0), (int, "1"), (str, None), (float, "x"), (bool, 1), (NoneType, 0), (bytes, bytearray()), (Amount, "x")),
    *((Literal["a"], "b"), (Literal[1], True), (Literal["a"], ["a"]), (Number, "1"), (Shown, "x"), (Foreign, ITEM)),
    *((list[int], (1,)), (list[int], [1, "x"]), (tuple[int, ...], [1]), (tuple[int], (1, 2)), (tuple[()], (1,))),
    *((set[int], frozenset({1})), (set[int], {"x"}), (Sequence[int], {1}), (Mapping, [1]), (list[Point], [ITEM])),
    *((dict[str, int], {"a": "b"}), (dict[str, int], {1: 1}), (dict[int, int], {"a": 1}), (Settings, {"item": 1})),
    *((Settings, {}), (Settings, {1: 2}), (Settings, [1]), (Settings, 1), (Item, None), (Item, {"name": "a"})),
    *((Item, [1]), (T, ITEM), (object, ITEM), (list, [ITEM]), (Bound, POINT), (Sized, ITEM), (Json, "x")),
    *((Collection[int], {ITEM: 1}), (list["Item"], [ITEM]), (Color, "RED"), (Callable[[Item], Item], [ITEM])),
]


@pytest.mark.parametrize("hint, data", FITS, ids=range(len(FITS)))
def test_what_fits(hint: Any, data: Any) -> None:
    assert Context.from_json(Context(data).to_json(), hint).data == data


@pytest.mark.parametrize("hint, data", MISFITS, ids=range(len(MISFITS)))
def test_what_does_not(hint: Any, data: Any) -> None:
    with pytest.raises(CodecError) as caught:
        Context.from_json(Context(data).to_json(), hint)
    assert caught.value.part == "data"
    assert caught.value.problem.startswith("expected ")


def test_hints_without_a_hash() -> None:
    hint = list[Literal[[1], "a"]]  # type: ignore[valid-type]
    assert Context.from_json(Context(["a"]).to_json(), hint).data == ["a"]
    with pytest.raises(CodecError):
        Context.from_json(Context(["b"]).to_json(), hint)

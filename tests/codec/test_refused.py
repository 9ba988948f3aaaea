"""What would not come back as it is, is not written, and the error says where it stands."""

import array
import collections
import dataclasses
import datetime as dt
import enum
import inspect
import io
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import attrs
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch import CodecError, Context
from tests.codec.samples import Cart, Color, Item, Level, Model, Point


def refusal(data: Any) -> CodecError:
    with pytest.raises(CodecError) as caught:
        Context(data).to_json()
    assert isinstance(caught.value, ValueError)
    assert caught.value.part == "data"
    assert str(caught.value).isprintable()
    return caught.value


class Text(str):
    __slots__ = ()


class Zone(dt.tzinfo):
    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)

    dst = tzname = None  # type: ignore[assignment]


class Plain: ...


NOON = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001 (its zone is what the tests are about)
REFUSED: list[Any] = [
    *(object(), Plain(), Plain, int, print, len, lambda: 1, iter(()), io, 1j, range(3), slice(1), ...),
    *(memoryview(b"x"), array.array("i"), io.BytesIO(), ValueError("x"), NotImplemented, types.SimpleNamespace(a=1)),
    *(collections.OrderedDict(), collections.defaultdict(list), collections.Counter(), collections.deque()),
    *(collections.ChainMap(), types.MappingProxyType({}), {}.keys(), Text("x")),
    *(NOON.replace(tzinfo=Zone()), dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=1), "XYZ")), Zone()),
]


@pytest.mark.parametrize("value", REFUSED, ids=range(len(REFUSED)))
def test_other_kinds(value: Any) -> None:
    assert refusal(value).path == "$"
    assert refusal([1, {"a": value}]).path == "$[1].a"


def test_the_path_to_the_culprit() -> None:
    bad = object()
    assert refusal({"items": [1, 2, 3, {"price": bad}]}).path == "$.items[3].price"
    assert refusal({"odd key\n": bad}).path == r"$['odd key\n']"
    assert refusal({"a" * 500: bad}).path == f"$['{'a' * 60}'…]"
    assert refusal({5: bad, 1: 2}).path == "$[5]"
    assert refusal({Color.RED: bad}).path == "$[<Color>]"
    assert refusal({10**5000: bad}).path == "$[<int>]"
    assert refusal({1: 1, bad: 2}).path == "$.keys()[1]"
    assert refusal({bad}).path == "$[*]"
    assert refusal((1, (2, bad))).path == "$[1][1]"
    assert refusal(Cart([Item("a", bad)])).path == "$.items[0].price"  # type: ignore[arg-type]
    assert refusal(Model.model_construct(inner=[bad])).path == "$.inner[0]"
    assert str(refusal({"a": bad})) == (
        "data at $.a: object cannot be written: make it a dataclass, an attrs class or a pydantic model, "
        "or turn it into plain data"
    )


def test_metadata_has_a_path_too() -> None:
    for value in (object(), Color.RED, Item("a", 1.0)):
        with pytest.raises(CodecError) as caught:
            Context(metadata={"a": [value]}).to_json()
        assert (caught.value.part, caught.value.path) == ("metadata", "$.a[0]")
        assert "data_type" not in str(caught.value)


# -- too deep ----------------------------------------------------------------------------------------------------------

WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "keys": lambda inner: {"a": inner},
    "other keys": lambda inner: {1: inner},
}


def nested(wrap: Callable[[Any], Any], depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_the_limit_of_depth_is_the_same_on_both_sides(wrap: Callable[[Any], Any]) -> None:
    assert Context.from_json(Context(nested(wrap, 128)).to_json()).data == nested(wrap, 128)
    assert "128" in refusal(nested(wrap, 129)).problem


def test_instances_within_each_other() -> None:
    deep = nested(lambda inner: Cart(owner=inner), 127)  # each has a list besides
    assert Context.from_json(Context(deep).to_json(), Cart).data == deep
    assert "128" in refusal(Cart(owner=deep)).problem


def test_what_contains_itself() -> None:
    one: list[Any] = []
    one.append({"again": one})
    cart = Cart()
    cart.owner = cart
    for value in (one, cart):
        assert "128 values within each other, or one within itself" in refusal(value).problem


def test_a_full_stack() -> None:
    text = Context(nested(WRAPPERS["tuple"], 128)).to_json()

    def at(levels: int) -> list[str]:
        if levels:
            return at(levels - 1)
        found = []
        for attempt in (Context(nested(WRAPPERS["list"], 128)).to_json, lambda: Context.from_json(text)):
            with suppress(CodecError):
                attempt()
                found.append("done")
        return found

    room = sys.getrecursionlimit() - len(inspect.stack(0)) - 60
    outcomes = [at(levels) for levels in range(0, room, 20)]
    assert outcomes[0] == ["done", "done"]
    assert outcomes[-1] == []


# -- classes that do not keep what they are given ----------------------------------------------------------------------


@dataclasses.dataclass
class Doubling:
    a: int

    def __post_init__(self) -> None:
        self.a *= 2


@dataclasses.dataclass
class Needing:
    a: int
    other: dataclasses.InitVar[int]


def with_zero(values: list[int]) -> list[int]:
    return [*values, 0]


@attrs.define
class Rounding:
    a: list[int] = attrs.field(converter=with_zero)


class Tripling(pydantic.BaseModel):
    a: dict[str, int]

    @pydantic.field_validator("a")
    @classmethod
    def triple(cls, value: dict[str, int]) -> dict[str, int]:
        return {key: 3 * each for key, each in value.items()}


class Private(pydantic.BaseModel):
    a: int = 1
    _b: int = 2


@dataclasses.dataclass
class Bag(list[int]):
    a: int = 1


@dataclasses.dataclass
class Stop(Exception):  # noqa: N818
    a: int = 1


class Sub(Item):
    pass


class SubPoint(Point):
    pass


@dataclasses.dataclass
class Unset:
    a: int = dataclasses.field(init=False)


@attrs.define(slots=False)
class Broken:
    a: int = 1

    def __getattribute__(self, name: str) -> Any:
        if name == "a":
            raise RuntimeError("no\nway")
        return super().__getattribute__(name)


@dataclasses.dataclass
class Counting:
    made = 0
    a: int = 1

    def __post_init__(self) -> None:
        Counting.made += 1
        if Counting.made > 1:
            raise RuntimeError("once is enough")


@dataclasses.dataclass
class Stray:
    a: int = 1


@attrs.define
class Valid:
    a: int = attrs.field(default=1, init=False, validator=attrs.validators.le(5))


def stray() -> Stray:
    value = Stray()
    value.note = "x"  # type: ignore[attr-defined]
    return value


def invalid() -> Valid:
    value = Valid()
    object.__setattr__(value, "a", 6)
    return value


@pytest.mark.parametrize(
    "value, path, problem",
    [
        (Doubling(1), "$.a", "its class changes what it is given"),
        (Needing(1, 2), "$", "Needing cannot be made of this: TypeError: "),
        (Rounding([1]), "$.a", "its class changes what it is given"),
        (Tripling(a={"k": 1}), "$.a.k", "its class changes what it is given"),
        (Private(), "$", "private attributes of a model cannot be written"),
        (Bag(), "$", "Bag cannot be written"),
        (Stop(), "$", "Stop cannot be written"),
        (Unset(), "$", "Unset cannot be written: AttributeError: 'Unset' object has no attribute 'a'"),
        (Broken(), "$", r"Broken cannot be written: 'RuntimeError: no\nway'"),
        (Counting(), "$", "Counting cannot be made of this: RuntimeError: once is enough"),
        (stray(), "$", "its attribute 'note' is no field, and would be lost"),
        (invalid(), "$", "Valid cannot be made of this: ValueError: "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_classes_that_make_something_else(value: Any, path: str, problem: str) -> None:
    error = refusal(value)
    assert error.path == path
    assert problem in error.problem


# -- annotations -------------------------------------------------------------------------------------------------------


class Named(Protocol):
    name: str


@dataclasses.dataclass
class Fields:
    """One of them is annotated with what is not there, and says nothing."""

    item: Item | None = None
    pair: tuple[int, str] | None = None
    number: int = 0
    text: str = ""
    settings: "dict[str, Color] | None" = None
    nothing: "Unknown | None" = None  # type: ignore[name-defined]  # noqa: F821


@dataclasses.dataclass
class Annotated:
    """Everything may be left out, so that each test can give one."""

    item: Item | None = None
    items: list[Item] | None = None
    pair: tuple[int, str] | None = None
    number: int = 0
    real: float = 0
    settings: dict[str, Color] | None = None
    anything: Any = None
    protocol: Named | None = None
    bare: list | None = None  # type: ignore[type-arg]


@pytest.mark.parametrize(
    "fields, path, problem",
    [
        ({"item": Sub("a", 1.0)}, "$.item", "expected Item or NoneType, found the class 'Sub'"),
        ({"item": {"name": "a", "price": 1.0}}, "$.item", "expected Item or NoneType, found a mapping of 2"),
        ({"item": 5}, "$.item", "expected Item or NoneType, found int"),
        ({"items": [Item("a", 1.0), None]}, "$.items[1]", "expected Item, found NoneType"),
        (
            {"items": (Item("a", 1.0),)},
            "$.items",
            "expected list[tests.codec.samples.Item] or NoneType, found tuple of 1",
        ),
        ({"pair": (1, "a", 2)}, "$.pair", "found tuple of 3"),
        ({"pair": (1, 2)}, "$.pair[1]", "expected str, found int"),
        ({"number": 1.0}, "$.number", "expected int, found float"),
        ({"number": Level.LOW}, "$.number", "expected int, found the class 'Level'"),
        ({"real": Decimal(1)}, "$.real", "expected float, found Decimal"),
        ({"settings": {"a": "RED"}}, "$.settings.a", "expected Color, found str"),
        ({"settings": {1: Color.RED}}, "$.settings.keys()[0]", "expected str, found int"),
        ({"anything": [Item("a", 1.0)]}, "$.anything[0]", "expected plain data, found the class 'Item'"),
        ({"protocol": Item("a", 1.0)}, "$.protocol", "found the class 'Item'"),
        ({"bare": [Color.RED]}, "$.bare[0]", "expected plain data, found the class 'Color'"),
    ],
    ids=range(15),
)
def test_what_an_annotation_does_not_allow(fields: Any, path: str, problem: str) -> None:
    error = refusal(Annotated(**fields))
    assert (error.path, problem in error.problem) == (path, True), error


def test_annotations_allow_what_is_usual() -> None:
    for value in (Annotated(real=3), Annotated(number=True), Annotated(bare=[{1}]), Annotated(protocol=None)):
        assert Context.from_json(Context(value).to_json(), Annotated).data == value


def test_annotations_that_name_what_is_not_there_say_nothing() -> None:
    value = Fields(number=1, text="x", pair=(1, "a"), settings={"a": Color.RED}, nothing=5)
    assert Context.from_json(Context(value).to_json(), Fields).data == value
    assert refusal(Fields(nothing=Color.RED)).path == "$.nothing"


def test_a_class_within_a_function_may_name_itself() -> None:
    @dataclasses.dataclass
    class Node:
        next: "Node | None" = None
        other: "Elsewhere" = 1  # type: ignore[name-defined]  # noqa: F821

    value = Node(Node(), {2})
    assert Context.from_json(Context(value).to_json(), Node).data == value


# -- text --------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(categories=["Cs", "Lu"])))
def test_surrogates_come_back_one_by_one(text: str) -> None:
    for data in (text, {text: text}, [{"!": text}], Item(text, 1.0)):
        kind = Item if isinstance(data, Item) else None
        assert Context.from_json(Context(data).to_json(), kind).data == data


def test_names_of_fields_that_would_not() -> None:
    class Open(pydantic.BaseModel, extra="allow"): ...

    for name in ("!x", "!!unset"):
        given: dict[str, Any] = {name: ["a"], "a": 1}
        assert "the extra field" in refusal(Open(**given)).problem


def test_a_zone_without_a_name() -> None:
    with io.BytesIO(ZONE) as file:
        zone = ZoneInfo.from_file(file)
    for other in (zone, ZoneInfo("posix/UTC"), Zone()):
        assert "zone" in refusal([NOON.replace(tzinfo=other)]).problem


ZONE = b"TZif" + bytes(32) + bytes((0, 0, 0, 1, 0, 0, 0, 4)) + bytes(6) + b"UTC\0"


def test_flags_and_members_that_are_none() -> None:
    class Loose(enum.Flag, boundary=enum.KEEP):
        A = 1

    value = Loose(9)
    assert Context.from_json(Context(value).to_json(), Loose).data is value

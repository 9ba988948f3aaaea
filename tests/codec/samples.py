"""Classes to be written, values of every kind, and a way to compare values with their types."""

import dataclasses
import enum
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pydantic

BERLIN = ZoneInfo("Europe/Berlin")


class Color(enum.Enum):
    RED = "red"
    DARK_RED = (1, 2)
    CRIMSON = "red"  # noqa: PIE796 (the same member by another name)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    price: float | Decimal
    color: Color = Color.RED


@dataclasses.dataclass
class Cart:
    """Mutable, with what is counted up later, and what is worked out when it is asked for."""

    items: list[Item] = dataclasses.field(default_factory=list)
    seen: int = dataclasses.field(default=0, init=False)
    owner: "Cart | None" = None

    @cached_property
    def size(self) -> int:
        return len(self.items)


@dataclasses.dataclass(slots=True, kw_only=True)
class Slotted:
    a: int
    b: set[Point]


@attrs.frozen
class Stamp:
    at: datetime
    _secret: bytes = b""


def sorted_tuple(items: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(items))


@attrs.define
class Box:
    items: tuple[int, ...] = attrs.field(converter=sorted_tuple)
    stamps: dict[UUID, Stamp] = attrs.Factory(dict)
    count: int = attrs.field(default=0, init=False, validator=attrs.validators.ge(0))


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(alias="theNumber", default=1)
    item: Item | None = None
    inner: list["Model"] = []
    when: datetime | None = None

    @cached_property
    def slow(self) -> int:
        return 1


class Loose(pydantic.BaseModel, extra="allow", frozen=True):
    a: pydantic.PositiveInt


class Names(pydantic.RootModel[list[str]]):
    pass


@pydantic.dataclasses.dataclass
class Checked:
    a: int


class Settings(TypedDict):
    item: Item
    colors: NotRequired[list[Color]]


class Outer:
    @dataclasses.dataclass
    class Inner:
        value: "Any" = None


Key = NewType("Key", str)


@dataclasses.dataclass
class Everything:
    """One field for each way to annotate."""

    union: Union[Item, Point, int]  # noqa: UP007 (the old way)
    mapping: dict[Color, list[Item | None]]
    pair: tuple[Item, Level]
    frozen: frozenset[tuple[int, Point]]
    settings: Settings
    noted: Annotated[Right, "about it"]
    literal: Literal["a", 1]
    key: Key
    either: list[Item] | dict[str, Cart]
    model: Model
    box: Box
    anything: Any = None


MOMENTS: list[Any] = [
    datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 (naive, as are two more)
    datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-5, seconds=7, microseconds=9))),
    datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
    datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN, fold=1),  # there is no such time
    datetime(2026, 1, 2, fold=1),  # noqa: DTZ001
    datetime(2026, 1, 2, tzinfo=UTC, fold=1),
    datetime(2026, 1, 2, tzinfo=ZoneInfo("UTC")),
    datetime.max,  # noqa: DTZ901
    datetime.min.replace(tzinfo=UTC),
    time(1, 2, 3, 4),
    time(1, 2, tzinfo=UTC, fold=1),
    time(1, 2, tzinfo=BERLIN),
    date(1, 1, 1),
]
SINGLES = [
    *(None, True, False, 0, -1, 2**53 + 1, 2**64, -(2**2000), 10**10_000, -(10**10_000)),
    *(0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, float("nan"), float("inf"), -float("inf"), 3.0),
    *("", "text", "Grüße 🎉", "\x00\n\u2028", "\ud800", "\ud83d\ude00", "!!set", "a" * 10_000),
    *(b"", b"\x00\xff", bytearray(b"ab"), UUID(int=1), UUID("9c5b94b1-35ad-49bb-b118-8e8fc24abf80")),
    *(timedelta(0), timedelta(days=-1, microseconds=1), timedelta.max, timedelta.min),
    *map(Decimal, ("0", "-0", "1.10", "1E+400", "NaN", "sNaN", "-Infinity", "0E-7")),
    *(Path("a/b"), Path(), PurePosixPath("/x/../y"), PureWindowsPath("C:\\x"), Path("\udcff")),
    *MOMENTS,
]
SEVERAL = [
    *([], {}, (), set(), frozenset(), [[[]]], (1,), ((), []), {1, "1", 1.5, None}, frozenset({frozenset({1}), (2,)})),
    *({"a": 1}, {1: "a"}, {None: 0, True: 1, 2.5: 2}, {(1, (2,)): {b"x": {3}}}, {frozenset({1}): 1}, {"": {" ": 0}}),
    *({"!": 1}, {"!!set": [1]}, {"!!dict": [1, 2]}, {"!Item": {"name": 1}}, {"a": {"!!text": "x"}}, {"!a": 1, "b": 2}),
    *({"!!unset": []}, {"\ud800": 1}, {float("nan"): 1}, [{"!!int": "0x1"}], {"__class__": "os.system"}),
]
LOOSE: dict[str, Any] = {"a": 1, "b": {2}, "odd key": (1,)}
INSTANCES = [
    *(Color.RED, Color.DARK_RED, Color.CRIMSON, Level.HIGH, Word.YES, Right.READ, Right.READ | Right.WRITE, Right(0)),
    *(Point(1), Point(1, 2.5), Point(2, 3), Item("a", 1.5), Item("b", 2, Color.DARK_RED), Item("c", Decimal("1.10"))),
    *(Cart(), Cart([Item("a", 1.0)], Cart(owner=Cart())), Slotted(a=1, b={Point(1)}), Outer.Inner([1, {2}])),
    *(Stamp(MOMENTS[4]), Stamp(MOMENTS[0], b"x"), Box((1, 2)), Box((), {UUID(int=5): Stamp(MOMENTS[1])})),
    *(Model(), Model(theNumber=5, item=Item("a", 1.0)), Model(inner=[Model(), Model(when=MOMENTS[5])])),
    *(Loose(a=1), Loose(**LOOSE), Names(["a"]), Checked(1)),
]


def counted(cart: Cart) -> Cart:
    cart.seen = 7
    assert cart.size == len(cart.items)  # from now on cached
    return cart


INSTANCES.append(counted(Cart([Item("x", 1.0)])))


def everything(**fields: Any) -> Everything:
    plain: dict[str, Any] = {
        "union": Item("u", 1.0),
        "mapping": {Color.RED: [Item("m", 2.0), None]},
        "pair": (Item("p", 3.0), Level.LOW),
        "frozen": frozenset({(1, Point(2, 3.0))}),
        "settings": {"item": Item("s", 4.0), "colors": [Color.DARK_RED]},
        "noted": Right.READ,
        "literal": "a",
        "key": Key("k"),
        "either": {"a": Cart()},
        "model": Model(theNumber=2),
        "box": Box((1,)),
    }
    return Everything(**{**plain, **fields})


def form(value: Any) -> Any:  # noqa: C901, PLR0911 (a line for each kind)
    """Value and type of everything in it, in a form that is equal only if both are."""
    kind = type(value)
    match value:
        case int() if kind is int:
            return kind, hex(value)
        case enum.Enum() | None | bool() | str() | bytes() | bytearray():
            return kind, value
        case float():
            return kind, value.hex()
        case set() | frozenset():
            return kind, sorted(repr(form(each)) for each in value)
        case list() | tuple():
            return kind, [form(each) for each in value]
        case dict():
            return kind, [(form(key), form(each)) for key, each in value.items()]
        case datetime() | time():
            return kind, value.replace(tzinfo=None).isoformat(), value.fold, type(value.tzinfo), str(value.tzinfo)
        case pydantic.BaseModel():
            extra = value.__pydantic_extra__
            return (
                kind,
                [(name, form(getattr(value, name))) for name in kind.model_fields],
                form(extra),
                sorted(value.model_fields_set),
            )
        case _ if attrs.has(kind):
            return kind, [(each.name, form(getattr(value, each.name))) for each in attrs.fields(kind)]
        case _ if dataclasses.is_dataclass(kind):
            return kind, [(each.name, form(getattr(value, each.name))) for each in dataclasses.fields(kind)]
        case _:
            return kind, repr(value)

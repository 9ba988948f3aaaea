"""Digests of values: equal values of equal types have one, all others have others, in every process."""

import collections
import dataclasses
import datetime as dt
import enum
import fractions
import functools
import pathlib
import random
import subprocess
import sys
import threading
import types
import uuid
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch._keys import DEPTH, Unhashable, digest


@dataclasses.dataclass
class Data:
    public: Any
    _private: Any = None


@attrs.frozen
class Frozen:
    public: Any
    _private: Any = None


@attrs.define
class Slotted:
    public: Any
    _private: Any = None


class Model(pydantic.BaseModel):
    public: Any
    _private: Any = pydantic.PrivateAttr(None)


class Loose(pydantic.BaseModel, extra="allow"):
    public: Any


class Row(NamedTuple):
    public: Any


class Plain:
    def __init__(self, public: Any) -> None:
        self.public = public


class Hidden:
    def __init__(self, public: Any) -> None:
        self.public = public
        self._state = public


class Slots:
    __slots__ = ("public",)

    def __init__(self, public: Any) -> None:
        self.public = public


class Keyed:
    def __init__(self, key: Any) -> None:
        self._key = key

    def __cache_key__(self) -> Any:
        return self._key


class Constant:
    __cache_key__ = "constant"


class Chance(random.Random):
    def __init__(self) -> None:
        super().__init__(1)


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Number(enum.IntEnum):
    ONE = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Text(str):
    __slots__ = ()


class Items(list[Any]):
    pass


def function(x: int) -> int:
    return x


UTC, BERLIN = dt.UTC, zoneinfo.ZoneInfo("Europe/Berlin")
MOMENT = dt.datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001 (a naive one is one of them)
DISTINCT: list[Any] = [
    *(
        None,
        True,
        False,
        1,
        0,
        -1,
        1.0,
        0.0,
        -0.0,
        float("nan"),
        float("inf"),
        1j,
        10**5000,
        10**5000 + 1,
        2**64,
        -(2**64),
    ),
    *("1", "", "é", "\ud800", "True", "None", b"1", b"", bytearray(b"1"), "x" * 10**5, "x" * 10**5 + "y", b"x" * 10**5),
    *(
        [1],
        (1,),
        {1},
        frozenset({1}),
        {1: 1},
        [[1]],
        [(1,)],
        [1, 2],
        [12],
        [[1], 2],
        [[1, 2]],
        [],
        (),
        {},
        set(),
        [None],
    ),
    *(frozenset(), [b"1"], ["1"], ["1", "2"], ["12"], [[], []], [[[]]], {1: "1"}, {"1": 1}, {True: 1}, {1: {2: 3}}),
    *({1: 2, 3: 4}, {1: 4, 3: 2}, [(1, 2), (3, 4)], range(1), range(0, 1, 2), range(2), slice(1), slice(1, 2)),
    *(
        ...,
        NotImplemented,
        Color.RED,
        Color.BLUE,
        Number.ONE,
        Flags.A,
        Flags.A | Flags.B,
        Flags(0),
        Text("1"),
        Items([1]),
    ),
    *(
        Decimal(1),
        Decimal("1.0"),
        Decimal("NaN"),
        Decimal("-0"),
        Decimal(0),
        fractions.Fraction(1),
        fractions.Fraction(1, 2),
    ),
    *(
        MOMENT,
        MOMENT.replace(fold=1),
        MOMENT.replace(tzinfo=UTC),
        MOMENT.replace(tzinfo=BERLIN),
        MOMENT.date(),
        MOMENT.time(),
    ),
    MOMENT.replace(tzinfo=BERLIN, fold=1),
    MOMENT.replace(tzinfo=zoneinfo.ZoneInfo("UTC")),
    MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))),
    *(MOMENT.time().replace(tzinfo=UTC), dt.timedelta(1), dt.timedelta(0, 1), UTC, BERLIN),
    *(uuid.UUID(int=1), uuid.UUID(int=2), pathlib.Path("a"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a")),
    *(int, str, Color, Data, Plain, function, len, print, [].append, threading, functools.partial(print, 1)),
    *(
        functools.partial(print, 2),
        functools.partial(print, a=1),
        functools.partial(print, a=2),
        types.SimpleNamespace(a=1),
    ),
    *(lambda: 1, lambda: 2, lambda x: x, lambda y: y, lambda x, /: x, lambda *, x: x, lambda x=1: x, lambda x=2: x),
    *(collections.OrderedDict({1: 2, 3: 4}), collections.OrderedDict({3: 4, 1: 2}), collections.Counter("a")),
    *(collections.deque([1]), collections.deque([1], 3), collections.defaultdict(int), collections.defaultdict(list)),
    *(types.MappingProxyType({1: 2}), __import__("re").compile("a"), __import__("re").compile("a", 2)),
    *(kind(value) for kind in (Data, Frozen, Slotted, Row, Plain, Slots, Keyed) for value in (1, 2, "1", True, (1,))),
    *(Model(public=1), Model(public="1"), Loose(public=1), Loose.model_validate({"public": 1, "more": 1}), Constant()),
]


def test_check_97_values_that_differ_in_kind_or_content_have_digests_of_their_own() -> None:
    seen: dict[bytes, Any] = {}
    for value in DISTINCT:
        known = seen.setdefault(digest(value), value)
        assert known is value, (known, value)
    assert all(len(each) == 32 for each in seen)


SAME: list[tuple[Any, Any]] = [
    (float("nan"), -float("nan")),
    ({1: 2, 3: 4}, {3: 4, 1: 2}),
    ({"a", "b", "c"}, {"c", "a", "b"}),
    (Data(1, 1), Data(1, 2)),
    (Frozen(1, 1), Frozen(1, 2)),
    (Slotted(1, threading.Lock()), Slotted(1)),
    (Model(public=1), Model(public=1)),
    (Keyed(1), Keyed(1)),
    (Constant(), Constant()),
    (Plain([1]), Plain([1])),
]


@pytest.mark.parametrize("pair", SAME, ids=repr)
def test_check_97_private_fields_and_the_order_of_what_has_none_do_not_count(pair: tuple[Any, Any]) -> None:
    assert digest(pair[0]) == digest(pair[1])


def test_check_97_a_key_of_its_own_stands_for_an_object_and_its_class_for_itself() -> None:
    class Other(Keyed):
        pass

    assert digest(Keyed(1)) != digest(Other(1)) != digest(1)
    assert digest(Keyed([1])) != digest(Keyed((1,)))


def cyclic() -> Any:
    items: list[Any] = [1]
    items.append({"again": items})
    return items


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class Raising:
    @property
    def __cache_key__(self) -> Any:
        raise ValueError("no key today")


CURE = "give its class a __cache_key__, or the task cache=False"
REFUSED: list[tuple[Callable[[], Any], str, str]] = [
    (threading.Lock, "", f"_thread:lock cannot be part of a key: {CURE}"),
    (object, "", f"builtins:object cannot be part of a key: {CURE}"),
    (Chance, "", f"Chance cannot be part of a key: {CURE}"),
    (lambda: [1, {"rows": (Data(threading.Lock()),)}], "[1]['rows'][0].public", "_thread:lock cannot be part of a key"),
    (lambda: {"a": Model(public=object())}, "['a'].public", "builtins:object cannot be part of a key"),
    (lambda: iter([]), "", "builtins:list_iterator cannot be part of a key"),
    (lambda: (x for x in [1]), "", "builtins:generator cannot be part of a key"),
    (lambda: Hidden(1), "", "Hidden keeps something in the private '_state': make it a dataclass"),
    (cyclic, "[1]['again']", f"there are more than {DEPTH} values within each other, or one within itself"),
    (lambda: deep(DEPTH + 1), "[0]", f"there are more than {DEPTH} values within each other"),
    (Raising, "", "ValueError was raised by it: no key today"),
    (lambda: Keyed(object()), ".", "builtins:object cannot be part of a key"),
    (lambda: ValueError(1), "", "builtins:ValueError cannot be part of a key"),
]


@pytest.mark.parametrize(("make", "path", "problem"), REFUSED, ids=range(len(REFUSED)))
def test_check_97_what_cannot_be_seen_through_is_refused_with_the_way_to_it(
    make: Callable[[], Any], path: str, problem: str
) -> None:
    with pytest.raises(Unhashable) as caught:
        digest(make())
    assert caught.value.path.startswith(path)
    assert problem in caught.value.problem


class Low(enum.Enum):
    LOW = 1


class High(enum.Enum):
    LOW = 2


def test_check_98_a_member_of_an_enumeration_is_its_name_and_its_value() -> None:
    High.__qualname__ = Low.__qualname__
    assert digest(Low.LOW) != digest(High.LOW)


def test_as_deep_as_allowed_is_allowed() -> None:
    assert digest(deep(DEPTH)) != digest(deep(DEPTH - 1))


def test_a_function_that_has_closed_over_itself_has_a_digest() -> None:
    def made(step: int) -> Callable[[int], Any]:
        def down(n: int) -> Any:
            return down(n - step) if n else 0

        return down

    assert digest(made(1)) == digest(made(1)) != digest(made(2))


def test_arrays_are_known_by_their_numbers_without_numpy() -> None:
    class Kind:
        hasobject = False

        def __repr__(self) -> str:
            return "dtype('int64')"

        @property
        def str(self) -> Any:
            return "<i8"

    class ndarray:  # noqa: N801 (as numpy has it)
        dtype = Kind()

        def __init__(self, data: bytes, *shape: int) -> None:
            self.shape, self._data = shape, data

        def tobytes(self) -> bytes:
            return self._data

    ndarray.__module__, ndarray.__qualname__ = "numpy", "ndarray"
    assert digest(ndarray(b"12", 2)) == digest(ndarray(b"12", 2))
    assert len({digest(ndarray(b"12", 2)), digest(ndarray(b"12", 1, 2)), digest(ndarray(b"13", 2))}) == 3


PROGRAM = """
from orch._keys import digest
from tests.keys.test_values import DISTINCT
print(*(digest(value).hex() for value in DISTINCT))
"""


def test_check_96_digests_are_the_same_in_another_process_whatever_its_hash_seed() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert said[0] == said[1] == [digest(value).hex() for value in DISTINCT]


singles = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.datetimes()
)
hashable = st.recursive(singles, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.builds(Data, inner)
        | st.builds(Frozen, inner)
    ),
    max_leaves=12,
)


def spelled(value: Any) -> Any:
    """A value as its type and what is in it, comparable however its parts compare."""
    if isinstance(value, Data | Frozen):
        return type(value), spelled(value.public)
    if isinstance(value, list | tuple):
        return type(value), tuple(map(spelled, value))
    if isinstance(value, frozenset):
        return type(value), tuple(sorted(map(repr, map(spelled, value))))
    if isinstance(value, dict):
        return type(value), tuple(sorted(repr((spelled(key), spelled(each))) for key, each in value.items()))
    return type(value), "nan" if value != value else repr(value)  # noqa: PLR0124 (how one knows)


@given(one=values, other=values)
def test_check_97_digests_are_equal_exactly_if_values_are_the_same(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (repr(spelled(one)) == repr(spelled(other)))


@given(parts=st.lists(st.text() | st.binary() | st.integers(), max_size=6), cut=st.integers(0, 6))
def test_check_97_nothing_is_said_by_writing_one_thing_behind_another(parts: list[Any], cut: int) -> None:
    halves = [parts[:cut], parts[cut:]]
    assert digest(parts) != digest(halves)
    assert digest(halves) != digest([*halves, []])
    assert digest([str(part) for part in parts]) != digest("".join(str(part) for part in parts))

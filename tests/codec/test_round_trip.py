"""What is written comes back, value and type, or it is not written."""

import dataclasses
import json
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch import Context
from tests.codec import samples
from tests.codec.samples import Cart, Color, Everything, Item, Level, Model, Point, Right, Settings, everything, form

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # Hypothesis, of these strategies

T = TypeVar("T")
EVERY = [*samples.SINGLES, *samples.SEVERAL]


def round_trip(data: Any, data_type: Any = None) -> Any:
    return Context.from_json(Context(data).to_json(), data_type).data


def check(data: Any, data_type: Any = None) -> None:
    text = Context(data).to_json()
    read = Context.from_json(text, data_type)

    assert form(read.data) == form(data)
    assert read.to_json() == text
    assert text.isascii()
    json.loads(text, parse_constant=pytest.fail)  # strict JSON


# -- every kind --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", samples.SINGLES, ids=range(len(samples.SINGLES)))
def test_single_values(value: Any) -> None:
    check(value)
    check([value, (value,)])
    check({"key": value})


@pytest.mark.parametrize("value", samples.SEVERAL, ids=range(len(samples.SEVERAL)))
def test_several_values(value: Any) -> None:
    check(value)
    check([value, {"inner": value}])


@pytest.mark.parametrize("value", EVERY, ids=range(len(EVERY)))
def test_what_has_a_hash_may_be_a_key(value: Any) -> None:
    try:
        hash(value)
    except TypeError:
        return
    check({value: 1})
    check({value})
    check(frozenset({value, (value,)}))


@pytest.mark.parametrize("value", EVERY, ids=range(len(EVERY)))
def test_metadata(value: Any) -> None:
    text = Context(metadata={"a": value, "b": [value]}).to_json()
    assert form(Context.from_json(text).metadata) == form({"a": value, "b": [value]})


@pytest.mark.parametrize("value", samples.INSTANCES, ids=range(len(samples.INSTANCES)))
def test_instances(value: Any) -> None:
    kind = type(value)
    check(value, kind)
    check(value, kind | None)
    check([value], list[kind])  # type: ignore[valid-type]
    check({"a": (1, value)}, dict[str, tuple[int, kind]])  # type: ignore[valid-type]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"union": Point(1, 2.0), "either": [Item("e", 1.0)], "literal": 1},
        {"union": 5, "either": [], "model": Model(inner=[Model()]), "anything": {1: {2}}},
        {"noted": Right.READ | Right.WRITE, "settings": {"item": Item("only", 1)}, "pair": (Item("p", 3), Level.HIGH)},
        {"mapping": {}, "frozen": frozenset(), "either": {}},
    ],
    ids=range(5),
)
def test_annotations_of_all_kinds(fields: Any) -> None:
    check(everything(**fields), Everything)


def test_a_mapping_of_different_classes() -> None:
    data: Settings = {"item": Item("a", 1.0), "colors": [Color.RED]}
    check(data, Settings)
    check({"a": data}, dict[str, Settings])
    check({"x": Item("a", 1.0), "y": Cart()}, dict[str, Item | Cart])


@dataclasses.dataclass
class Holder(Generic[T]):
    item: T
    items: list[T] = dataclasses.field(default_factory=list)


class Held(pydantic.BaseModel, Generic[T]):
    item: T


def test_generic_classes() -> None:
    check(Holder(1, [2]), Holder[int])
    check(Held[Item](item=Item("a", 1.0)), Held[Item])
    check({"a": Held[int](item=1)}, dict[str, Held[int]])
    with pytest.raises(ValueError, match="name that class in data_type=, or annotate the field with it"):
        Context(Holder(Item("a", 1.0))).to_json()  # a type variable names no class


def test_the_same_class_at_home_and_abroad() -> None:
    one, two = (dataclasses.make_dataclass("Here", [("a", int)]) for _ in range(2))
    assert round_trip(one(1), one) == one(1)
    assert type(round_trip(one(1), two)) is two  # the caller says which
    with pytest.raises(ValueError, match="several classes are named"):
        Context([one(1), two(1)]).to_json()


# -- any data ----------------------------------------------------------------------------------------------------------

MARKS = st.sampled_from(["!", "!!", "!!set", "!!dict", "!!text", "!Item", "!!unset", "__class__", "$type", "a"])
TEXT = st.text() | st.text(st.characters(categories=["Cs"]), max_size=3) | MARKS
ZONES = st.timezone_keys(allow_prefix=False).map(ZoneInfo)
KEYS = (
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT, st.binary(), st.uuids()),
    *(st.decimals(allow_nan=False), st.datetimes(timezones=st.none() | ZONES)),
    *(st.dates(), st.times(), st.timedeltas(), st.sampled_from(samples.MOMENTS)),
)
HASHED = st.recursive(st.one_of(*KEYS), lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3))
PLAIN = st.recursive(
    HASHED | st.floats() | st.decimals() | st.builds(bytearray, st.binary()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(HASHED, inner, max_size=4)
        | st.dictionaries(TEXT, inner, max_size=2)
        | st.tuples(inner)
        | st.sets(HASHED, max_size=3)
    ),
    max_leaves=20,
)
ITEMS = st.builds(Item, TEXT, st.floats() | st.integers(), st.sampled_from(Color))
MODELS = st.builds(Model, theNumber=st.integers(), item=st.none() | ITEMS, when=st.none() | st.datetimes())


@given(PLAIN)
def test_plain_data(data: Any) -> None:
    check(data)


@given(PLAIN, st.dictionaries(TEXT, PLAIN, max_size=3))
def test_data_and_metadata_are_apart(data: Any, metadata: dict[str, Any]) -> None:
    read = Context.from_json(Context(data, metadata=metadata).to_json())
    assert form((read.data, read.metadata)) == form((data, metadata))


@given(
    st.fixed_dictionaries(
        {
            "union": ITEMS | st.integers() | st.builds(Point, st.integers(), st.floats(allow_nan=False)),
            "mapping": st.dictionaries(st.sampled_from(Color), st.lists(ITEMS | st.none(), max_size=3)),
            "either": st.lists(ITEMS, max_size=2) | st.dictionaries(TEXT, st.builds(Cart, st.lists(ITEMS, max_size=2))),
            "model": MODELS,
            "anything": PLAIN,
        }
    )
)
def test_instances_of_all_classes(fields: dict[str, Any]) -> None:
    check(everything(**fields), Everything)


@given(st.dictionaries(TEXT, ITEMS | MODELS, max_size=3))
def test_mappings_of_instances(data: dict[str, Any]) -> None:
    check(data, dict[str, Item | Model])


@given(st.sets(st.text(), max_size=10))
def test_equal_sets_are_written_equally(data: set[str]) -> None:
    other = set[str]()
    for each in sorted(data, reverse=True):
        other.add(each)
    assert Context(other).to_json() == Context(data).to_json()

"""Text that is not as `to_json` wrote it: read as plain data, or refused quickly and clearly; nothing is executed."""

import ast
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orch._codec
from orch import CodecError, Context
from tests.codec import samples
from tests.codec.hostile import BROKEN, FOREIGN, WRONG, document
from tests.codec.samples import Color, Item, Model, Right

SECONDS = 1.0


def read(data: Any, data_type: Any = None) -> Any:
    return Context.from_json(document(json.dumps(data)), data_type).data


def refusal(text: str, data_type: Any = None) -> CodecError:
    started = time.process_time()
    with pytest.raises(CodecError) as caught:
        Context.from_json(text, data_type)
    assert time.process_time() - started < SECONDS
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).isprintable()
    return caught.value


# -- X1: classes in the data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", FOREIGN, ids=range(len(FOREIGN)))
def test_the_markers_of_others_are_plain_data(data: Any) -> None:
    assert read(data) == data
    assert read([data, {"a": data}]) == [data, {"a": data}]
    assert Context.from_json(document("1", metadata=json.dumps(data))).metadata == data


@pytest.mark.parametrize(
    "marker",
    ["!os.system", "!Item", "!tests.codec.samples.Item", "!!python/object/apply:os.system", "!!item", "!", "!!"],
)
@pytest.mark.parametrize("data_type", [None, dict, Any, Color, Item | None], ids=repr)
def test_our_marker_finds_only_what_the_caller_names(marker: str, data_type: Any) -> None:
    if marker == "!Item" and data_type == (Item | None):
        assert read({marker: {"name": "a", "price": 1}}, data_type) == Item("a", 1)
    else:
        error = refusal(document(json.dumps({marker: {"name": "a", "price": 1}})), data_type)
        assert (error.part, error.path) == ("data", "$")


def test_metadata_never_has_classes() -> None:
    text = document('{"!Item": {"name": "a", "price": 1}}', metadata='{"a": {"!Item": {"name": "a", "price": 1}}}')
    error = refusal(text, Item)
    assert (error.part, error.path) == ("metadata", "$.a")


def test_data_is_no_part_of_a_class() -> None:
    for field in ("__class__", "__init__", "__dict__", "price.__class__", "_secret", "color.name"):
        assert (
            "has no such field"
            in refusal(document(json.dumps({"!Item": {"name": "a", "price": 1, field: 1}})), Item).problem
        )
    for member in ("__class__", "name", "mro", "_missing_", "RED.name", "red", 1, None, [], ["RED"]):
        assert "has no" in refusal(document(json.dumps({"!Color": member})), Color).problem
    for bits in (8, -9, "READ", 1.0, None, [1]):
        assert refusal(document(json.dumps({"!Right": bits})), Right).path == "$"


# -- X2: what is not there ---------------------------------------------------------------------------------------------


NEVER = {"importlib", "import_module", "pickle", "marshal", "runpy", "subprocess", "pydoc", "find_spec", "resolve_name"}
BUILTINS = {"__import__", "eval", "exec", "compile", "globals", "__builtins__"}


def test_the_codec_has_no_way_to_import_or_execute() -> None:
    names, attributes = set[str](), set[str]()
    for path in Path(orch._codec.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.alias(name=name) | ast.Name(id=name):
                    names.add(name)
                case ast.Attribute(attr=name):
                    attributes.add(name)
                case _:
                    pass
    assert (names & (NEVER | BUILTINS), attributes & NEVER) == (set(), set())


@pytest.mark.parametrize("data_type", ["os.system", "Item", 5, [Item], {"a": Item}, Item("a", 1.0), Color.RED, (Item,)])
def test_a_class_is_not_named_by_text(data_type: Any) -> None:
    with pytest.raises(TypeError, match="data_type: expected a class or an annotation, found "):
        Context.from_json(document("1"), data_type)


# -- X3: our own markers in the data -----------------------------------------------------------------------------------

MARKERS = st.sampled_from(
    [*samples.SINGLES[21:22], "!", "!!", "!!set", "!!dict", "!!tuple", "!!text", "!!int", "!Item", "!!unset"]
)


@given(
    st.recursive(MARKERS | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(MARKERS, inner), max_leaves=9)
)
def test_our_markers_in_the_data_are_data(data: Any) -> None:
    assert Context.from_json(Context(data).to_json()).data == data
    assert Context.from_json(Context(metadata={"a": data}).to_json()).metadata == {"a": data}
    assert Context.from_json(Context([data, Item("a", 1)]).to_json(), list[Any | Item]).data == [data, Item("a", 1)]


# -- X4: bombs ---------------------------------------------------------------------------------------------------------

BOMBS: dict[str, tuple[Callable[[], str], str]] = {
    "lists": (lambda: document("[" * 100_000 + "]" * 100_000), "brackets within each other"),
    "open lists": (lambda: "[" * 1_000_000, "brackets within each other"),
    "objects": (lambda: document('{"a":' * 100_000 + "1" + "}" * 100_000), "brackets within each other"),
    "lists after text": (lambda: document('["]]]]\\"", ' + "[" * 100_000), "brackets within each other"),
    "just too deep": (lambda: document("[" * 129 + "]" * 129), "more than 128 values within each other"),
    "too deep by pairs": (lambda: document('{"!!dict": [0, ' * 129 + "1" + "]}" * 129), "more than 128 values"),
    "too deep by tuples": (lambda: document('{"!!tuple": [' * 129 + "1" + "]}" * 129), "more than 128 values"),
    "long": (lambda: document('"' + "a" * 2**26 + '"'), "expected at most 67108864 characters, found 67108"),
    "quotes": (lambda: document("[" * 300 + '"' + '\\"' * 300_000), "brackets within each other"),
    "open text": (lambda: document("[" * 200 + '"' + '\\"' * 300_000), "no JSON"),
    "equal keys": (lambda: document("{" + ", ".join(['"a": 1'] * 100_000) + "}"), "the key 'a' stands there twice"),
    "digits": (lambda: document("1" * 1_000_000), "a number of 1000000 digits: at most 640 are allowed"),
    "negative digits": (lambda: document("[-" + "1" * 1_000_000 + "]"), "digits: at most 640 are allowed"),
    "a large float": (lambda: document("[1e999]"), "a number that no float can hold"),
    "microseconds": (lambda: document('{"!!microseconds": "' + "1" * 1_000_000 + '"}'), "expected microseconds, found"),
    "a long zone": (lambda: document('{"!!datetime": "2026-01-01[' + "A/" * 100_000 + 'B]"}'), "expected datetime"),
    "one hash": (
        lambda: document(json.dumps({"!!set": [each * (2**61 - 1) for each in range(1, 20_000)]})),
        "19999 keys with one hash, expected at most 1000",
    ),
    "one hash of keys": (
        lambda: document(
            json.dumps({"!!dict": [each * (2**61 - 1) * half for each in range(1, 20_000) for half in (1, 0)]})
        ),
        "19999 keys with one hash",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    make, problem = BOMBS[name]
    assert problem in refusal(make()).problem


def test_what_is_large_but_allowed() -> None:
    assert len(read([[]] * 100_000)) == 100_000
    assert read({"a": "[" * 100_000}) == {"a": "[" * 100_000}
    assert read('"]\\' * 1000 + "[" * 1000)[0] == '"'
    assert read({"!!int": hex(10**100_000)}) == 10**100_000


def test_twice_the_same_key() -> None:
    for text, path in (
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "$.a"),
        ('{"!!set": [1, 2, 1]}', "$"),
        ('{"!!set": [1, true]}', "$"),
        ('{"!!dict": [1, 2, 1.0, 3]}', "$"),
    ):
        error = refusal(document(text))
        assert (error.part, error.path) == ("data", path)
        assert "twice" in error.problem
    assert "the key 'data' stands there twice" in refusal(document("1")[:-1] + ', "data": 2}').problem


# -- broken text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_no_document(text: str) -> None:
    assert refusal(text).part in {"text", "version", "data"}


@pytest.mark.parametrize("node", WRONG, ids=range(len(WRONG)))
def test_wrong_nodes(node: Any) -> None:
    assert refusal(document(json.dumps({"a": [1, node]}))).path.startswith("$.a[1]")


def test_text_is_text() -> None:
    others: tuple[Any, ...] = (b"{}", None, {}, 1)
    for text in others:
        with pytest.raises(TypeError, match="text: expected str, found "):
            Context.from_json(text)


@pytest.mark.parametrize(
    "data, data_type, path, problem",
    [
        (5, Item, "$", "expected Item, found int"),
        ({"!Item": []}, Item, "$", "expected the fields of Item, found list"),
        ({"!Item": {"name": "a"}}, Item, "$.price", "Item needs this field, and it is not there"),
        ({"!Item": {"name": "a", "prise": 1}}, Item, "$.prise", "Item has no such field; did you mean 'price'?"),
        ({"!Item": {"name": 1, "price": 1}}, Item, "$.name", "expected str, found int"),
        ([{"!Item": {"name": "a", "price": "x"}}], list[Item], "$[0].price", "expected float or Decimal, found str"),
        ([], dict[str, Item], "$", "expected dict[str, tests.codec.samples.Item], found list of 0"),
        ({"a": 5}, dict[str, Item], "$.a", "expected Item, found int"),
        ({"!!dict": [1, 5]}, dict[str, int], "$.keys()[0]", "expected str, found int"),
        ({"item": 1}, samples.Settings, "$.item", "expected Item, found int"),
        ({"color": 1}, samples.Settings, "$", "expected Settings with the keys 'item', 'colors', found a mapping of 1"),
        ({"!Model": {"number": "5"}}, Model, "$.number", "expected int, found str"),
        ({"!Model": {"theNumber": 5}}, Model, "$.theNumber", "Model has no such field"),
        ({"!Loose": {"a": -1}}, samples.Loose, "$", "Loose cannot be made of this: 'ValidationError: 1 validation"),
        ({"!Model": {"number": 1, "!!unset": [1]}}, Model, "$['!!unset'][0]", "expected str, found int"),
        ({"!Box": {"items": {"!!tuple": []}, "count": -1}}, samples.Box, "$", "Box cannot be made of this: "),
        (None, int, "$", "expected int, found NoneType"),
        (1.5, int | str, "$", "expected int or str, found float"),
    ],
    ids=range(18),
)
def test_shapes_that_are_not_those_of_the_class(data: Any, data_type: Any, path: str, problem: str) -> None:
    error = refusal(document(json.dumps(data)), data_type)
    assert (error.part, error.path) == ("data", path)
    assert problem in error.problem


# -- nothing is executed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["foreign", "mutations", "graftings"])
def test_reading_executes_nothing(program: str) -> None:
    command = [sys.executable, "-m", "tests.codec.audited", program]  # for itself: an audit hook stays for good
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (0, "nothing\n"), done.stderr

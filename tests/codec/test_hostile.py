"""Text that is not as `to_json` wrote it: read as plain data, or refused quickly and clearly; nothing is executed."""

import ast
import json
import random
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orch._codec
from orch import CodecError, Context
from tests.codec import samples
from tests.codec.samples import Color, Everything, Item, Model, Right, everything

SECONDS = 1.0


def document(data: str, **parts: str) -> str:
    """A document around the JSON of its data and of other parts."""
    return "{" + ", ".join(f'"{name}": {text}' for name, text in ({"version": "1", "data": data} | parts).items()) + "}"


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

FOREIGN: list[Any] = [
    {"__class__": "os.system", "__args__": ["true"]},
    {"__reduce__": ["os.system", ["true"]]},
    {"__type__": "tests.codec.samples.Item", "name": "a"},
    {"$type": "System.Windows.Data.ObjectDataProvider", "MethodName": "Start"},
    {"@type": "com.sun.rowset.JdbcRowSetImpl", "autoCommit": True},
    {"py/object": "os.system"},
    {"py/reduce": [{"py/type": "os.system"}, {"py/tuple": ["true"]}]},
    {"py/repr": "os/os.system('true')"},
    {"py/function": "os.system"},
    {"py/id": 1},
    {"lc": 1, "type": "constructor", "id": ["langchain", "load", "load"], "kwargs": {}},
    {"lc": 1, "type": "secret", "id": ["PATH"]},
    {"lc": 2, "type": "constructor", "id": ["os", "system"], "method": [None], "args": ["true"]},
    {"!!python/object/apply:os.system": ["true"], "more": 1},
    {"__ndarray__": "AAAA", "dtype": "object"},
    {"_type": "pickle", "data": "gASVHAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAR0cnVllIWUUpQu"},
    {"__pydantic_validator__": 1, "__dict__": {}},
]


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

BROKEN = [
    *("", " ", "{", "[]", "null", "1", '"text"', "{}", '{"data": 1}', '{"version": 1}', "nonsense", "\ufeff{}", "\x00"),
    *('{"version": 2, "data": 1}', '{"version": "1", "data": 1}', '{"version": true, "data": 1}', "{'data': 1}"),
    *('{"version": 1.0, "data": 1}', '{"version": [], "data": 1}', document("1", more="1"), document("NaN")),
    *(document("Infinity"), document("-Infinity"), document("[1,]"), document("1") + "x", document('{"a": 1,}')),
]
WRONG = [
    {"!!set": 1},
    {"!!set": {"a": 1}},
    {"!!set": [[]]},
    {"!!set": [{"a": 1}]},
    {"!!dict": [1]},
    {"!!dict": {}},
    {"!!dict": [[], 1]},
    {"!!tuple": None},
    {"!!int": "ten"},
    {"!!int": 10},
    {"!!float": "0.1"},
    {"!!float": "infinity"},
    {"!!float": 1},
    {"!!text": "not base64!"},
    {"!!text": "/w=="},
    {"!!bytes": "a"},
    {"!!bytes": []},
    {"!!bytearray": "\u00e4"},
    {"!!datetime": "yesterday"},
    {"!!datetime": "2026-13-01"},
    {"!!datetime": "2026-01-01T00:00[Nowhere/Land]"},
    {"!!datetime": "2026-01-01T00:00[../../etc/passwd]"},
    {"!!datetime": "2026-01-01T00:00[/etc/passwd]"},
    {"!!datetime": "2026-01-01T00:00[posixrules]"},
    {"!!datetime": "2026-01-01T00:00+01:00[Europe/Berlin]"},
    {"!!datetime": "2026-01-01T00:00[_fold=2]"},
    {"!!datetime": "2026-01-01T00:00[Europe/Berlin][x]"},
    {"!!date": "2026-02-30"},
    {"!!date": "2026-01-01T00:00"},
    {"!!time": "25:00"},
    {"!!microseconds": "1.5"},
    {"!!microseconds": "9" * 30},
    {"!!uuid": "1"},
    {"!!uuid": {}},
    {"!!decimal": "one"},
    {"!!decimal": "1,5"},
    {"!!WindowsPath": "C:\\x"} if sys.platform != "win32" else {"!!PosixPath": "/x"},
    {"!!unset": []},
    {"!!date": {"!!date": "2026-01-01"}},
]


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

HARMLESS = {"builtins.id", "object.__getattr__", "object.__setattr__", "sys._getframe"}
heard: list[str] | None = None


def hook(event: str, _: object) -> None:
    if heard is not None:
        heard.append(event)


@pytest.fixture(scope="module", autouse=True)
def audited() -> None:
    sys.addaudithook(hook)  # for good


@contextmanager
def nothing_executed() -> Generator[None]:
    """Fail if anything was imported, compiled, executed, opened or called from outside."""
    global heard  # noqa: PLW0603 (hooks live in the interpreter, and see everything)
    heard = []
    try:
        yield
    finally:
        noticed, heard = set(heard) - HARMLESS, None
    assert noticed == set()


def loaded(text: str, data_type: Any) -> None:
    try:
        context = Context.from_json(text, data_type)
    except CodecError:
        return
    assert data_type is None or type(context.data) is data_type


def test_reading_executes_nothing() -> None:
    good = Context(everything(anything=samples.MOMENTS), metadata={"a": 1}).to_json()
    Context.from_json(good, Everything)  # zones are files, and are read once
    with nothing_executed():
        Context.from_json(good, Everything)
        for data in FOREIGN:
            loaded(document(json.dumps(data)), None)
        for marker in ("!os.system", "!subprocess.Popen", "!!python/name:os.system", "!antigravity.Item"):
            loaded(document(json.dumps({marker: {"args": ["true"]}})), Item)
        for node in WRONG:
            loaded(document(json.dumps(node)), None)
        for text in BROKEN:
            loaded(text, None)


def test_two_thousand_mutations_execute_nothing() -> None:
    good = Context(everything(anything=[*samples.MOMENTS, b"x", {1: 2}]), metadata={"a": {1}}).to_json()
    Context.from_json(good, Everything)
    chance = random.Random(4)
    with nothing_executed():
        for _ in range(2_000):
            loaded(mutated(good, chance), Everything)


def mutated(text: str, chance: random.Random) -> str:
    """The text with a few of its pieces left out, doubled, swapped or replaced."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(text))
        end = start + chance.choice((1, 1, 2, 5, 20))
        piece = chance.choice(
            ("", text[start:end] * 2, '"', "{", "]", "!", "9", "null", text[end : end + 9], '"!!set"')
        )
        text = text[:start] + piece + text[end:]
    return text

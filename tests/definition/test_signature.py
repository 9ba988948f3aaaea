"""What a callable takes, read off its code: `inspect.signature` is the oracle."""

import __future__

import functools
import inspect
import operator
import sys
import types
import typing
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orch
from orch import Context, Task
from orch.definition import EMPTY, Parameter
from orch.definition._signature import _from_code, _from_inspect, signature_of


async def coroutine(a: int) -> int:
    return a


def plain(a: int) -> int:
    return a


class Methods:
    async def coroutine(self, a: int) -> int:
        return a

    def plain(self, a: int) -> int:
        return a

    @classmethod
    async def of_class(cls, a: int) -> int:
        return a

    @staticmethod
    async def of_nothing(a: int) -> int:
        return a


class Called:
    def __call__(self, a: int) -> int:
        return a


class Awaited:
    async def __call__(self, a: int) -> int:
        return a


class Made:
    def __init__(self, a: int) -> None:
        self.a = a


@functools.wraps(coroutine)
def wrapper(*args: Any, **kwargs: Any) -> Any:
    return coroutine(*args, **kwargs)


def generator(a: int) -> typing.Iterator[int]:
    yield a


async def async_generator(a: int) -> typing.AsyncIterator[int]:
    yield a


async def gives_generator(a: int) -> typing.Iterator[int]:
    return generator(a)


class Generated:
    def __call__(self, a: int) -> typing.Iterator[int]:
        yield a

    async def method(self, a: int) -> typing.AsyncIterator[int]:
        yield a


@types.coroutine
def old_style(a: int) -> typing.Generator[None, None, int]:
    yield
    return a


CALLABLES: dict[str, tuple[Callable[..., Any], str]] = {
    "function": (plain, "plain"),
    "async function": (coroutine, "coroutine"),
    "partial": (functools.partial(plain), "plain"),
    "partial of a partial": (functools.partial(functools.partial(coroutine)), "coroutine"),
    "method": (Methods().plain, "plain"),
    "async method": (Methods().coroutine, "coroutine"),
    "async class method": (Methods.of_class, "coroutine"),
    "async static method": (Methods.of_nothing, "coroutine"),
    "object": (Called(), "plain"),
    "async object": (Awaited(), "coroutine"),
    "partial of an async object": (functools.partial(Awaited()), "coroutine"),
    "async call method": (Awaited().__call__, "coroutine"),
    "class": (Made, "plain"),
    "lambda": (lambda a: a, "plain"),
    "wrapper": (wrapper, "plain"),  # what it gives is its own business
    "cache": (functools.lru_cache(plain), "plain"),
    "partial of an async task": (functools.partial(Task(coroutine)), "coroutine"),
    "partial of a task": (functools.partial(Task(plain)), "plain"),
    "generator-based coroutine": (old_style, "coroutine"),
    "generator": (generator, "generator"),
    "async generator": (async_generator, "async generator"),
    "partial of a generator": (functools.partial(generator), "generator"),
    "partial of an async generator": (functools.partial(async_generator), "async generator"),
    "generator object": (Generated(), "generator"),
    "generator method": (Generated().method, "async generator"),
    "generator call method": (Generated().__call__, "generator"),
    "partial of a streaming task": (functools.partial(Task(generator)), "generator"),
    "function that returns a generator": (lambda a: generator(a), "plain"),  # noqa: PLW0108 (a function that is none itself)
    "wrapped generator": (functools.wraps(generator)(lambda a: generator(a)), "plain"),  # noqa: PLW0108 (as above)
    "coroutine that returns a generator": (gives_generator, "coroutine"),
}


@pytest.mark.parametrize("fn,kind", CALLABLES.values(), ids=CALLABLES)
def test_every_callable_has_a_kind_and_its_parameter(fn: Callable[..., Any], kind: str) -> None:
    signature = signature_of(fn)

    assert signature.kind == kind
    assert [each.name for each in signature.parameters if each.required] == ["a"]


def test_mocks_are_steps() -> None:
    assert signature_of(mock.AsyncMock()).kind == "coroutine"
    assert signature_of(mock.Mock()).kind == "plain"
    assert all(not each.required for each in signature_of(mock.Mock()).parameters)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the marker came with 3.12")
def test_a_marked_function_is_a_coroutine_function() -> None:
    def gives_one(a: int) -> Any:
        return coroutine(a)

    marked = inspect.markcoroutinefunction(gives_one)  # type: ignore[attr-defined,unused-ignore]

    assert signature_of(marked).kind == "coroutine"


def test_generator_functions_stream_and_async_ones_need_an_event_loop() -> None:
    facts = {
        signature_of(fn)[1:]: (signature_of(fn).streams, signature_of(fn).is_async) for fn, _ in CALLABLES.values()
    }
    assert facts == {
        ("plain",): (False, False),
        ("coroutine",): (False, True),
        ("generator",): (True, False),
        ("async generator",): (True, True),
    }


def test_a_mocked_generator_is_what_its_mock_is() -> None:
    assert signature_of(mock.create_autospec(generator)).kind == "plain"


def test_one_of_each_kind() -> None:
    def fn(a, /, b, c=3, *d, e, f=6, **g): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN202

    variadic = {"required": False, "default": EMPTY, "context": False, "positional": False}

    assert signature_of(fn).parameters == (
        Parameter("a", True, EMPTY, False, True, positional_only=True),  # noqa: FBT003
        Parameter("b", True, EMPTY, False, True),  # noqa: FBT003
        Parameter("c", False, 3, False, True),  # noqa: FBT003
        Parameter("e", True, EMPTY, False, False, keyword_only=True),  # noqa: FBT003
        Parameter("f", False, 6, False, False, keyword_only=True),  # noqa: FBT003
        Parameter("d", **variadic, var_positional=True),  # type: ignore[arg-type]
        Parameter("g", **variadic, var_keyword=True),  # type: ignore[arg-type]
    )


NAMES = st.lists(st.from_regex(r"[a-z]{1,3}_", fullmatch=True), unique=True, max_size=8)


@st.composite
def functions(draw: st.DrawFn) -> Callable[..., Any]:
    """A function with any legal list of parameters; defaults are numbers, some annotations mean Context."""
    names = draw(NAMES)
    cuts = sorted(draw(st.lists(st.integers(0, len(names)), min_size=3, max_size=3)))
    only, normal, keyword = names[: cuts[0]], names[cuts[0] : cuts[1]], names[cuts[1] :]
    first_default = draw(st.integers(0, cuts[1]))
    annotation = st.sampled_from(["", ": int", ": Context", ": 'Context[int] | None'"])
    parts = [
        f"{name}{draw(annotation)}" + ("=1" if i >= first_default else "") for i, name in enumerate([*only, *normal])
    ]
    if only:
        parts.insert(len(only), "/")
    if star := draw(st.sampled_from(["", "*args"])) or ("*" if keyword else ""):
        parts.append(star)
    parts += [f"{name}{draw(annotation)}" + draw(st.sampled_from(["", "=2"])) for name in keyword]
    parts += draw(st.sampled_from([[], ["**kwargs"]]))
    space: dict[str, Any] = {"Context": Context}
    exec(f"{draw(st.sampled_from(['', 'async ']))}def fn({', '.join(parts)}): ...", space)
    return typing.cast("Callable[..., Any]", space["fn"])


@given(functions())
def test_reading_the_code_agrees_with_inspect(fn: Any) -> None:
    assert _from_code(fn) == _from_inspect(fn)


@given(functions(), st.data())
def test_arguments_arrange_values_as_a_call_would(fn: Any, data: st.DataObject) -> None:
    signature = signature_of(fn)
    names = [each.name for each in signature.parameters if not (each.var_positional or each.var_keyword)]
    left_out = {each.name for each in signature.parameters if not each.required and data.draw(st.booleans())}
    values = {name: i for i, name in enumerate(names) if name not in left_out}

    args, kwargs = signature.arguments(values)
    bound = inspect.signature(fn).bind(*args, **kwargs)
    bound.apply_defaults()

    assert values.items() <= bound.arguments.items()


# -- Context in every form ---------------------------------------------------------------------------------------------

FORMS = [
    ("Context", True),
    ("Context[int]", True),
    ("orch.Context", True),
    ("orch.Context[dict[str, int]]", True),
    ("Context | None", True),
    ("Context[int] | None", True),
    ("None | Context[int]", True),
    ("Optional[Context]", True),
    ("Optional[Context[int]]", True),
    ("typing.Optional[Context]", True),
    ("Union[int, Context[int]]", True),
    ("Annotated[Context, 'note']", True),
    ("Annotated[Context[int] | None, 1, 2]", True),
    ("typing.Annotated[Optional[Context], 1]", True),
    ("Alias", True),
    ("Alias | None", True),
    ("Generic_[int]", True),
    ("'Context'", True),
    ("'Context[int] | None'", True),
    ("Optional['Context']", True),
    ("Text", True),
    ("int", False),
    ("'int'", False),
    ("list[Context]", False),
    ("'list[Context]'", False),
    ("dict[str, Context[int]]", False),
    ("Callable[[Context], int]", False),
    ("type[Context]", False),
    ("Annotated[int, Context]", False),
    ("Other", False),
    ("other.Context", False),
    ("3", False),
    ("'not an annotation'", False),
    ("'('", False),
    ("''", False),
    ("Loop", False),
    ("'Context ]'", False),
    ("'Context and Context'", False),
]


class Other:
    class Context:
        """Not ours."""


T = typing.TypeVar("T")
SPACE = {
    "orch": orch,
    "Context": Context,
    "typing": typing,
    "Optional": typing.Optional,
    "Union": typing.Union,
    "Annotated": typing.Annotated,
    "Callable": Callable,
    "Alias": Context[int],
    "Generic_": Context[T],  # type: ignore[valid-type]
    "Text": "Context[int]",
    "Loop": "Loop",
    "Other": Other,
    "other": Other,
}


def function(annotation: str, space: dict[str, Any], *, late: bool) -> Any:
    flags = __future__.annotations.compiler_flag if late else 0
    space = dict(space)
    exec(compile(f"def fn(c: {annotation}, /): ...", "<test>", "exec", flags, dont_inherit=True), space)
    return space["fn"]


@pytest.mark.parametrize("late", [False, True], ids=["now", "late"])
@pytest.mark.parametrize("annotation,means", FORMS)
def test_annotations_that_mean_context(annotation: str, means: bool, late: bool) -> None:
    fn = function(annotation, SPACE, late=late)

    assert _from_code(fn)[0].context is means
    assert _from_inspect(fn)[0].context is means


@pytest.mark.parametrize(
    "annotation,means",
    [
        ("Context", True),
        ("orch.Context[Order]", True),
        ("Context[Order] | None", True),
        ("Optional[Context[Order]]", True),
        ("typing.Annotated[o.Context[Order], x]", True),
        ("Union[None, 'Context']", True),
        ("Order", False),
        ("list[Context]", False),
        ("Contexts", False),
    ],
)
def test_names_imported_for_type_checking_alone_count_by_their_spelling(annotation: str, means: bool) -> None:
    assert _from_code(function(annotation, {}, late=True))[0].context is means
    assert signature_of(functools.partial(function(annotation, {}, late=True))).parameters[0].context is means


def test_a_local_alias_is_found_through_the_closure() -> None:
    ctx_type = Context[int]

    def fn(c: "ctx_type | None") -> object:
        return ctx_type

    assert signature_of(fn).parameters[0].context


def test_asking_runs_no_code_of_the_user() -> None:
    space = {**SPACE, "boom": mock.Mock(side_effect=AssertionError), "Boom": type("Boom", (), {})}

    for text in ("boom()", "boom().Context", "Boom.Context.attribute", "Context[boom()]", "Context if boom() else int"):
        signature_of(function(repr(text), space, late=False))

    assert signature_of(function("Context[boom()]", space, late=True)).parameters[0].context


def test_the_annotations_of_every_kind_of_callable_are_read() -> None:
    class Stateful:
        def __init__(self, c: "Context[int]") -> None: ...

        def __call__(self, c: "Context[int]") -> None: ...

        def method(self, c: "Context[int]") -> None: ...

    def fn(a: int, c: "Context[int]") -> None: ...

    @functools.wraps(fn)
    def wrapped(*args: Any) -> None:
        fn(*args)

    callables: list[Any] = [
        Stateful,
        Stateful(Context(0)),
        Stateful(Context(0)).method,
        functools.partial(fn, 1),
        wrapped,
    ]

    assert [[p.context for p in signature_of(each).parameters][-1] for each in callables] == [True] * 5


def test_a_signature_without_a_function_behind_it() -> None:
    class Foreign:
        __call__ = len
        __signature__ = inspect.Signature(
            [inspect.Parameter("c", inspect.Parameter.KEYWORD_ONLY, annotation="Context")]
        )

    assert signature_of(Foreign()).parameters == (Parameter("c", True, EMPTY, True, False, keyword_only=True),)  # noqa: FBT003


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of 3.12")
def test_the_type_statement() -> None:
    space = dict(SPACE)
    exec("type Ctx = Context[int]\ntype Gen[T] = Context[T]\ntype No = int\ntype Rec = Rec", space)
    found = {
        name: _from_code(function(name, space, late=False))[0].context for name in ("Ctx", "Gen[int]", "No", "Rec")
    }

    assert found == {"Ctx": True, "Gen[int]": True, "No": False, "Rec": False}


# -- built-ins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fn,required",
    [(len, ["obj"]), (sorted, ["iterable"]), (abs, ["x"]), (operator.add, ["a", "b"]), ([].append, ["object"])],
)
def test_builtins_that_tell_what_they_take(fn: Callable[..., Any], required: list[str]) -> None:
    assert [each.name for each in signature_of(fn).parameters if each.required] == required


def test_builtins_that_do_not_must_have_their_values_bound() -> None:
    with pytest.raises(TypeError, match=r"'int' does not say what it takes: bind its values, Task\(int, …\), or wrap"):
        Task(int)

    assert Task(int, "12")() == Task(functools.partial(int, "12"))() == 12
    made: Task[..., Any] = Task(dict, a=1)
    assert made(b=2) == {"a": 1, "b": 2}

"""Resources as definitions: what can be one, what its parameters may be, and what stands in their place until a run."""

import contextlib
import copy
import functools
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

import pytest

import orch
from orch import Context, DefinitionError, Resource, resource, task
from orch.definition import Use


@resource
async def database() -> AsyncIterator[str]:
    yield "connection"


@task
async def load(rows: int, connection: str = orch.use(database)) -> str:
    return f"{rows} into {connection}"


class Plain:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class Async:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Maker:
    async def __call__(self) -> AsyncIterator[int]:
        yield 1


FACTORIES: list[tuple[Callable[..., Any], bool]] = [
    (generator, False),
    (async_generator, True),
    (functools.partial(async_generator), True),
    (Maker(), True),
    (contextlib.contextmanager(generator), False),
    (contextlib.asynccontextmanager(async_generator), True),
    (Plain, False),
    (Async, True),
    (lambda: [Plain()][0], False),
    (lambda: [Async()][0], False),  # nobody knows before it is called
]


# -- what can be one ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factory", "on_loop"), FACTORIES, ids=range(len(FACTORIES)))
def test_a_resource_is_made_of_anything_that_makes_a_context_manager(
    factory: Callable[..., Any], on_loop: bool
) -> None:
    made = Resource[Any](factory)
    assert (made.fn, made.scope, made.on_loop) == (factory, "run", on_loop)


def test_the_decorator_takes_options() -> None:
    @resource(name="pool", scope="runner")
    def whatever() -> Iterator[int]:
        yield 1

    assert (whatever.name, whatever.scope, repr(whatever)) == ("pool", "runner", "<Resource 'pool'>")
    assert (database.name, database.scope) == ("database", "run")


def test_calling_a_resource_calls_the_factory() -> None:
    def number(value: int = 1) -> Iterator[int]:
        yield value

    assert list(resource(number)(5)) == [5]


def test_copies_of_a_resource_are_the_resource() -> None:
    assert copy.copy(database) is database
    assert copy.deepcopy([database])[0] is database
    assert pickle.loads(pickle.dumps(load)).signature.parameters[1].default.resource is database


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Plain(), r"resource: expected a factory, found Plain .*the class, not one"),
        (5, "resource: expected a factory, found int"),
        (load, "resource: expected a factory, found Task"),
        (database, "resource: expected a factory, found Resource"),
        (generator(), "resource: expected a factory, found generator"),
        (load.fn, "resource 'load': expected a generator function, found a coroutine one: let it yield the value"),
    ],
)
def test_what_makes_no_context_manager_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Resource[Any](wrong)


def test_a_coroutine_is_refused_and_closed() -> None:
    wrong: Any = load(1)
    with pytest.raises(TypeError, match="resource: expected a factory, found coroutine"):
        Resource[Any](wrong)


def test_wrong_options_are_refused() -> None:
    wrong: Any = "session"
    with pytest.raises(ValueError, match="scope: expected 'run' or 'runner', found 'session'"):
        resource(generator, scope=wrong)
    with pytest.raises(ValueError, match="name"):
        resource(generator, name="")


# -- what it takes -----------------------------------------------------------------------------------------------------


def test_a_resource_uses_others_and_leaves_its_other_defaults_alone() -> None:
    @resource
    async def session(
        size: int = 3, connection: str = orch.use(database), *rest: int, **more: int
    ) -> AsyncIterator[str]:
        yield f"{connection} {size} {rest} {more}"

    assert session.uses == (("connection", database),)
    made: Any = session.factory({"connection": "open"}, None)
    assert (made.func, made.args, made.keywords) == (session.fn, (3, "open"), {})


def test_a_resource_may_take_the_context() -> None:
    @resource
    def needy(context: Context[Any]) -> Iterator[Any]:
        yield context.data

    @resource
    def modest(context: Context[Any] | None = None) -> Iterator[Any]:
        yield context

    @resource
    def indirect(it: Any = orch.use(needy)) -> Iterator[Any]:
        yield it

    assert (needy.needs_context, modest.needs_context, indirect.needs_context) == (True, False, True)
    context = Context(5)
    assert list(needy.factory({}, context)()) == [5]
    assert list(modest.factory({}, context)()) == [context]
    assert list(modest.factory({}, None)()) == [None]


def test_a_parameter_that_nothing_fills_is_refused_with_what_is_allowed() -> None:
    def connect(url: str, *, retries: int) -> Iterator[int]:
        yield 1

    message = r"resource 'connect': nothing fills 'url', 'retries'; give them defaults, orch\.use\(another_resource\)"
    with pytest.raises(TypeError, match=message):
        resource(connect)
    assert resource(functools.partial(connect, "url", retries=1)).name == "connect"


def test_what_lasts_longer_does_not_use_what_lasts_shorter() -> None:
    def pool(connection: str = orch.use(database)) -> Iterator[str]:
        yield connection

    def told(context: Context[Any]) -> Iterator[Any]:
        yield context

    with pytest.raises(DefinitionError, match=r"'pool' has the scope of a runner and uses resource 'database'"):
        resource(pool, scope="runner")
    with pytest.raises(DefinitionError, match=r"'told' has the scope of a runner and uses the Context"):
        resource(told, scope="runner")


# -- what stands in its place ------------------------------------------------------------------------------------------


def test_use_is_for_resources_only() -> None:
    wrong: Any = async_generator
    with pytest.raises(TypeError, match=r"use: expected a resource, found function .*@orch\.resource"):
        orch.use(wrong)


def test_a_plain_call_says_what_is_missing() -> None:
    mark: Any = orch.use(database)
    assert isinstance(mark, Use)
    assert repr(mark) == "use(database)"
    with pytest.raises(AttributeError, match=r"resource 'database' is opened by runs only.*'execute'") as raised:
        mark.execute("select 1")
    assert raised.value.name == "execute"
    assert not hasattr(mark, "__len__")
    assert copy.deepcopy(mark).resource is database


def test_a_value_that_is_passed_needs_no_run() -> None:
    assert orch.Runner().run(load.bind(connection="fake"), rows=2).value == "2 into fake"

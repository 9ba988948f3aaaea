"""Checks 5 to 17: what a run refuses before it starts, and how single steps are called."""

import asyncio
import contextvars
import functools
import os
import pickle
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import AsyncRunner, Event, Graph, Parallel, Runner, Sequence, Task
from orch.errors import InputError, OutputError
from orch.plan import compile  # noqa: A004 (what the runner calls)
from tests.runners.truth import PATIENCE, settle, started, states

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


async def later(value: Any) -> Any:
    await anyio.lowlevel.checkpoint()
    return value


# -- 5 to 10: before anything starts -----------------------------------------------------------------------------------


async def a(d: None) -> None: ...
async def b(d: None) -> None: ...
async def c(b: None) -> None: ...
async def d() -> None: ...


async def test_check_05_dependencies_first_declaration_order_otherwise() -> None:
    orders: list[tuple[Any, ...]] = [(a, b, c, d), (d, c, b, a), (c, a, d, b)]
    expected = [["d", "a", "b", "c"], ["d", "b", "c", "a"], ["d", "a", "b", "c"]]
    for functions, order in zip(orders, expected, strict=True):
        graph = Graph(*functions)
        assert compile(graph).order() == order
        assert started((await settle(graph, runner=AsyncRunner(limit=1))).trace)[0] == "d"
        assert started((await settle(graph)).trace) == started((await settle(Graph(*functions))).trace)


@pytest.mark.parametrize("wrong", [1, None, "step", [len], object()], ids=str)
@pytest.mark.parametrize("kind", [Sequence, Parallel, Graph])
def test_check_06_what_is_no_step_is_refused_at_construction(kind: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"^step 2 of {kind.__name__}: expected a callable or a workflow as a step"):
        kind(a, wrong)


async def test_check_07_a_missing_input_is_found_before_anything_starts() -> None:
    calls: list[str] = []
    heard: list[Event] = []

    async def first() -> None:
        calls.append("first")

    async def second(rows: int, *, url: str, limit: int = 3) -> None:
        calls.append("second")

    for workflow in (Sequence(first, Task(second, rows=1)), Graph(first, Parallel(Sequence(Task(second, rows=1))))):
        with pytest.raises(InputError) as caught:
            await orch.run(workflow, subscribers=[heard.append])
        assert (caught.value.missing, caught.value.unexpected, caught.value.known) == (("url",), (), ("url", "limit"))
        assert str(caught.value).startswith("missing input: 'url'; inputs: 'url', 'limit'")
        assert "'url' is asked for by task '" in str(caught.value)
    assert (calls, heard) == ([], [])


async def test_check_08_a_default_is_used_where_nothing_provides() -> None:
    async def step(rows: int = 3, *, mode: str | None = None) -> tuple[int, str | None]:
        return rows, mode

    assert (await settle(step)).value == (3, None)
    assert (await settle(step, mode="w")).value == (3, "w")
    assert (await settle(Graph(step, name="g"), {"rows": 1})).value == {"step": (1, None)}


async def test_check_09_runs_of_one_definition_are_independent_also_at_once() -> None:
    meet = Meeting(3)

    async def load(x: int) -> list[int]:
        await meet.everybody()
        return [x]

    async def double(load: list[int]) -> list[int]:
        load.append(load[0] * 2)
        return load

    graph = Graph(load, double)
    before = hash(graph), repr(graph)
    results: list[orch.RunResult] = []

    async def one(x: int) -> None:
        results.append(await settle(graph, x=x))

    async with anyio.create_task_group() as group:
        for x in range(3):
            group.start_soon(one, x)
    assert sorted(result["double"] for result in results) == [[0, 0], [1, 2], [2, 4]]
    assert len({result.run_id for result in results}) == 3
    meet.open()
    assert (await settle(graph, x=7))["double"] == [7, 14]
    assert (hash(graph), repr(graph)) == before
    assert graph == Graph(load, double)


async def test_check_09_a_definition_is_unchanged_by_its_runs() -> None:
    graph = Graph(d, a, Sequence(b, name="s"))
    before = pickle.dumps(graph)
    await settle(graph)
    await settle(graph)

    assert pickle.dumps(graph) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sequence(limit=0), "limit: expected at least 1, found 0"),
        (lambda: Parallel(limit=-1), "limit: expected at least 1, found -1"),
        (lambda: Graph(limit=0), "limit: expected at least 1, found 0"),
        (lambda: Sequence(on_failure="give up"), "unknown failure strategy: .*'abort', 'continue'.*found 'give up'"),
        (lambda: AsyncRunner(limit=0), "limit: expected at least 1"),
        (lambda: AsyncRunner(threads=0), "threads: expected at least 1"),
        (lambda: AsyncRunner(grace=-1), "grace: expected"),
        (lambda: AsyncRunner(grace=float("nan")), "grace: expected"),
        (lambda: Runner(limit=0), "limit: expected at least 1"),
        (lambda: Runner(backend="curio"), "backend: expected 'asyncio' or 'trio', found 'curio'"),
    ],
    ids=["Sequence", "Parallel", "Graph", "strategy", "runner limit", "threads", "grace", "nan", "Runner", "backend"],
)
def test_check_10_wrong_values_are_refused_at_construction(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# -- 11 and 12: where bodies run ---------------------------------------------------------------------------------------


class Meeting:
    """A place where so many coroutines wait for each other."""

    def __init__(self, size: int) -> None:
        self.missing = size
        self.all_here = anyio.Event()

    def open(self) -> None:
        self.all_here.set()

    async def everybody(self) -> None:
        self.missing -= 1
        if self.missing == 0:
            self.all_here.set()
        await self.all_here.wait()


async def test_check_11_plain_and_async_functions_mix_and_plain_ones_leave_the_loop_alone() -> None:
    loop_thread = threading.get_ident()

    def plain(x: int) -> tuple[int, bool]:
        return x + 1, threading.get_ident() == loop_thread

    async def coroutine(plain: tuple[int, bool]) -> tuple[int, bool]:
        await anyio.lowlevel.checkpoint()
        return plain[0] + 1, threading.get_ident() == loop_thread

    def in_place(coroutine: tuple[int, bool]) -> tuple[int, bool]:
        return coroutine[0] + 1, threading.get_ident() == loop_thread

    result = await settle(Graph(plain, coroutine, Task(in_place, thread=False)), x=0)
    assert result.value == {"plain": (1, False), "coroutine": (2, True), "in_place": (3, True)}


async def test_check_11_sync_and_async_give_the_same() -> None:
    def plain(x: int) -> int:
        return x + 1

    async def coroutine(x: int) -> int:
        return x + 1

    steps = [(plain, coroutine, Task(plain, thread=False))[k % 3] for k in range(30)]
    assert (await settle(Sequence(*steps), x=0)).value == list(range(1, 31))
    assert (await settle(Parallel(*steps), x=0)).value == [1] * 30


async def test_check_12_plain_functions_block_threads_and_not_the_loop() -> None:
    """The loop lets them go: were it blocked, or were they one after another, nobody would come to that."""
    together = threading.Barrier(4)

    def step() -> bool:
        return together.wait(PATIENCE) >= 0

    async def let_them_go() -> None:
        while together.n_waiting < 3:  # noqa: ASYNC110 (it is threads that wait)
            await anyio.sleep(0.001)
        together.wait(PATIENCE)

    async with anyio.create_task_group() as group:
        group.start_soon(let_them_go)
        assert (await settle(Parallel(step, step, step))).value == [True, True, True]


async def test_check_12_three_that_sleep_take_as_long_as_one() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.005)
            ticks += 1

    def step() -> None:
        time.sleep(0.2)

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        begin = time.perf_counter()
        await settle(Parallel(step, step, step))
        took = time.perf_counter() - begin
        group.cancel_scope.cancel()
    assert 0.2 <= took < 0.55
    assert ticks > 5


async def test_check_12_no_more_threads_than_allowed() -> None:
    lock = threading.Lock()
    active = most = 0

    def step() -> None:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        time.sleep(0.002)
        with lock:
            active -= 1

    await settle(Parallel(*[step] * 20), runner=AsyncRunner(threads=3))
    assert most <= 3


# -- 13: what is awaited -----------------------------------------------------------------------------------------------


class Called:
    async def __call__(self) -> Any:
        return await later("called")

    async def method(self) -> Any:
        return await later("method")


class Awaitable_:  # noqa: N801 (the other one is taken)
    def __await__(self) -> Generator[Any, Any, str]:
        return later("awaitable").__await__()


def returning_a_coroutine() -> Awaitable[Any]:
    return later("coroutine")


def returning_an_awaitable() -> Awaitable[str]:
    return Awaitable_()


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (returning_a_coroutine, "coroutine"),
        (returning_an_awaitable, "awaitable"),
        (lambda: later("lambda"), "lambda"),
        (Called(), "called"),
        (Called().method, "method"),
        (functools.partial(later, "partial"), "partial"),
        (functools.partial(functools.partial(later), value="partial of a partial"), "partial of a partial"),
        (functools.partial(returning_a_coroutine), "coroutine"),
    ],
    ids=[
        "def giving a coroutine", "def giving an awaitable", "lambda", "object", "method", "partial",
        "partial of a partial", "partial of def",
    ],
)  # fmt: skip
@pytest.mark.parametrize("thread", [None, False])
async def test_check_13_what_can_be_awaited_is_awaited(fn: Any, expected: str, thread: bool | None) -> None:
    assert (await settle(Task(fn, thread=thread))).value == expected
    assert (await settle(Sequence(Task(fn, thread=thread), later))).value == [expected, expected]


async def test_check_13_an_awaited_function_that_fails_fails_like_any() -> None:
    error = ValueError("late")

    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    result = await settle(Task(lambda: fail(), name="step"))  # noqa: PLW0108 (the point: plain, giving a coroutine)
    assert result.errors == (error,)
    assert error.__notes__ == ["in task 'step', attempt 1"]


async def test_check_13_what_a_plain_function_returns_is_awaited_on_the_loop(anyio_backend_name: str) -> None:
    threads: list[int] = []

    async def rest() -> None:
        await anyio.lowlevel.checkpoint()
        threads.append(threading.get_ident())

    def step() -> Awaitable[None]:
        threads.append(threading.get_ident())
        return rest()

    await settle(step)
    assert threads[0] != threads[1] == threading.get_ident()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_check_13_a_future_of_asyncio_is_awaited() -> None:
    async def step() -> int:
        return 1

    assert (await settle(Task(lambda: asyncio.ensure_future(step()), name="step", thread=False))).value == 1


# -- 14: context variables ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["coroutine", "thread", "in place"])
async def test_check_14_a_step_sees_the_callers_variables_and_keeps_its_own_to_itself(kind: str) -> None:
    def plain() -> str:
        found = colour.get()
        colour.set("mine")
        return found

    async def coroutine() -> str:
        found = plain()
        await anyio.lowlevel.checkpoint()
        assert colour.get() == "mine"
        return found

    step = Task(coroutine if kind == "coroutine" else plain, thread=False if kind == "in place" else None, name="step")
    colour.set("callers")

    assert (await settle(Sequence(*[step] * 5))).value == ["callers"] * 5
    assert (await settle(Parallel(*[step] * 5))).value == ["callers"] * 5
    assert colour.get() == "callers"


async def test_check_14_a_variable_set_before_an_awaited_rest_is_kept_for_it() -> None:
    async def rest() -> str:
        await anyio.lowlevel.checkpoint()
        return colour.get()

    def step() -> Awaitable[str]:
        colour.set("mine")
        return rest()

    assert (await settle(Sequence(step, lambda: colour.get()))).value == ["mine", "none"]  # noqa: PLW0108 (get has no signature)


async def test_check_14_two_runs_at_once_see_each_its_callers() -> None:
    meet = Meeting(2)

    async def step() -> str:
        await meet.everybody()
        return colour.get()

    found: dict[str, Any] = {}

    async def call(name: str) -> None:
        colour.set(name)
        found[name] = (await settle(Sequence(step, lambda: colour.get(), step))).value  # noqa: PLW0108

    async with anyio.create_task_group() as group:
        group.start_soon(call, "red")
        group.start_soon(call, "blue")
    assert found == {"red": ["red"] * 3, "blue": ["blue"] * 3}


# -- 15 to 17 ----------------------------------------------------------------------------------------------------------


async def test_check_15_a_decorated_task_called_directly_is_the_plain_function() -> None:
    heard: list[Event] = []
    calls: list[int] = []

    @orch.task(name="renamed", retain=False)
    def plain(x: int) -> int:
        calls.append(x)
        return x + 1

    @orch.task
    async def coroutine(x: int) -> int:
        return x + 1

    orch.event_bus.subscribe(heard.append)
    try:
        assert (plain(1), await coroutine(2), plain.bind(x=3)()) == (2, 3, 4)
    finally:
        orch.event_bus.unsubscribe(heard.append)
    assert (calls, heard) == ([1, 3], [])


class Loader:
    async def load(self) -> None: ...

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (functools.partial(later, 1), "later"),
        (functools.partial(functools.partial(later, 1)), "later"),
        (Loader().load, "load"),
        (Loader(), "Loader"),
        (lambda: None, "lambda"),
        (Loader, "Loader"),
        (os.getpid, "getpid"),
    ],
    ids=["partial", "partial of a partial", "method", "object", "lambda", "class", "builtin"],
)
async def test_check_16_every_callable_has_a_usable_name(fn: Any, name: str) -> None:
    result = await settle(Parallel(fn, Task(fn, name="own")))
    assert states(result) == {name: "succeeded", "own": "succeeded"}


@pytest.mark.parametrize("kind", ["coroutine", "thread", "in place"])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        ((1, 2, 3), "3 values"),
        ((1,), "1 values"),
        ((), "0 values"),
        (1, "a int"),
        (None, "a NoneType"),
        ("xy", "a str"),
    ],
    ids=repr,
)
async def test_check_17_outputs_that_do_not_come_fail_the_task(kind: str, value: Any, found: str) -> None:
    async def coroutine() -> Any:
        return value

    fn: Any = coroutine if kind == "coroutine" else lambda: value
    pair = Task(fn, name="pair", output=("a", "b"), thread=False if kind == "in place" else None)
    result = await settle(Graph(pair, Task(later, name="reader", value=0, deps=["pair"])))

    assert states(result) == {"pair": "failed", "reader": "skipped"}
    (error,) = result.errors
    assert isinstance(error, OutputError)
    assert (error.task, error.outputs, error.found) == ("pair", ("a", "b"), found)
    assert f"task 'pair': expected 2 outputs ('a', 'b'), got {found}" in str(error)


async def test_check_17_outputs_that_come_are_told_apart() -> None:
    for value in ((1, 2), [1, 2]):
        result = await settle(Graph(Task(later, value=value, name="pair", output=("a", "b")), swap))
        assert (result.value, result["pair"]) == ({"a": 1, "b": 2, "swap": (2, 1)}, (1, 2))


async def swap(a: int, b: int) -> tuple[int, int]:
    return b, a

"""Resources in runs: opened once, by whom and when; closed in which order, and whatever happens; what goes wrong."""

import contextlib
import functools
import gc
import threading
import time
import traceback
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import (
    AsyncRunner,
    Context,
    FailureStrategy,
    Graph,
    Parallel,
    Resource,
    Retry,
    Sequence,
    State,
    Task,
    TaskTimeoutError,
    WorkflowError,
    resource,
)
from orch.errors import ForeignCancellationError
from orch.event import LogEvent, RunEvent, TaskEvent
from tests.execution.resilient import settle, virtual


class Diary:
    """What resources have done, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def make(self, name: str, *, waits: int = 1, **wrong: Any) -> Resource[str]:
        """A resource that says when it is opened and closed, and takes so many turns of the loop for each."""

        @resource(name=name)
        async def made() -> AsyncIterator[str]:
            for _ in range(waits):
                await checkpoint()
            self.lines.append(f"open {name}")
            try:
                yield name
            finally:
                self.lines.append(f"leave {name}")
                with anyio.CancelScope(shield=True):
                    for _ in range(waits):
                        await checkpoint()
                self.lines.append(f"close {name}")

        return made


@pytest.fixture
def diary() -> Diary:
    return Diary()


def using(made: Resource[Any], name: str = "step", body: Callable[[Any], Any] | None = None, **options: Any) -> Any:
    """A step that uses a resource; its value is that of the resource."""

    async def step(it: Any = orch.use(made)) -> Any:
        await checkpoint()
        return it if body is None else await body(it)

    return Task(step, name=name, **options)


def broken(error: BaseException, *, at: str) -> Resource[str]:
    """A resource that fails while it is opened, or closed."""

    @resource
    async def it() -> AsyncIterator[str]:
        await checkpoint()
        if at == "open":
            raise error
        yield "value"
        await checkpoint()
        raise error

    return it


# -- opened ------------------------------------------------------------------------------------------------------------


async def test_a_resource_is_opened_once_for_all_who_ask_at_once(diary: Diary) -> None:
    made = diary.make("db", waits=3)
    result = await settle(Parallel(*(using(made, f"s{i}") for i in range(10))))
    assert result.value == ["db"] * 10
    assert diary.lines == ["open db", "leave db", "close db"]


async def test_what_no_step_asks_for_is_not_opened(diary: Diary) -> None:
    made, other = diary.make("db"), diary.make("other")

    async def fail() -> None:
        raise ValueError("before")

    await settle(Sequence(fail, using(made)))
    await settle(using(other).bind(it="fake"))
    assert diary.lines == []


async def test_it_is_opened_when_the_first_step_that_asks_for_it_begins(diary: Diary) -> None:
    made = diary.make("db")

    async def note(text: str) -> None:
        diary.lines.append(text)

    await settle(Sequence(Task(note, "first"), using(made), Task(note, "last")))
    assert diary.lines == ["first", "open db", "last", "leave db", "close db"]


async def test_plain_functions_use_them_in_threads_and_in_place(diary: Diary) -> None:
    made = diary.make("db")

    def step(it: str = orch.use(made)) -> tuple[str, bool]:
        return it, threading.current_thread() is threading.main_thread()

    result = await settle(Parallel(step, Task(step, name="placed", thread=False)))
    assert result.value == [("db", False), ("db", True)]


async def test_keywords_several_and_the_same_one_twice(diary: Diary) -> None:
    one, two = diary.make("one"), diary.make("two")

    async def step(a: str = orch.use(one), *, b: str = orch.use(two), c: str = orch.use(one)) -> str:
        return a + b + c

    assert (await settle(step)).value == "onetwoone"
    assert diary.lines == ["open one", "open two", "leave two", "close two", "leave one", "close one"]


async def test_every_run_has_its_own(diary: Diary) -> None:
    step = using(diary.make("db"))
    for _ in range(2):
        await settle(step)
    assert diary.lines == ["open db", "leave db", "close db"] * 2


async def test_a_step_in_a_nested_run_of_its_own_has_its_own(diary: Diary) -> None:
    made = diary.make("db")

    async def nest(it: str) -> Any:
        return (await orch.run(using(made))).value

    assert (await settle(using(made, body=nest))).value == "db"
    assert diary.lines.count("open db") == 2


async def test_a_limit_of_one_is_no_obstacle(diary: Diary) -> None:
    outer = functools.partial(using, diary.make("db"))
    assert (await settle(Parallel(outer("a"), outer("b"), limit=1))).value == ["db", "db"]


# -- in order ----------------------------------------------------------------------------------------------------------


async def test_the_last_to_be_opened_is_closed_first(diary: Diary) -> None:
    slow, fast = diary.make("slow", waits=9), diary.make("fast", waits=1)
    await settle(Parallel(using(slow, "a"), using(fast, "b")))
    assert diary.lines == ["open fast", "open slow", "leave slow", "close slow", "leave fast", "close fast"]


async def test_a_resource_uses_others(diary: Diary) -> None:
    base, other = diary.make("base", waits=4), diary.make("other")

    @resource
    async def above(a: str = orch.use(base), b: str = orch.use(other)) -> AsyncIterator[str]:
        diary.lines.append("open above")
        yield f"above {a}, {b}"
        diary.lines.append("close above")

    result = await settle(Parallel(using(above, "a"), using(base, "b")))
    assert result.value == ["above base, other", "base"]
    assert diary.lines[:3] == ["open base", "open other", "open above"]
    assert [line for line in diary.lines if line[:5] == "close"] == ["close above", "close other", "close base"]


async def test_everything_is_closed_before_the_last_event(diary: Diary) -> None:
    def hear(event: orch.Event) -> None:
        if isinstance(event, RunEvent):
            diary.lines.append(event.state.value)

    await settle(using(diary.make("db")), subscribers=[hear])
    assert diary.lines == ["running", "open db", "leave db", "close db", "succeeded"]


async def test_it_is_open_for_compensations_and_closed_after_them(diary: Diary) -> None:
    made, late = diary.make("db"), diary.make("late")

    async def undo(value: str, link: str = orch.use(made), more: str = orch.use(late)) -> None:
        await checkpoint()
        diary.lines.append(f"undo {value} with {link}, {more}")

    async def fail() -> None:
        raise ValueError("no")

    steps = Sequence(using(made, compensate=undo), fail, on_failure="compensate")
    result = await settle(steps)
    assert result.state is State.FAILED
    assert result.tasks["step"].state is State.COMPENSATED
    assert diary.lines[:3] == ["open db", "open late", "undo db with db, late"]
    assert diary.lines[3:] == ["leave late", "close late", "leave db", "close db"]


async def test_a_compensation_in_a_thread_uses_what_its_task_does_not(diary: Diary) -> None:
    made = diary.make("db")

    def undo(value: str, link: str = orch.use(made)) -> None:
        diary.lines.append(f"undo {value} with {link}")

    async def fail() -> None:
        raise ValueError("no")

    await settle(Sequence(Task(lambda: "it", name="done", compensate=undo), fail, on_failure="compensate"))
    assert diary.lines == ["open db", "undo it with db", "leave db", "close db"]


async def test_a_compensation_of_a_cancelled_run_opens_what_it_needs(diary: Diary) -> None:
    made, begun = diary.make("db"), anyio.Event()

    async def undo(value: str, link: str = orch.use(made)) -> None:
        await checkpoint()
        diary.lines.append(f"undo {value} with {link}")

    async def hang() -> None:
        begun.set()
        await anyio.sleep(3600)

    first = Task(lambda: "it", name="first", thread=False, compensate=undo)
    async with anyio.create_task_group() as group:
        group.start_soon(orch.run, Sequence(first, hang, on_failure="compensate"))
        await begun.wait()
        group.cancel_scope.cancel()
    assert diary.lines == ["open db", "undo it with db", "leave db", "close db"]


async def test_the_function_of_a_question_uses_them(diary: Diary) -> None:
    made = diary.make("db")

    def question(it: str = orch.use(made)) -> str:
        return f"use {it}?"

    workflow = orch.Interrupt("approve", question)
    result = await orch.run(workflow, handlers={"approve": lambda asked: f"yes, {asked}"})
    assert result.value == "yes, use db?"
    paused = await orch.run(workflow, raise_on_failure=False)
    assert (paused.state, paused.pauses[0].question) == (State.PAUSED, "use db?")
    assert diary.lines == ["open db", "leave db", "close db"] * 2


async def test_a_task_with_a_resource_is_cached_only_if_it_says_so(diary: Diary) -> None:
    made = diary.make("db")
    runner = AsyncRunner(cache=orch.MemoryCache())
    for cached, times in ((None, 2), (True, 1)):
        diary.lines.clear()
        for _ in range(2):
            await runner.run(using(made, cache=cached))
        assert diary.lines == ["open db", "leave db", "close db"] * times


# -- in a task of its own ----------------------------------------------------------------------------------------------


async def test_cancel_scopes_and_task_groups_live_in_a_resource() -> None:
    beats: list[int] = []

    @resource
    async def heart() -> AsyncIterator[list[int]]:
        async def beat() -> None:
            while True:
                beats.append(len(beats))
                await checkpoint()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(beat)
                yield beats
                group.cancel_scope.cancel()

    async def wait_for_beats(beats: list[int]) -> int:
        while len(beats) < 5:
            await checkpoint()
        return len(beats)

    steps = Parallel(*(using(heart, f"s{i}", wait_for_beats) for i in range(3)))
    result = await settle(Sequence(steps, using(heart, "later", wait_for_beats)))
    assert result.state is State.SUCCEEDED
    assert len(beats) >= 5


async def test_what_a_resource_does_to_context_variables_no_step_sees() -> None:
    variable = ContextVar("variable", default="outside")

    @resource
    async def sets() -> AsyncIterator[str]:
        before = variable.get()
        token = variable.set("inside")
        yield before
        variable.reset(token)  # the same context, all along

    async def look(_: str) -> str:
        return variable.get()

    variable.set("of the caller")
    result = await settle(Sequence(using(sets, "a"), using(sets, "b", look)))
    assert result.value == ["of the caller", "of the caller"]


async def test_a_plain_one_is_entered_and_left_in_one_thread_that_is_no_step_s(diary: Diary) -> None:
    threads: list[threading.Thread] = []

    @resource
    def plain() -> Iterator[str]:
        threads.append(threading.current_thread())
        yield "value"
        threads.append(threading.current_thread())

    assert (await settle(using(plain))).value == "value"
    assert threads[0] is threads[1]
    assert threads[0].name == "orch-resource-plain"
    assert threads[0] is not threading.current_thread()


class Manager:
    def __enter__(self) -> str:
        return "entered"

    def __exit__(self, *_: object) -> None: ...


class AsyncManager:
    async def __aenter__(self) -> str:
        await checkpoint()
        return "entered"

    async def __aexit__(self, *_: object) -> None:
        await checkpoint()


@contextlib.asynccontextmanager
async def made_async() -> AsyncIterator[str]:
    yield "entered"


@contextlib.contextmanager
def made_plain() -> Iterator[str]:
    yield "entered"


def returns_async() -> AsyncManager:
    assert threading.current_thread() is not threading.main_thread()
    return AsyncManager()


async def _generated() -> AsyncIterator[str]:
    yield "entered"


FACTORIES: list[Callable[..., Any]] = [
    Manager,
    AsyncManager,
    made_async,
    made_plain,
    returns_async,
    functools.wraps(made_plain)(lambda: [Manager()][0]),
    functools.wraps(returns_async)(lambda: [_generated()][0]),
]


@pytest.mark.parametrize("factory", FACTORIES, ids=range(len(FACTORIES)))
async def test_any_context_manager_will_do(factory: Callable[..., Any]) -> None:
    assert (await settle(using(Resource[Any](factory, name="any")))).value == "entered"


async def test_a_resource_gets_the_context_of_the_run() -> None:
    @resource
    async def told(context: Context[dict[str, int]]) -> AsyncIterator[int]:
        context.log("opened")
        assert context.task is None
        yield context.data["value"]
        context.log("closed", "warning")

    result = await settle(using(told), Context({"value": 7}))
    assert result.value == 7
    logs = [(event.path, event.level, event.message) for event in result.trace if isinstance(event, LogEvent)]
    assert logs == [("", "info", "opened"), ("", "warning", "closed")]
    assert isinstance(result.trace[-1], RunEvent)


async def test_a_result_keeps_nothing_of_what_was_closed() -> None:
    class Connection: ...

    @resource
    async def made() -> AsyncIterator[Connection]:
        yield Connection()

    async def watch(it: Connection) -> Any:
        return weakref.ref(it)

    async def undo(value: Any) -> None: ...

    result = await settle(using(made, body=watch, compensate=undo))
    gc.collect()
    assert result.value() is None


# -- failures while opening --------------------------------------------------------------------------------------------


async def test_what_opening_raises_fails_every_step_that_asks() -> None:
    error = ConnectionError("no route")
    made = broken(error, at="open")

    async def other() -> str:
        return "fine"

    result = await settle(
        Sequence(Parallel(using(made, "a"), using(made, "b"), on_failure="continue"), using(made, "late"), other,
                 on_failure="continue")
    )  # fmt: skip
    failed = {path: record.error for path, record in result.tasks.items() if record.state is State.FAILED}
    assert failed == {"parallel/a": error, "parallel/b": error, "late": error}
    assert result["other"] == "fine"
    notes = error.__notes__
    assert "while resource 'it' was opened" in notes
    assert any("'late'" in note for note in notes)


async def test_the_traceback_of_a_shared_error_leads_to_the_resource_and_does_not_grow() -> None:
    made = broken(ConnectionError("no route"), at="open")
    result = await settle(Parallel(*(using(made, f"s{i}") for i in range(50)), on_failure="continue"))
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(result.errors[0].__traceback__)]
    assert "it" in frames
    assert len(frames) < 20


async def test_a_failed_opening_is_not_repeated_unless_a_step_tries_again() -> None:
    openings: list[int] = []

    @resource
    async def moody() -> AsyncIterator[str]:
        openings.append(len(openings))
        await checkpoint()
        if len(openings) < 3:
            raise ConnectionError(len(openings))
        yield "at last"

    once = Parallel(*(using(moody, f"s{i}") for i in range(3)), on_failure="continue")
    patient = using(moody, "patient", retry=Retry(3, delay=0))
    result = await settle(Sequence(once, using(moody, "again"), patient, using(moody, "after"), on_failure="continue"))
    assert result.tasks["again"].state is State.FAILED
    assert len(openings) == 3
    assert result["patient"] == result["after"] == "at last"
    assert result.tasks["patient"].attempts == 3


async def test_what_it_uses_is_opened_anew_as_well() -> None:
    openings: list[str] = []

    @resource
    async def base() -> AsyncIterator[str]:
        openings.append("base")
        if len(openings) < 2:
            raise ConnectionError
        yield "base"

    @resource
    async def above(it: str = orch.use(base)) -> AsyncIterator[str]:
        openings.append("above")
        yield it

    result = await settle(using(above, retry=Retry(2, delay=0)))
    assert (result.value, openings) == ("base", ["base", "base", "above"])


async def test_what_a_resource_uses_fails_it() -> None:
    error = ConnectionError("base")
    base = broken(error, at="open")

    @resource
    async def above(it: str = orch.use(base)) -> AsyncIterator[str]:
        assert not it, "never opened"
        yield it

    result = await settle(Parallel(using(above, "a"), using(base, "b"), on_failure="continue"))
    assert [record.error for record in result.tasks.values()] == [error, error]
    assert {"while resource 'it' was opened", "while resource 'above' was opened"} <= {*error.__notes__}


async def test_a_resource_that_failed_to_open_closes_what_it_had_opened_inside(diary: Diary) -> None:
    base = diary.make("base")

    @resource
    async def above(it: str = orch.use(base)) -> AsyncIterator[str]:
        if it:
            raise ValueError("no")
        yield it

    result = await settle(using(above))
    assert result.state is State.FAILED
    assert diary.lines == ["open base", "leave base", "close base"]


async def yields_nothing() -> AsyncIterator[str]:
    for nothing in list[str]():
        yield nothing


def yields_nothing_plainly() -> Iterator[str]:
    yield from ()


@pytest.mark.parametrize("factory", [yields_nothing, yields_nothing_plainly])
async def test_a_generator_that_yields_nothing(factory: Callable[..., Any]) -> None:
    with pytest.raises(WorkflowError) as raised:
        await orch.run(using(resource(factory)))
    assert (
        str(raised.value.exceptions[0])
        == f"resource {factory.__name__!r} yielded nothing: let it yield its value, once"
    )


async def yields_twice() -> AsyncIterator[str]:
    try:
        yield "one"
        yield "two"
    finally:
        await checkpoint()


def yields_twice_plainly() -> Iterator[str]:
    yield "one"
    yield "two"


@pytest.mark.parametrize("factory", [yields_twice, yields_twice_plainly])
async def test_a_generator_that_yields_twice(factory: Callable[..., Any]) -> None:
    with pytest.raises(WorkflowError, match="failed") as raised:
        await orch.run(using(resource(factory)))
    assert f"resource {factory.__name__!r} yielded a second time" in str(raised.value.exceptions[0])
    assert raised.value.result.value == "one"


class HalfAManager:
    async def __aenter__(self) -> None: ...


@pytest.mark.parametrize("factory", [lambda: 5, functools.partial(dict, a=1), HalfAManager], ids=range(3))
async def test_a_factory_of_no_context_manager(factory: Callable[..., Any]) -> None:
    with pytest.raises(WorkflowError) as raised:
        await orch.run(using(Resource[Any](factory, name="odd")))
    assert isinstance(raised.value.exceptions[0], TypeError)
    assert "resource 'odd': the factory gave" in str(raised.value.exceptions[0])


async def test_a_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    @resource
    async def odd() -> AsyncIterator[str]:
        caught: list[BaseException] = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await checkpoint()
            except anyio.get_cancelled_exc_class() as error:
                caught.append(error)
        for each in caught:
            raise each
        yield ""

    result = await settle(using(odd))
    assert isinstance(result.tasks["step"].error, ForeignCancellationError)


# -- failures while closing --------------------------------------------------------------------------------------------


async def test_what_closing_raises_fails_a_run_that_would_have_succeeded() -> None:
    error = ConnectionError("gone")
    result = await settle(using(broken(error, at="close")))
    assert (result.state, result.value, result.errors) == (State.FAILED, "value", (error,))
    assert result.tasks["step"].state is State.SUCCEEDED
    assert result.groups[""].state is State.FAILED
    assert error.__notes__ == ["while resource 'it' was closed"]
    last = result.trace[-1]
    assert isinstance(last, RunEvent)
    assert (last.state, last.error) == (State.FAILED, error)
    with pytest.raises(WorkflowError) as raised:
        result.raise_for_failure()
    assert raised.value.exceptions == (error,)


async def test_what_closing_raises_joins_the_errors_of_a_run_that_failed(diary: Diary) -> None:
    first, second, third = ValueError("first"), ConnectionError("second"), ConnectionError("third")

    async def fail(_: Any) -> None:
        raise first

    a, b, fine = broken(second, at="close"), broken(third, at="close"), diary.make("fine")
    steps = Sequence(using(fine, "fine"), using(b, "b"), using(a, "a"), using(a, "fail", fail))
    result = await settle(steps)
    assert result.state is State.FAILED
    assert result.errors == (first, second, third)
    assert diary.lines == ["open fine", "leave fine", "close fine"]


async def test_a_run_that_is_paused_or_cancelled_stays_so_whatever_closing_raises() -> None:
    error = ConnectionError("gone")
    made = broken(error, at="close")
    asking = Sequence(using(made), orch.Interrupt("sure?"))
    paused = await orch.run(asking, raise_on_failure=False)
    assert (paused.state, paused.errors) == (State.PAUSED, (error,))

    async with AsyncRunner().iter(Sequence(using(made), Task(functools.partial(anyio.sleep, 3600), name="nap"))) as run:
        async for event in run:
            if event.path == "nap":
                run.cancel()
    assert (run.result.state, run.result.errors) == (State.CANCELLED, (error,))
    assert run.result.groups[""].state is State.CANCELLED


async def test_a_closing_that_takes_too_long_is_cut_short(diary: Diary) -> None:
    @resource
    async def slow() -> AsyncIterator[str]:
        yield "value"
        try:
            await anyio.sleep(3600)
        finally:
            diary.lines.append("cut short")

    result = await settle(Sequence(using(diary.make("db")), using(slow, "b")), runner=AsyncRunner(grace=0.01))
    assert result.state is State.FAILED
    (error,) = result.errors
    assert isinstance(error, TimeoutError)
    assert (
        str(error) == "resource 'slow' was not closed within 0.01 s: give the runner a longer grace=, or it less to do"
    )
    assert diary.lines == ["open db", "cut short", "leave db", "close db"]


async def test_a_thread_that_takes_too_long_to_close_is_left_alone() -> None:
    enough = threading.Event()

    @resource
    def slow() -> Iterator[str]:
        yield "value"
        enough.wait()

    result = await settle(using(slow), runner=AsyncRunner(grace=0.01))
    enough.set()
    assert result.state is State.FAILED
    assert isinstance(result.errors[0], TimeoutError)


# -- failures in use ---------------------------------------------------------------------------------------------------


def crashing(error: Exception, crash: anyio.Event) -> Resource[str]:
    """A resource with a task in it that fails when it is told to."""

    @resource
    async def fragile() -> AsyncIterator[str]:
        async def background() -> None:
            await crash.wait()
            raise error

        async with anyio.create_task_group() as group:
            group.start_soon(background)
            yield "value"
            group.cancel_scope.cancel()

    return fragile


async def test_a_resource_that_breaks_while_in_use_takes_the_run_with_it(diary: Diary) -> None:
    error, crash = ConnectionError("heartbeat"), anyio.Event()

    async def use_it(_: str) -> None:
        crash.set()
        await anyio.sleep(3600)

    async def after() -> None:
        raise AssertionError("never begins")

    fragile = crashing(error, crash)
    steps = Sequence(using(diary.make("db"), "a"), using(fragile, "b", use_it), after, on_failure="continue")
    result = await settle(steps)
    assert result.state is State.FAILED
    (found,) = result.errors
    assert isinstance(found, ExceptionGroup)
    assert found.exceptions == (error,)
    assert found.__notes__ == ["while resource 'fragile' was in use"]
    assert [record.state for record in result.tasks.values()] == [State.SUCCEEDED, State.CANCELLED, State.SKIPPED]
    assert result.tasks["b"].reason == "aborted"
    assert diary.lines == ["open db", "leave db", "close db"]


async def test_a_group_compensates_for_a_resource_that_breaks(diary: Diary) -> None:
    crash = anyio.Event()

    async def undo(value: Any, error: Any) -> None:
        diary.lines.append(f"undo {value} because of {type(error).__name__}")

    async def use_it(_: str) -> None:
        crash.set()
        await anyio.sleep(3600)

    fragile = crashing(ConnectionError(), crash)
    first = using(diary.make("db"), "a", compensate=undo)
    result = await settle(Sequence(first, using(fragile, "b", use_it), on_failure=FailureStrategy.COMPENSATE))
    assert result.state is State.FAILED
    assert diary.lines == ["open db", "undo db because of ExceptionGroup", "leave db", "close db"]


async def test_one_that_breaks_after_the_last_step_fails_the_run_too() -> None:
    crash = anyio.Event()
    fragile = crashing(ConnectionError(), crash)

    @resource
    async def above(it: str = orch.use(fragile)) -> AsyncIterator[str]:
        yield it
        crash.set()
        await anyio.sleep(0.01)

    result = await settle(using(above))
    assert (result.state, result.value) == (State.FAILED, "value")
    assert [record.state for record in result.tasks.values()] == [State.SUCCEEDED]


async def test_one_that_breaks_when_nobody_uses_it_any_more_fails_the_run_too() -> None:
    """Its only user is closed, and something else that was opened between the two is still being closed."""
    crash, error = anyio.Event(), ConnectionError("late")
    fragile = crashing(error, crash)

    @resource
    async def slow() -> AsyncIterator[str]:
        yield "slow"
        crash.set()
        await anyio.sleep(0.01)

    @resource
    async def above(a: str = orch.use(fragile), b: str = orch.use(slow)) -> AsyncIterator[str]:
        yield a + b

    result = await settle(using(above))
    assert result.state is State.FAILED
    (found,) = result.errors
    assert isinstance(found, ExceptionGroup)
    assert found.exceptions == (error,)


async def test_one_that_ends_by_itself_says_so() -> None:
    @resource
    async def brief() -> AsyncIterator[str]:
        with anyio.move_on_after(0.01):
            yield "value"

    async def hang(_: str) -> None:
        await anyio.sleep(3600)

    result = await settle(using(brief, body=hang))
    assert result.state is State.FAILED
    assert "resource 'brief' ended by itself, while it was in use" in str(result.errors[0])


async def test_who_asks_after_it_broke_gets_its_error() -> None:
    crash, opened = anyio.Event(), list[str]()
    fragile = crashing(ConnectionError(), crash)

    async def undo(value: Any, it: str = orch.use(fragile)) -> None:
        raise AssertionError("not to be had")

    async def use_it(_: str) -> None:
        crash.set()
        await anyio.sleep(3600)

    first = Task(lambda: 1, name="first", thread=False, compensate=undo)
    result = await settle(Sequence(first, using(fragile, "b", use_it), on_failure="compensate"))
    assert result.state is State.FAILED
    assert isinstance(result.tasks["first"].compensation_error, ExceptionGroup)
    assert opened == []


async def test_a_compensation_may_try_again(diary: Diary) -> None:
    @resource
    async def moody() -> AsyncIterator[str]:
        diary.lines.append("try")
        if len(diary.lines) < 2:
            raise ConnectionError
        yield "value"

    async def undo(value: Any, it: str = orch.use(moody)) -> None:
        diary.lines.append(f"undo with {it}")

    async def fail() -> None:
        raise ValueError

    first = Task(lambda: 1, name="first", thread=False, compensate=Task(undo, retry=Retry(2, delay=0)))
    result = await settle(Sequence(first, fail, on_failure="compensate"))
    assert result.tasks["first"].state is State.COMPENSATED
    assert diary.lines == ["try", "try", "undo with value"]


async def test_what_two_others_use_breaks_once(diary: Diary) -> None:
    crash = anyio.Event()
    fragile = crashing(ConnectionError(), crash)

    def above(name: str) -> Resource[str]:
        @resource(name=name)
        async def made(it: str = orch.use(fragile)) -> AsyncIterator[str]:
            yield name

        return made

    async def hang(_: str) -> None:
        crash.set()
        await anyio.sleep(3600)

    steps = Parallel(*(using(made, f"s{i}", hang) for i, made in enumerate([fragile, above("a"), above("b")])))
    result = await settle(steps)
    assert (result.state, len(result.errors)) == (State.FAILED, 1)


async def test_resources_use_each_other_to_any_depth() -> None:
    """In layers of two, of which each uses both of the layer below: the paths are too many to walk."""

    def layer(below: list[Resource[int]]) -> list[Resource[int]]:
        @resource
        async def made(a: int = orch.use(below[0]), b: int = orch.use(below[1])) -> AsyncIterator[int]:
            yield max(a, b) + 1

        return [made, Resource[int](made.fn)]

    failures = [ConnectionError("once")]

    @resource
    async def base() -> AsyncIterator[int]:
        for error in failures:
            failures.clear()
            raise error
        yield 0

    top = [base, base]
    for _ in range(300):
        top = layer(top)
    result = await settle(using(top[0], retry=Retry(2, delay=0)))
    assert (result.value, result.tasks["step"].attempts) == (300, 2)


# -- policies ----------------------------------------------------------------------------------------------------------


@virtual
async def test_the_time_of_an_attempt_begins_after_the_opening() -> None:
    @resource
    async def slow() -> AsyncIterator[str]:
        await anyio.sleep(10)
        yield "value"

    assert (await settle(using(slow, timeout=1))).value == "value"


@virtual
async def test_a_resource_in_a_thread_does_not_keep_virtual_time_from_passing() -> None:
    @resource
    def plain() -> Iterator[str]:
        yield "value"

    async def nap(it: str) -> str:
        await anyio.sleep(3600)
        return it

    began = time.monotonic()
    assert (await settle(using(plain, body=nap))).duration == 3600
    assert time.monotonic() - began < 1


@virtual
async def test_the_time_of_a_group_includes_the_opening() -> None:
    closed: list[str] = []

    @resource
    async def slow() -> AsyncIterator[str]:
        try:
            await anyio.sleep(3600)
            yield "value"
        finally:
            closed.append("closed")

    result = await settle(Sequence(using(slow), timeout=1))
    assert (result.state, result.duration, closed) == (State.FAILED, 1, ["closed"])
    assert isinstance(result.errors[0], TaskTimeoutError)


@virtual
async def test_an_opening_that_nobody_waits_for_is_cancelled_and_begins_anew_for_who_comes_later() -> None:
    opened: list[str] = []

    @resource
    async def slow() -> AsyncIterator[str]:
        opened.append("begin")
        try:
            await anyio.sleep(10)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
            opened.append("withdrawn")
            raise
        yield "value"

    hasty = Sequence(using(slow, "a"), timeout=1, name="hasty")
    late = Sequence(Task(functools.partial(anyio.sleep, 2), name="wait"), using(slow, "b"), name="late")
    result = await settle(Parallel(hasty, late, on_failure="continue"))
    assert result.tasks["late/b"].value == "value"
    assert opened == ["begin", "withdrawn", "begin"]
    assert result.duration == 16


@virtual
async def test_an_opening_goes_on_for_those_who_still_wait() -> None:
    opened: list[str] = []

    @resource
    async def slow() -> AsyncIterator[str]:
        opened.append("begin")
        await anyio.sleep(10)
        yield "value"

    hasty = Sequence(using(slow, "a"), timeout=1, name="hasty")
    result = await settle(Parallel(hasty, using(slow, "b"), on_failure="continue"))
    assert (result.tasks["b"].value, opened, result.duration) == ("value", ["begin"], 10)


async def test_an_opening_in_a_thread_is_waited_for_a_while_when_nobody_wants_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    enough, closed = threading.Event(), threading.Event()

    @resource
    def slow() -> Iterator[str]:
        enough.wait()
        yield "value"
        closed.set()

    with caplog.at_level("WARNING", "orch"):
        result = await settle(Sequence(using(slow), timeout=0.01), runner=AsyncRunner(grace=0.02))
    assert result.state is State.FAILED
    assert "resource 'slow' is still being opened in a thread; then it will be closed" in caplog.text
    enough.set()
    assert closed.wait(5)


async def test_what_an_opening_in_a_thread_raises_when_nobody_wants_it_is_on_record() -> None:
    enough, error = threading.Event(), ConnectionError("late")

    @resource
    def slow() -> Iterator[str]:
        enough.wait()
        yield from ()
        raise error

    async def hasty() -> None:
        await anyio.sleep(0.02)
        enough.set()
        raise ValueError("first")

    result = await settle(Parallel(using(slow), hasty))
    assert [type(each) for each in result.errors] == [ValueError, ConnectionError]


async def test_a_breaker_that_refuses_a_group_opens_nothing(diary: Diary) -> None:
    breaker = orch.CircuitBreaker(fail_max=1)
    with pytest.raises(ValueError, match="no"):
        async with breaker_call(breaker):
            raise ValueError("no")
    await settle(Sequence(using(diary.make("db")), breaker=breaker))
    assert diary.lines == []


@contextlib.asynccontextmanager
async def breaker_call(breaker: orch.CircuitBreaker) -> AsyncIterator[None]:
    async def fail() -> None:
        raise ValueError("to open it")

    await orch.run(Task(fail, breaker=breaker), raise_on_failure=False)
    yield


async def test_graphs_read_values_beside_resources(diary: Diary) -> None:
    made = diary.make("db")

    async def rows() -> list[int]:
        return [1, 2]

    async def load(rows: list[int], connection: str = orch.use(made)) -> str:
        return f"{len(rows)} into {connection}"

    def report(load: str, *, connection: str = orch.use(made)) -> str:
        return f"{load} ({connection})"

    result = await settle(Graph(rows, load, report))
    assert result["report"] == "2 into db (db)"


# -- maps --------------------------------------------------------------------------------------------------------------


async def test_the_items_of_a_map_share_what_the_run_has_opened(diary: Diary) -> None:
    made = diary.make("db")

    async def double(x: int, it: str = orch.use(made)) -> str:
        await checkpoint()
        return f"{it}{x}"

    async def x() -> list[int]:
        return [1, 2, 3]

    result = await orch.run(Graph(x, orch.Map(double, over="x", name="xs"), using(made)))
    assert result["xs"] == ["db1", "db2", "db3"]
    assert diary.lines == ["open db", "leave db", "close db"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_may_outlive_its_event_loop(backend: str) -> None:
    enough, threads = threading.Event(), list[threading.Thread]()

    @resource
    def slow() -> Iterator[str]:
        threads.append(threading.current_thread())
        yield "value"
        enough.wait()

    result = orch.Runner(backend=backend, grace=0.01).run(using(slow), raise_on_failure=False)
    assert isinstance(result.errors[0], TimeoutError)
    enough.set()
    threads[0].join(5)
    assert not threads[0].is_alive()


def test_events_of_a_step_are_those_of_every_step() -> None:
    heard: list[orch.Event] = []

    @resource
    async def made() -> AsyncIterator[int]:
        yield 1

    orch.Runner(subscribers=[heard.append]).run(using(made))
    assert [type(event) for event in heard] == [RunEvent, TaskEvent, TaskEvent, RunEvent]

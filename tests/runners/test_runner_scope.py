"""Resources with the scope of a runner: open for all runs in its block, or for one run where there is no block."""

import functools
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import AsyncRunner, Parallel, Resource, Runner, Sequence, State, Task, WorkflowError, resource

LOOPS: list[dict[str, Any]] = [
    {"backend": "asyncio"},
    {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    {"backend": "trio"},
]
on_each_loop = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop", "trio"])


class Diary:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def make(self, name: str = "pool", *, scope: Any = "runner", wrong: str = "") -> Resource[str]:
        @resource(name=name, scope=scope)
        async def made() -> AsyncIterator[str]:
            await checkpoint()
            if wrong == "open":
                self.lines.append("fail")
                raise ConnectionError(len(self.lines))
            self.lines.append(f"open {name}")
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 3600)
                yield name
                await checkpoint()
                group.cancel_scope.cancel()
            self.lines.append(f"close {name}")
            if wrong == "close":
                raise ConnectionError("close")

        return made


@pytest.fixture
def diary() -> Diary:
    return Diary()


def using(made: Resource[Any], name: str = "step", body: Any = None, **options: Any) -> Any:
    async def step(it: Any = orch.use(made)) -> Any:
        await checkpoint()
        return it if body is None else await body(it)

    return Task(step, name=name, **options)


async def test_all_runs_in_the_block_share_it(diary: Diary) -> None:
    step = using(diary.make())
    async with AsyncRunner() as runner:
        assert diary.lines == []
        assert (await runner.run(step)).value == "pool"
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(runner.run, step)
        assert diary.lines == ["open pool"]
    assert diary.lines == ["open pool", "close pool"]


async def test_runs_at_once_open_it_once(diary: Diary) -> None:
    step = using(diary.make())
    async with AsyncRunner() as runner, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(runner.run, step)
    assert diary.lines == ["open pool", "close pool"]


async def test_without_a_block_every_run_has_its_own(diary: Diary) -> None:
    runner = AsyncRunner()
    for _ in range(2):
        await runner.run(using(diary.make()))
    assert diary.lines == ["open pool", "close pool"] * 2


async def test_what_belongs_to_a_run_may_use_it(diary: Diary) -> None:
    pool = diary.make()

    @resource
    async def session(it: str = orch.use(pool)) -> AsyncIterator[str]:
        diary.lines.append("open session")
        yield f"session of {it}"
        diary.lines.append("close session")

    async with AsyncRunner() as runner:
        for _ in range(2):
            assert (await runner.run(using(session))).value == "session of pool"
    assert diary.lines == ["open pool", *["open session", "close session"] * 2, "close pool"]


async def test_the_last_to_be_opened_is_closed_first(diary: Diary) -> None:
    one, two = diary.make("one"), diary.make("two")
    async with AsyncRunner() as runner:
        await runner.run(Sequence(using(one, "a"), using(two, "b")))
    assert diary.lines == ["open one", "open two", "close two", "close one"]


async def test_maps_iterators_and_compensations_share_it(diary: Diary) -> None:
    pool = diary.make()

    async def double(x: int, it: str = orch.use(pool)) -> str:
        return f"{it}{x}"

    async def undo(value: Any, it: str = orch.use(pool)) -> None:
        diary.lines.append("undo")

    async def fail() -> None:
        raise ValueError

    async with AsyncRunner() as runner:
        assert (await runner.map(double, {"x": [1, 2]}, "x")).values == ["pool1", "pool2"]
        async with runner.iter(using(pool)) as run:
            assert (await run.wait()).value == "pool"
        first = Task(lambda: 1, name="first", thread=False, compensate=undo)
        await runner.run(Sequence(first, fail, on_failure="compensate"), raise_on_failure=False)
    assert diary.lines == ["open pool", "undo", "close pool"]


async def test_a_failed_opening_is_for_one_run(diary: Diary) -> None:
    broken = diary.make(wrong="open")
    async with AsyncRunner() as runner:
        for _ in range(2):
            steps = Sequence(using(broken, "a"), using(broken, "b"), on_failure="continue")
            result = await runner.run(steps, raise_on_failure=False)
            assert [record.state for record in result.tasks.values()] == [State.FAILED, State.FAILED]
    assert diary.lines == ["fail", "fail"]


async def test_what_breaks_takes_the_runs_that_use_it_and_is_opened_anew_for_others(diary: Diary) -> None:
    crashes: list[anyio.Event] = []

    @resource(scope="runner")
    async def fragile() -> AsyncIterator[int]:
        crash = anyio.Event()
        crashes.append(crash)

        async def background() -> None:
            await crash.wait()
            raise ConnectionError("heartbeat")

        async with anyio.create_task_group() as group:
            group.start_soon(background)
            yield len(crashes)
            group.cancel_scope.cancel()

    @resource(scope="runner")
    async def above(it: int = orch.use(fragile)) -> AsyncIterator[int]:
        yield it

    async def hang(_: int) -> None:
        await anyio.sleep(3600)

    results: dict[str, orch.RunResult] = {}

    async def play(name: str, step: Any) -> None:
        results[name] = await runner.run(step, raise_on_failure=False)

    async with AsyncRunner() as runner:
        async with anyio.create_task_group() as group:
            group.start_soon(play, "direct", using(fragile, body=hang))
            group.start_soon(play, "through another", using(above, body=hang))
            group.start_soon(play, "bystander", Task(functools.partial(anyio.sleep, 0.05), name="nap"))
            while not crashes:
                await checkpoint()
            with anyio.move_on_after(0.01):
                await anyio.sleep(1)
            crashes[0].set()
        assert {name: result.state.value for name, result in results.items()} == {
            "direct": "failed",
            "through another": "failed",
            "bystander": "succeeded",
        }
        assert isinstance(results["through another"].errors[0], ExceptionGroup)
        assert (await runner.run(using(above))).value == 2


async def test_what_breaks_between_two_runs_is_logged_and_opened_anew(caplog: pytest.LogCaptureFixture) -> None:
    crashes: list[anyio.Event] = []

    @resource(scope="runner")
    async def fragile() -> AsyncIterator[int]:
        async def background(crash: anyio.Event) -> None:
            await crash.wait()
            raise ConnectionError("heartbeat")

        async with anyio.create_task_group() as group:
            crashes.append(anyio.Event())
            group.start_soon(background, crashes[-1])
            yield len(crashes)
            group.cancel_scope.cancel()

    with caplog.at_level(logging.ERROR, "orch"):
        async with AsyncRunner() as runner:
            assert (await runner.run(using(fragile))).value == 1
            crashes[0].set()
            while not caplog.records:
                await checkpoint()
            assert (await runner.run(using(fragile))).value == 2
    assert "resource 'fragile' ended while nobody used it" in caplog.text


async def test_what_closing_raises_comes_out_of_the_block(diary: Diary) -> None:
    with pytest.raises(ConnectionError, match="close") as raised:
        async with AsyncRunner() as runner:
            await runner.run(using(diary.make(wrong="close")))
    assert raised.value.__notes__ == ["while resource 'pool' was closed"]
    with pytest.raises(ExceptionGroup) as several:
        async with AsyncRunner() as runner:
            await runner.run(Parallel(*(using(diary.make(wrong="close"), name) for name in "ab")))
    assert len(several.value.exceptions) == 2


async def test_what_closing_raises_does_not_hide_the_error_of_the_block(
    diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    async def block() -> None:
        async with AsyncRunner() as runner:
            await runner.run(using(diary.make(wrong="close")))
            raise ValueError("mine")

    with caplog.at_level(logging.ERROR, "orch"), pytest.raises(ValueError, match="mine") as raised:
        await block()
    assert raised.value.__notes__ == ["after it: ConnectionError('close')"]
    assert "a resource of the runner failed" in caplog.text


async def test_without_a_block_what_closing_raises_fails_the_run(diary: Diary) -> None:
    with pytest.raises(WorkflowError) as raised:
        await AsyncRunner().run(using(diary.make(wrong="close")))
    assert isinstance(raised.value.exceptions[0], ConnectionError)


async def test_a_map_fails_by_what_closing_raises(diary: Diary) -> None:
    made = diary.make(wrong="close", scope="run")

    async def double(x: int, it: str = orch.use(made)) -> int:
        return 2 * x

    with pytest.raises(WorkflowError) as raised:
        await AsyncRunner().map(double, {"x": [1, 2]}, "x")
    assert isinstance(raised.value.exceptions[0], ConnectionError)


async def test_a_cancelled_block_closes_everything(diary: Diary) -> None:
    with anyio.CancelScope() as scope:
        async with AsyncRunner() as runner:
            await runner.run(using(diary.make()))
            scope.cancel()
            await checkpoint()
    assert diary.lines == ["open pool", "close pool"]


async def test_a_cancelled_run_leaves_it_open_for_the_others(diary: Diary) -> None:
    async def hang(_: str) -> None:
        await anyio.sleep(3600)

    step = using(diary.make(), body=hang)
    async with AsyncRunner() as runner:
        with anyio.move_on_after(0.01):
            await runner.run(step)
        assert (await runner.run(using(step.signature.parameters[0].default.resource))).value == "pool"
        assert diary.lines == ["open pool"]


async def test_the_block_waits_for_runs_in_other_tasks(diary: Diary) -> None:
    runner, begun = AsyncRunner(), anyio.Event()

    async def work(_: str) -> None:
        begun.set()
        await anyio.sleep(0.01)
        diary.lines.append("worked")

    async with anyio.create_task_group() as group, runner:
        group.start_soon(runner.run, using(diary.make(), body=work))
        await begun.wait()
    assert diary.lines == ["open pool", "worked", "close pool"]


async def test_a_block_that_is_cancelled_while_it_waits_ends_those_runs(diary: Diary) -> None:
    runner, begun, results = AsyncRunner(), anyio.Event(), list[orch.RunResult]()

    async def hang(_: str) -> None:
        begun.set()
        await anyio.sleep(3600)

    async def play() -> None:
        results.append(await runner.run(using(diary.make(), body=hang), raise_on_failure=False))

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with runner:
                group.start_soon(play)
                await begun.wait()
                scope.cancel()
    assert results[0].state is State.FAILED
    assert "the block of the runner was left" in str(results[0].errors[0])
    assert diary.lines == ["open pool", "close pool"]


async def test_a_block_that_is_cancelled_does_not_wait_for_openings(diary: Diary) -> None:
    runner, begun, results = AsyncRunner(), anyio.Event(), list[orch.RunResult]()

    @resource(scope="runner")
    async def slow() -> AsyncIterator[str]:
        begun.set()
        await anyio.sleep(3600)
        yield "value"

    async def play() -> None:
        results.append(await runner.run(using(slow), raise_on_failure=False))

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with runner:
                group.start_soon(play)
                await begun.wait()
                scope.cancel()
    assert results[0].state is State.FAILED


@pytest.mark.parametrize("fails", [False, True])
async def test_an_exit_while_closing_goes_before_the_error_of_the_block(fails: bool) -> None:
    @resource(scope="runner")
    async def exits() -> AsyncIterator[str]:
        yield "value"
        raise SystemExit(3)

    async def block() -> None:
        async with AsyncRunner() as runner:
            await runner.run(using(exits))
            if fails:
                raise ValueError("mine")

    with pytest.raises(SystemExit):
        await block()


async def test_an_exit_between_two_runs_comes_out_of_the_block() -> None:
    exit_now = anyio.Event()

    @resource(scope="runner")
    async def exits() -> AsyncIterator[str]:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def end() -> None:
                    await exit_now.wait()
                    scope.cancel()

                group.start_soon(end)
                yield "value"
        raise SystemExit(3)

    async def block() -> None:
        async with AsyncRunner() as runner:
            await runner.run(using(exits))
            exit_now.set()
            for _ in range(20):
                await checkpoint()

    with pytest.raises(SystemExit):
        await block()


async def test_a_block_remembers_nothing_of_runs_that_are_over(diary: Diary) -> None:
    pool = diary.make()

    @resource
    async def session(it: str = orch.use(pool)) -> AsyncIterator[str]:
        yield it

    class Input: ...

    async def play(made: Resource[str]) -> weakref.ref[Input]:
        async def step(given: Input, it: str = orch.use(made)) -> None: ...

        given = Input()
        await runner.run(step, given=given)
        return weakref.ref(given)

    async with AsyncRunner() as runner:
        given = [await play(pool), await play(session)]
        gc.collect()
        assert [each() for each in given] == [None, None]


async def test_a_block_is_entered_once_at_a_time(diary: Diary) -> None:
    runner = AsyncRunner()
    async with runner:
        with pytest.raises(RuntimeError, match="entered already"):
            await runner.__aenter__()
    async with runner:
        await runner.run(using(diary.make()))
    assert diary.lines == ["open pool", "close pool"]


# -- several event loops -----------------------------------------------------------------------------------------------


@on_each_loop
def test_a_runner_serves_one_loop_after_another(diary: Diary, loop: dict[str, Any]) -> None:
    runner, step = AsyncRunner(), using(diary.make())

    async def block() -> None:
        async with runner:
            for _ in range(2):
                await runner.run(step)

    for _ in range(2):
        anyio.run(block, **loop)
    anyio.run(runner.run, step, **loop)
    assert diary.lines == ["open pool", "close pool"] * 3


@on_each_loop
def test_what_one_loop_has_opened_another_does_not_use(diary: Diary, loop: dict[str, Any]) -> None:
    runner, step = AsyncRunner(), using(diary.make())

    async def block() -> None:
        async with runner:
            await runner.run(step)
            await anyio.to_thread.run_sync(functools.partial(anyio.run, runner.run, step, **loop))
            assert diary.lines == ["open pool", "open pool", "close pool"]

    anyio.run(block, **loop)
    assert diary.lines[-1] == "close pool"


@on_each_loop
def test_calls_for_synchronous_callers_close_it_each(diary: Diary, loop: dict[str, Any]) -> None:
    runner, pool = Runner(**loop), diary.make()

    def double(x: int, it: str = orch.use(pool)) -> str:
        return f"{it}{x}"

    assert runner.run(using(pool)).value == "pool"
    assert runner.map(double, {"x": [1, 2]}, "x").values == ["pool1", "pool2"]
    assert diary.lines == ["open pool", "close pool"] * 2


def test_threads_may_share_a_synchronous_runner() -> None:
    @resource(scope="runner")
    def plain() -> Iterator[threading.Thread]:
        yield threading.current_thread()

    def step(it: threading.Thread = orch.use(plain)) -> threading.Thread:
        return it

    runner, found = Runner(), list[threading.Thread]()
    threads = [threading.Thread(target=lambda: found.append(runner.run(step).value)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 4

"""Checks 96 to 99: steps that are cached, in runs."""

import dataclasses
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import (
    AsyncRunner,
    CircuitBreaker,
    Context,
    DiskCache,
    Graph,
    Map,
    MemoryCache,
    Parallel,
    Retry,
    Runner,
    RunResult,
    Sequence,
    State,
    Task,
    TaskTimeoutError,
    resource,
    use,
)
from orch.event import ChunkEvent, LogEvent, TaskEvent
from orch.execution._errands import Errands
from orch.plan import caching
from orch.testing import slow
from tests.execution.resilient import failing, settle, ticks, virtual

KEY = bytes(range(32))
KINDS = ["coroutine", "thread", "in place"]
Caches = MemoryCache | DiskCache


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Caches:
    return MemoryCache() if request.param == "memory" else DiskCache(tmp_path / "cache", key=KEY)


class Counted:
    """Steps that count their calls."""

    def __init__(self, kind: str = "coroutine") -> None:
        self.calls: list[Any] = []
        self._kind = kind

    def task(self, fn: Callable[[Any], Any] = lambda x: x, **options: Any) -> Task[..., Any]:
        calls = self.calls

        async def coroutine(x: Any) -> Any:
            calls.append(x)
            await checkpoint()
            return fn(x)

        def plain(x: Any) -> Any:
            calls.append(x)
            return fn(x)

        if self._kind == "in place":
            options["thread"] = False
        return Task(coroutine if self._kind == "coroutine" else plain, **{"name": "step", **options})


def text(x: object) -> str:
    return str(x)


def cached(result: RunResult) -> dict[str, bool]:
    return {path: record.cached for path, record in result.tasks.items()}


def warnings(result: RunResult) -> list[str]:
    return [event.message for event in result.trace if isinstance(event, LogEvent)]


# -- 96: hits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, 0, "text", [1, {"a": (2,)}]], ids=repr)
async def test_check_96_with_equal_inputs_the_body_is_not_called_again(cache: Caches, kind: str, value: Any) -> None:
    counted = Counted(kind)
    runner = AsyncRunner(cache=cache)
    task = counted.task(lambda _: value)
    first, second = [await settle(task, {"x": [1]}, runner=runner) for _ in range(2)]
    assert counted.calls == [[1]]
    assert first.value == second.value == value
    assert (cached(first), cached(second)) == ({"step": False}, {"step": True})
    (event,) = [event for event in second.trace if isinstance(event, TaskEvent)]
    assert (event.state, event.cached, event.attempt, event.value) == (State.SUCCEEDED, True, 0, value)
    record = second.tasks["step"]
    assert (record.state, record.attempts, record.cached, record.started) == (State.SUCCEEDED, 0, True, None)
    assert not (warnings(first) + warnings(second))


async def test_check_96_other_inputs_are_a_miss_and_what_follows_from_a_hit_goes_on(cache: Caches) -> None:
    counted, runner = Counted(), AsyncRunner(cache=cache)
    flow = Sequence(counted.task(), Parallel(counted.task(lambda x: x + 1, name="one"), Task(text), name="both"))
    assert (await settle(flow, {"x": 1}, runner=runner)).value == [1, [2, "1"]]
    assert (await settle(flow, {"x": 2}, runner=runner)).value == [2, [3, "2"]]
    again = await settle(flow, {"x": 1}, runner=runner)
    assert again.value == [1, [2, "1"]]
    assert cached(again) == {"step": True, "both/one": True, "both/text": True}
    assert counted.calls == [1, 1, 2, 2]


async def test_check_96_wherever_it_stands_and_however_it_is_wired(cache: Caches) -> None:
    calls = list[int]()

    async def add(x: int, y: int = 2, *, z: int = 3) -> int:
        calls.append(x)
        return x + y + z

    async def one() -> int:
        return 1

    runner = AsyncRunner(cache=cache)
    assert (await settle(Task(add), {"x": 1}, runner=runner)).value == 6
    flows: list[Any] = [
        Task(add, 1, 2, z=3, name="bound"),
        Task(add, name="all of them").bind(x=1),
        Graph(Task(one, name="x"), add),
        Sequence(one, add),
        Sequence(one, Sequence(Parallel(Task(add, x=1)), name="inner")),
        Graph(add).bind(x=1, y=2),
        Sequence(Task(add, name="renamed", retry=Retry(2), timeout=5), name="other").bind(x=1),
        Graph(Task(one, name="one"), add).as_task("g", inputs={"a": "x"}),
    ]
    for flow in flows:
        given = {"a": 1} if "a" in orch.plan.compile(flow).inputs else {}
        assert (await settle(flow, given, runner=runner)).state is State.SUCCEEDED
    assert len(calls) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_check_96_items_of_maps_are_cached_one_by_one(cache: Caches, kind: str) -> None:
    counted, runner = Counted(kind), AsyncRunner(cache=cache)
    task = counted.task(lambda x: x * 2)
    flow = Map(task, over="x", name="xs")
    assert (await runner.run(flow, x=[1, 2, 1, 3, 1])).value == [2, 4, 2, 6, 2]
    assert sorted(counted.calls) == [1, 2, 3]
    result = await runner.run(flow, x=[3, 4, 1])
    assert result.value == [6, 8, 2]
    assert [result.tasks[f"xs[{k}]"].cached for k in range(3)] == [True, False, True]
    assert not result.tasks["xs"].cached
    many = await runner.map(task, {"x": [4, 3, 5]}, map_over="x")
    assert many.values == [8, 6, 10]
    assert sorted(counted.calls) == [1, 2, 3, 4, 5]


PROGRAM = """
import sys
from orch import DiskCache, Runner, Sequence
from tests.execution.test_checks_96_99_cache import items, total
print(Runner(cache=DiskCache(sys.argv[1], key=bytes(range(32)))).run(Sequence(items, total), n=3).value)
"""


@dataclasses.dataclass
class Item:
    price: int


def items(n: int) -> list[Item]:
    print("called", n)  # noqa: T201 (into the test)
    return [Item(k) for k in range(n)]


def total(items: list[Item]) -> int:
    print("called", len(items))  # noqa: T201 (into the test)
    return sum(item.price for item in items)


def test_check_96_in_another_process(tmp_path: Path) -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "cache")],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    value = "[[Item(price=0), Item(price=1), Item(price=2)], 3]\n"
    assert said == [f"called 3\ncalled 3\n{value}", value]


async def test_check_96_a_step_may_count_its_calls_in_what_it_has_closed_over(cache: Caches) -> None:
    calls: list[int] = []
    count = 0

    async def counting(x: int) -> int:
        nonlocal count
        count += 1
        calls.append(x)
        return x

    runner = AsyncRunner(cache=cache)
    for flow in (counting, counting, Sequence(counting), Graph(counting), Task(counting, name="other")):
        assert (await runner.run(flow, x=1)).tasks
    assert (count, calls) == (1, [1])


async def test_check_96_of_a_step_that_streams_the_value_is_kept_and_no_chunk_comes_again(cache: Caches) -> None:
    def numbers(n: int) -> Iterator[int]:
        yield from range(n)

    runner = AsyncRunner(cache=cache)
    first, second = [await settle(numbers, {"n": 3}, runner=runner) for _ in range(2)]
    assert first.value == second.value == [0, 1, 2]
    chunks = [[event for event in each.trace if isinstance(event, ChunkEvent)] for each in (first, second)]
    assert list(map(len, chunks)) == [3, 0]


async def test_several_outputs_are_part_of_the_key(cache: Caches) -> None:
    async def pair(x: int) -> list[int]:
        return [x, x]

    runner = AsyncRunner(cache=cache)
    assert (await settle(pair, {"x": 1}, runner=runner)).value == [1, 1]
    for _ in range(2):
        assert (await settle(Graph(Task(pair, output=("a", "b"))), {"x": 1}, runner=runner)).value == {"a": 1, "b": 1}


# -- what is cached ----------------------------------------------------------------------------------------------------


def marked(workflow: Any) -> list[str]:
    plan = caching(orch.plan.compile(workflow))
    return [plan.path(node) for node in plan.cached]


@resource
async def connection() -> Any:
    yield "connection"


def test_what_is_cached_unless_it_says_so_itself() -> None:
    def usual(x: int) -> None: ...
    def asking(context: Context[Any]) -> None: ...
    def using(row: int, db: str = use(connection)) -> None: ...
    def undone(y: int) -> None: ...

    tasks: list[Task[..., Any]] = [Task(usual), Task(asking), Task(using), Task(undone, compensate=lambda: None)]
    always = [task.evolve(cache=True, name=f"{task.name} always") for task in tasks]
    never = [task.evolve(cache=False, name=f"{task.name} never") for task in tasks]
    question = orch.Interrupt("question", "well?")
    flow = Parallel(*tasks, *always, *never, question, Map(usual, over="x", name="many"))
    assert marked(flow) == ["usual", "usual always", "asking always", "using always", "undone always"]


async def test_the_context_and_resources_are_no_part_of_the_key(cache: Caches) -> None:
    opened = []

    @resource
    async def database() -> Any:
        opened.append(1)
        yield object()

    calls = list[int]()

    async def load(row: int, context: Context[Any], db: Any = use(database)) -> int:
        calls.append(row)
        return row

    runner = AsyncRunner(cache=cache)
    task = Task(load, cache=True)
    for number in range(2):
        result = await runner.run(task, {"row": 1}, context=Context({"number": number}))
        assert result.tasks["load"].cached is bool(number)
    assert (calls, opened) == ([1], [1])


class Ordering:
    """A workflow that charges, and undoes that if its second step fails."""

    def __init__(self) -> None:
        self.charged: list[int] = []
        self.undone: list[int] = []

        async def charge(order: int) -> int:
            self.charged.append(order)
            return order

        async def give_back(value: int) -> None:
            self.undone.append(value)

        async def ship(*, late: bool) -> None:
            if late:
                raise ValueError("late")

        paid = Task(charge, cache=True, compensate=give_back)
        self.flow = Sequence(paid, Task(ship, cache=False), on_failure="compensate")


async def test_a_step_that_was_not_made_is_not_undone(cache: Caches) -> None:
    ordering, runner = Ordering(), AsyncRunner(cache=cache)
    await settle(ordering.flow, {"order": 7, "late": False}, runner=runner)
    failed = await settle(ordering.flow, {"order": 7, "late": True}, runner=runner)
    assert (failed.state, failed.tasks["charge"].state, failed.tasks["charge"].cached) == (
        State.FAILED,
        State.SUCCEEDED,
        True,
    )
    assert (ordering.charged, ordering.undone) == ([7], [])


async def test_what_was_undone_is_not_found_any_more(cache: Caches) -> None:
    ordering, runner = Ordering(), AsyncRunner(cache=cache)
    runs = [await settle(ordering.flow, {"order": 7, "late": True}, runner=runner) for _ in range(2)]
    assert [each.tasks["charge"].state for each in runs] == [State.COMPENSATED] * 2
    assert (ordering.charged, ordering.undone) == ([7, 7], [7, 7])


async def test_what_is_undone_after_a_pause_is_not_found_any_more(cache: Caches) -> None:
    ordering, runner = Ordering(), AsyncRunner(cache=cache)
    asked = orch.Interrupt("late", "is it late?", type=bool)
    [paid, ship] = ordering.flow.steps
    flow = Sequence(paid, asked, ship, on_failure="compensate")
    paused = await runner.run(flow, order=7)
    resumed = await runner.resume(paused, flow, answers={"late": True}, raise_on_failure=False)
    again = await settle(ordering.flow, {"order": 7, "late": False}, runner=runner)
    assert (paused.state, resumed.tasks["charge"].state) == (State.PAUSED, State.COMPENSATED)
    assert (again.tasks["charge"].cached, ordering.charged, ordering.undone) == (False, [7, 7], [7])


def test_a_plan_is_not_touched_by_runs_without_a_cache_and_made_once_for_those_with_one() -> None:
    async def step(x: int) -> int:
        return x

    plan = orch.plan.compile(Sequence(step))
    anyio.run(lambda: orch.run(plan, x=1))
    assert "caching" not in vars(plan)
    assert (plan.rules, plan.cached) == ({}, ())
    made = caching(plan)
    assert caching(plan) is made is caching(made)
    assert (plan.rules, plan.kinds) == ({}, b"\0")


@pytest.mark.parametrize("wrong", [True, {}, MemoryCache, "cache", Path()])
def test_a_runner_refuses_what_is_no_cache(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"cache: expected an object with get\(\), set\(\) and discard\(\)"):
        AsyncRunner(cache=wrong)


async def test_a_hit_asks_no_policy(cache: Caches) -> None:
    counted, runner = Counted(), AsyncRunner(cache=cache)
    task = counted.task()
    await settle(task, {"x": 1}, runner=runner)
    breaker, limiter = CircuitBreaker(fail_max=1), anyio.CapacityLimiter(1)
    await settle(failing(ValueError("down"), breaker=breaker))
    limiter.acquire_on_behalf_of_nowait(self := object())
    guarded = task.evolve(breaker=breaker, limiter=limiter, timeout=0.01)
    result = await settle(Sequence(guarded, breaker=breaker, timeout=0.01, limit=1), {"x": 1}, runner=runner)
    assert cached(result) == {"step": True}
    assert breaker.state == "open"
    limiter.release_on_behalf_of(self)


async def test_check_98_how_it_is_run_is_no_part_of_the_key(cache: Caches) -> None:
    counted, runner = Counted(), AsyncRunner(cache=cache)
    task = counted.task()
    await settle(task, {"x": 1}, runner=runner)
    others: list[dict[str, Any]] = [
        *({"retry": Retry(2)}, {"timeout": 9}, {"name": "other"}, {"limiter": anyio.Semaphore(1)}, {"output": "out"}),
        *({"description": "text"}, {"retain": False}, {"deps": []}, {"cache": True}, {"breaker": CircuitBreaker()}),
    ]
    for options in others:
        result = await settle(task.evolve(**options), {"x": 1}, runner=runner)
        assert list(cached(result).values()) == [True]
    assert counted.calls == [1]


# -- 98: what makes it another step ------------------------------------------------------------------------------------


def made(source: str, **names: Any) -> Any:
    """A function of the same name and module as all others that are made here."""
    space: dict[str, Any] = {"__name__": "made", **names}
    exec(compile(source, "<made>", "exec"), space)
    return space["f"]


SOURCES = [
    "async def f(x): return x",
    "async def f(x): return x + 0",
    "async def f(x): return x + 1",
    "async def f(x): return x + 1.0",
    "async def f(x, y=1): return x",
    "async def f(x, y=2): return x",
    "async def f(x, *, y=1): return x",
    "async def f(x, *, y=True): return x",
    "async def f(x): return (lambda: x)()",
    "async def f(x): return (lambda: x + 0)()",
    "async def f(x): return int(x)",
    "async def f(x): return abs(x)",
    "async def f(x): return x if x in {1, 2} else x",
    "async def f(x): return x if x in {1, 3} else x",
    "async def g(x): return x\nf = g",
]


async def test_check_98_changed_code_or_defaults_are_a_miss_moved_code_is_not(cache: Caches) -> None:
    runner = AsyncRunner(cache=cache)
    for source in SOURCES:
        assert list(cached(await settle(made(source), {"x": 1}, runner=runner)).values()) == [False], source
    for source in SOURCES:
        moved = "\n\n# a comment\n" + source
        assert list(cached(await settle(made(moved), {"x": 1}, runner=runner)).values()) == [True], source


async def test_check_98_a_changed_closure_is_a_miss_also_when_it_changes_between_two_runs(cache: Caches) -> None:
    def multiplied(factor: Any) -> tuple[Task[..., Any], Callable[[Any], None]]:
        async def multiply(x: int) -> Any:
            return x * factor

        def change(to: Any) -> None:
            nonlocal factor
            factor = to

        return Task(multiply), change

    runner = AsyncRunner(cache=cache)
    for factor in (2, 2.0, 3, True):
        task, _ = multiplied(factor)
        result = await settle(task, {"x": 5}, runner=runner)
        assert (result.value, cached(result)) == (5 * factor, {"multiply": False})
    task, change = multiplied(2)
    assert cached(await settle(task, {"x": 5}, runner=runner)) == {"multiply": True}
    change(4)
    result = await settle(task, {"x": 5}, runner=runner)
    assert (result.value, cached(result)) == (20, {"multiply": False})


async def test_check_98_the_version_stands_for_the_code(cache: Caches) -> None:
    runner = AsyncRunner(cache=cache)
    for version in (1, 2, "1", ""):
        task = Task(made(SOURCES[0]), version=version)
        assert cached(await settle(task, {"x": 1}, runner=runner)) == {"f": False}
        again = Task(made(SOURCES[2]), version=version)
        assert cached(await settle(again, {"x": 1}, runner=runner)) == {"f": True}


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return x * self.factor

    def times(self, x: int) -> int:
        return x * self.factor


def scaled(x: int, factor: int) -> int:
    return x * factor


async def test_check_98_partials_methods_and_objects_are_known_by_what_they_hold(cache: Caches) -> None:
    from functools import partial  # noqa: PLC0415 (for this test)

    runner = AsyncRunner(cache=cache)
    for factor in (2, 3):
        callables: list[Any] = [partial(scaled, factor=factor), Scale(factor), Scale(factor).times]
        for fn in callables:
            result = await settle(Task(fn, name="s"), {"x": 5}, runner=runner)
            assert (result.value, cached(result)) == (5 * factor, {"s": False})
    callables = [partial(scaled, factor=3), Scale(3), Scale(3).times]
    for fn in callables:
        assert cached(await settle(Task(fn, name="s"), {"x": 5}, runner=runner)) == {"s": True}


# -- 97: what has no key -----------------------------------------------------------------------------------------------


async def test_check_97_what_has_no_key_runs_uncached_with_one_warning(
    cache: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    counted, runner = Counted(), AsyncRunner(cache=cache)
    task = counted.task(len)
    results = [await settle(task, {"x": [1, {"client": threading.Lock()}]}, runner=runner) for _ in range(3)]
    assert [result.value for result in results] == [2, 2, 2]
    assert len(counted.calls) == 3
    said = "task 'step' is not cached: x[1]['client']: _thread:lock cannot be part of a key: "
    said += "give its class a __cache_key__, or the task cache=False"
    assert [warnings(result) for result in results] == [[said]] * 3
    assert [(each.levelno, each.name, each.getMessage()) for each in caplog.records] == [
        (logging.WARNING, "orch", said)
    ]
    quiet = await settle(task.evolve(cache=False), {"x": [threading.Lock()]}, runner=runner)
    assert not warnings(quiet)


async def test_check_97_one_warning_a_task_also_for_the_items_of_a_map(
    cache: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    runner = AsyncRunner(cache=cache)
    result = await runner.run(Map(text, over="x", name="all"), x=[threading.Lock() for _ in range(20)])
    assert len(result.value) == 20
    assert len(caplog.records) == 1
    assert len(warnings(result)) <= 1


async def test_check_97_what_it_has_closed_over_counts_as_well(cache: Caches, caplog: pytest.LogCaptureFixture) -> None:
    lock = threading.Lock()

    async def locked(x: int) -> bool:
        return lock.locked()

    runner = AsyncRunner(cache=cache)
    assert cached(await settle(locked, {"x": 1}, runner=runner)) == {"locked": False}
    assert "task 'locked' is not cached: closure 'lock': _thread:lock cannot" in caplog.text


# -- 99: what is kept --------------------------------------------------------------------------------------------------


async def test_check_99_a_changed_result_changes_no_entry(cache: Caches) -> None:
    async def rows(n: int) -> list[Any]:
        return [[n]]

    runner = AsyncRunner(cache=cache)
    for _ in range(3):
        result = await settle(rows, {"n": 1}, runner=runner)
        assert result.value == [[1]]
        result.value[0].append("poison")
        result.value.append("poison")


async def test_check_99_inputs_that_the_body_changes_are_known_as_they_were(cache: Caches) -> None:
    counted, runner = Counted(), AsyncRunner(cache=cache)
    task = counted.task(lambda x: x.append(2) or len(x))
    for _ in range(2):
        result = await settle(task, {"x": [1]}, runner=runner)
        assert result.value == 2
    assert len(counted.calls) == 1


async def test_check_99_errors_are_never_kept(cache: Caches) -> None:
    counted, runner = Counted(), AsyncRunner(cache=cache)
    task = counted.task(lambda x: 1 // 0)
    for _ in range(2):
        result = await settle(task, {"x": 1}, runner=runner)
        assert (result.tasks["step"].state, cached(result)) == (State.FAILED, {"step": False})
    assert len(counted.calls) == 2


async def test_check_99_the_value_of_a_later_attempt_is_kept(cache: Caches) -> None:
    counted, runner = Counted(), AsyncRunner(cache=cache)

    calls = counted.calls

    def flaky(x: int) -> int:
        if len(calls) < 3:
            raise ValueError("not yet")
        return x

    task = counted.task(flaky, retry=Retry(5, delay=0))
    first, second = [await settle(task, {"x": 1}, runner=runner) for _ in range(2)]
    assert (first.tasks["step"].attempts, second.tasks["step"].attempts) == (3, 0)
    assert (first.value, second.value, cached(second)) == (1, 1, {"step": True})


async def test_check_99_an_entry_that_was_changed_is_a_miss_with_an_event_and_made_anew(tmp_path: Path) -> None:
    counted = Counted()
    runner = AsyncRunner(cache=await anyio.to_thread.run_sync(lambda: DiskCache(tmp_path, key=KEY)))
    task = counted.task()
    await settle(task, {"x": 1}, runner=runner)
    (entry,) = await anyio.to_thread.run_sync(lambda: list(tmp_path.glob("*.entry")))
    await anyio.to_thread.run_sync(lambda: entry.write_bytes(entry.read_bytes()[:-1] + b"!"))
    result = await settle(task, {"x": 1}, runner=runner)
    assert (result.value, cached(result), counted.calls) == (1, {"step": False}, [1, 1])
    (said,) = warnings(result)
    assert "found an entry in" in said
    assert "it was changed, or is not from here" in said
    assert cached(await settle(task, {"x": 1}, runner=runner)) == {"step": True}


async def test_check_99_a_value_that_cannot_be_kept_is_a_warning(
    cache: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    counted, runner = Counted(), AsyncRunner(cache=cache)
    task = counted.task(lambda _: threading.Lock())
    for _ in range(2):
        result = await settle(task, {"x": 1}, runner=runner)
        assert result.state is State.SUCCEEDED
        assert "task 'step' is not cached: CacheError: a value cannot be" in warnings(result)[0]
    assert len(counted.calls) == 2
    assert len(caplog.records) == 1


class Broken:
    """A cache that fails."""

    blocks = False

    def get(self, key: str, /) -> tuple[bool, Any]:
        raise ConnectionError("no cache today")

    def set(self, key: str, value: Any, /) -> None:
        raise ConnectionError("no cache today")

    def discard(self, key: str, /) -> None:
        raise ConnectionError("no cache today")


@pytest.mark.parametrize("blocks", [False, True])
async def test_check_99_a_cache_that_fails_hurts_no_run(blocks: bool, caplog: pytest.LogCaptureFixture) -> None:
    cache = Broken()
    cache.blocks = blocks
    counted, runner = Counted(), AsyncRunner(cache=cache)
    result = await settle(Parallel([counted.task(name=f"{k}") for k in range(3)]), {"x": 1}, runner=runner)
    assert (result.value, len(counted.calls)) == ([1, 1, 1], 3)
    assert len(caplog.records) == 1
    assert "ConnectionError: no cache today" in caplog.text


async def test_check_99_a_full_or_vanished_disk_hurts_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = await anyio.to_thread.run_sync(lambda: DiskCache(tmp_path / "cache", key=KEY))
    await anyio.to_thread.run_sync((tmp_path / "cache").rmdir)
    runner = AsyncRunner(cache=cache)
    result = await settle(Sequence(Counted().task(), Counted().task(name="next")), {"x": 1}, runner=runner)
    assert result.state is State.SUCCEEDED
    assert "nothing can be written into" in warnings(result)[0]


@virtual
async def test_check_99_what_timed_out_is_not_kept() -> None:
    cache = MemoryCache()
    result = await settle(Task(slow(5), timeout=1), runner=AsyncRunner(cache=cache))
    assert isinstance(result.errors[0], TaskTimeoutError)
    assert len(cache) == 0


@virtual
async def test_a_value_that_comes_late_and_is_taken_is_kept() -> None:
    async def stubborn(x: int) -> int:
        try:
            await anyio.sleep(5)
        except anyio.get_cancelled_exc_class():
            return x
        return 0

    runner = AsyncRunner(cache=MemoryCache())
    first, second = [await settle(Task(stubborn, timeout=1), {"x": 7}, runner=runner) for _ in range(2)]
    assert (first.value, second.value, cached(second)) == (7, 7, {"stubborn": True})


async def test_a_run_that_goes_on_after_a_question_finds_what_it_finds(cache: Caches) -> None:
    counted, runner = Counted(), AsyncRunner(cache=cache)
    task = counted.task(name="before")
    flow = Sequence(task, orch.Interrupt("sure", "really?"), task.evolve(name="after").bind(x=1))
    for _ in range(2):
        paused = await runner.run(flow, x=1)
        assert paused.state is State.PAUSED
        result = await runner.resume(paused, flow, answers={"sure": "yes"})
        assert result.value == [1, "yes", 1]
        assert result.tasks["before"].restored
        assert result.tasks["after"].cached
    assert counted.calls == [1]


async def test_reading_the_events_of_a_run_that_finds_everything(cache: Caches) -> None:
    runner = AsyncRunner(cache=cache)
    flow = Parallel([Task(text, x=k, name=f"{k}") for k in range(50)])
    for found in (False, True):
        async with runner.iter(flow) as run:
            seen = [event async for event in run if isinstance(event, TaskEvent)]
        assert len(seen) == (50 if found else 100)
        assert all(event.cached is found for event in seen if event.state is State.SUCCEEDED)


# -- single flight -----------------------------------------------------------------------------------------------------


class Gate:
    """Steps that wait until they are let through; all of them have one key."""

    __cache_key__ = "gate"

    def __init__(self) -> None:
        self.opened = anyio.Event()
        self.entered = 0
        self.inside = self.most = 0
        self.errors: list[Exception] = []

    async def pass_through(self, x: int) -> int:
        self.entered += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.opened.wait()
        finally:
            self.inside -= 1
        if self.errors:
            raise self.errors.pop()
        return x

    def task(self, **options: Any) -> Task[..., Any]:
        return Task(self.pass_through, **options)


async def started(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Make calls side by side and return what they give."""
    results: list[Any] = [None] * len(calls)

    async def one(k: int) -> None:
        results[k] = await calls[k]()

    async with anyio.create_task_group() as group:
        for k in range(len(calls)):
            group.start_soon(one, k)
    return results


async def ready(condition: Callable[[], object]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await checkpoint()


@pytest.mark.parametrize("limit", [None, 1, 7])
async def test_of_many_steps_with_one_key_one_is_made(cache: Caches, limit: int | None) -> None:
    gate, runner = Gate(), AsyncRunner(cache=cache, limit=limit)
    flow = Parallel([gate.task(name=f"{k}") for k in range(100)])
    results: list[RunResult] = []

    async def run() -> None:
        results.append(await settle(flow, {"x": 7}, runner=runner))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await ready(lambda: gate.entered)
        await ticks(20)
        gate.opened.set()
    assert gate.entered == 1
    assert results[0].value == [7] * 100
    assert sum(cached(results[0]).values()) == 99
    assert len(cache.flights) == 0


async def test_runs_of_several_runners_wait_for_each_other(cache: Caches) -> None:
    gate = Gate()

    async def open_it() -> None:
        await ready(lambda: gate.entered)
        await ticks(20)
        gate.opened.set()

    runs = [lambda: AsyncRunner(cache=cache).run(gate.task(), x=7) for _ in range(5)]
    *results, _ = await started(*runs, open_it)
    assert (gate.entered, [result.value for result in results]) == (1, [7] * 5)


async def test_if_one_fails_the_next_one_is_made(cache: Caches) -> None:
    gate, runner = Gate(), AsyncRunner(cache=cache)
    gate.opened.set()
    gate.errors = [ValueError("first"), ValueError("second")]
    flow = Parallel([gate.task(name=f"{k}") for k in range(10)], on_failure="continue")
    result = await settle(flow, {"x": 7}, runner=runner)
    assert (gate.entered, gate.most) == (3, 1)
    states = [record.state for record in result.tasks.values()]
    assert (states.count(State.FAILED), states.count(State.SUCCEEDED)) == (2, 8)
    assert sum(cached(result).values()) == 7
    assert len(cache.flights) == 0


async def test_a_step_that_waits_for_its_next_attempt_holds_up_nobody(cache: Caches) -> None:
    gate, runner = Gate(), AsyncRunner(cache=cache, limit=1)
    gate.opened.set()
    gate.errors = [ValueError("first")]
    flow = Parallel([gate.task(name=f"{k}", retry=Retry(3, delay=0.01)) for k in range(3)])
    with anyio.fail_after(10):
        assert (await runner.run(flow, x=7)).value == [7] * 3


async def test_if_one_is_cancelled_another_takes_over(cache: Caches) -> None:
    gate, runner = Gate(), AsyncRunner(cache=cache)
    scopes = [anyio.CancelScope() for _ in range(3)]
    values: dict[int, int] = {}

    async def run(k: int) -> None:
        with scopes[k]:
            values[k] = (await runner.run(gate.task(), x=7)).value

    async with anyio.create_task_group() as group:
        group.start_soon(run, 0)
        await ready(lambda: gate.entered == 1)
        group.start_soon(run, 1)
        group.start_soon(run, 2)
        await ticks(30)
        scopes[0].cancel()
        await ready(lambda: gate.entered == 2)
        gate.opened.set()
    assert values == {1: 7, 2: 7}
    assert (gate.entered, gate.most, len(cache.flights)) == (2, 1, 0)


async def test_one_who_waits_can_be_cancelled_and_nobody_else_notices(cache: Caches) -> None:
    gate, runner = Gate(), AsyncRunner(cache=cache)
    flow = Parallel(
        Task(gate.pass_through, name="leads"),
        Task(gate.pass_through, name="waits"),
        Task(gate.pass_through, name="too"),
    )
    async with runner.iter(flow, x=7, raise_on_failure=False) as run:
        await ready(lambda: gate.entered)
        await ticks(20)
        run.cancel("waits")
        await ticks(20)
        gate.opened.set()
        result = await run.wait()
    assert [record.state for record in result.tasks.values()] == [State.SUCCEEDED, State.CANCELLED, State.SUCCEEDED]
    assert (gate.entered, result.tasks["waits"].attempts, result.tasks["waits"].reason) == (1, 0, "requested")
    assert len(cache.flights) == 0


async def test_who_waited_for_a_value_that_cannot_be_kept_works_it_out_beside_the_others() -> None:
    gate, runner = Gate(), AsyncRunner(cache=Broken())
    flow = Parallel([gate.task(name=f"{k}") for k in range(10)])

    async def open_it() -> None:
        await ready(lambda: gate.entered)
        await ticks(5)
        gate.opened.set()

    result, _ = await started(lambda: runner.run(flow, x=7), open_it)
    assert result.value == [7] * 10
    assert gate.entered == 10


async def test_a_step_that_runs_what_it_is_part_of_for_other_inputs_does_not_wait_for_itself(cache: Caches) -> None:
    runner = AsyncRunner(cache=cache)

    class Numbers:
        __cache_key__ = "numbers"

        async def fibonacci(self, n: int) -> int:
            if n < 2:
                return n
            one, two = [(await runner.run(self.fibonacci, n=n - k)).value for k in (1, 2)]
            return int(one + two)

    assert (await runner.run(Numbers().fibonacci, n=12)).value == 144


async def test_another_event_loop_is_not_waited_for(cache: Caches) -> None:
    class Nested:
        __cache_key__ = "nested"
        depth = 0

        async def outer(self, x: int) -> int:
            self.depth += 1
            if self.depth > 1:
                return x
            return int((await anyio.to_thread.run_sync(lambda: Runner(cache=cache).run(self.outer, x=x))).value)

    nested = Nested()
    with anyio.fail_after(10):
        assert (await AsyncRunner(cache=cache).run(nested.outer, x=7)).value == 7
    assert nested.depth == 2


def test_threads_with_loops_of_their_own_share_a_cache(cache: Caches) -> None:
    counted = Counted("thread")
    task = counted.task()
    flow = Parallel([task.evolve(name=f"{k}") for k in range(5)])
    values: list[Any] = []
    threads = [
        threading.Thread(target=lambda: values.append(Runner(cache=cache).run(flow, x=3).value), name=f"user-{k}")
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [[3] * 5] * 4
    assert 1 <= len(counted.calls) <= 4


async def test_a_lookup_does_not_wait_for_bodies_in_threads(tmp_path: Path) -> None:
    cache = await anyio.to_thread.run_sync(lambda: DiskCache(tmp_path / "cache", key=KEY))
    runner = AsyncRunner(cache=cache, threads=1)
    gone_on = threading.Event()  # a warning says that it is no part of a key

    def waits() -> bool:
        return gone_on.wait(10)

    async def goes_on() -> None:
        gone_on.set()

    assert (await runner.run(Parallel(Task(waits, cache=False), goes_on))).value == [True, None]


@pytest.mark.parametrize("moment", range(0, 30, 3))
async def test_a_run_that_is_cancelled_at_any_moment_leaves_nobody_waiting(cache: Caches, moment: int) -> None:
    gate, runner = Gate(), AsyncRunner(cache=cache)
    flow = Parallel([gate.task(name=f"{k}") for k in range(5)])
    gate.opened.set()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: runner.run(flow, x=7))
            await ticks(moment)
            scope.cancel()
    assert len(cache.flights) == 0
    with anyio.fail_after(10):
        assert (await runner.run(flow, x=7)).value == [7] * 5


class Distant(Broken):
    """A cache that has nothing, and is asked in threads."""

    blocks = True

    def get(self, key: str, /) -> tuple[bool, Any]:
        return False, None

    def set(self, key: str, value: Any, /) -> None: ...


async def test_who_is_stopped_in_the_moment_nothing_was_found_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    began, returned = [], Errands._back

    async def load() -> None:
        began.append("load")

    run = AsyncRunner(cache=Distant()).iter(Task(load))

    def stop(errands: Errands, batch: Any) -> None:
        returned(errands, batch)
        run.cancel("load")

    monkeypatch.setattr(Errands, "_back", stop)
    async with run:
        result = await run.wait()
    record = result.tasks["load"]
    assert (record.state, record.reason, record.attempts, began) == (State.CANCELLED, "requested", 0, [])

"""The virtual event loops: time that jumps, orders that repeat, deadlocks that are found, and nothing left behind."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

import orch
from orch.testing import DeadlockError, VirtualClock, run
from orch.testing._deadlock import Patience

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def hours() -> float:
    await anyio.sleep(8 * 3600)
    return anyio.current_time()


@both
def test_sleeping_takes_no_time(backend: Any) -> None:
    began = time.perf_counter()
    assert run(hours, backend=backend) == 8 * 3600
    assert time.perf_counter() - began < 1


@both
@pytest.mark.parametrize("seconds", [0.1, 1 / 3, 1e-12, 5e8 + 0.3])
def test_time_is_exact_to_the_last_bit(backend: Any, seconds: float) -> None:
    async def call() -> list[float]:
        found = []
        for _ in range(3):
            deadline = anyio.current_time() + seconds
            with anyio.move_on_after(seconds):
                await anyio.sleep_forever()
            found.append(anyio.current_time() - deadline)
        return found

    assert run(call, backend=backend) == [0, 0, 0]


@both
def test_time_stands_still_while_something_runs(backend: Any) -> None:
    async def call() -> list[float]:
        found = []
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            for _ in range(1_000):
                await anyio.lowlevel.checkpoint()
            found.append(anyio.current_time())
        return [*found, anyio.current_time()]

    assert run(call, backend=backend) == [0, 5]


@both
def test_arguments_go_in_and_errors_come_out(backend: Any) -> None:
    async def divide(a: float, b: float) -> float:
        return a / b

    assert run(divide, 6, 3, backend=backend) == 2
    with pytest.raises(ZeroDivisionError):
        run(divide, 1, 0, backend=backend)


def test_it_runs_where_it_is_told() -> None:
    async def library() -> bool:
        return hasattr(anyio.lowlevel.current_token().native_token, "call_soon")

    assert run(library, backend="asyncio")
    assert not run(library, backend="trio")


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="backend: expected 'asyncio' or 'trio', found 'twisted'"):
        run(hours, backend="twisted")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="seed: expected int"):
        run(hours, seed="one")  # type: ignore[arg-type]


@both
def test_what_gives_no_coroutine_is_refused(backend: Any) -> None:
    wrong: Any = hours()
    with pytest.raises(
        TypeError, match=r"^async_fn: expected an async function, not called yet: run\(f, 1\), found <cor"
    ):
        run(wrong, backend=backend)
    wrong = lambda: 3  # noqa: E731 (no name: that is the case)
    with pytest.raises(TypeError, match=r"^async_fn: expected an async function, not called yet: .*, found <function"):
        run(wrong, backend=backend)


# -- deadlocks ---------------------------------------------------------------------------------------------------------


async def wait_for_nobody() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.Event().wait, name="forsaken")


@both
def test_a_deadlock_is_an_error_that_says_who_waits_where(backend: Any) -> None:
    with pytest.raises(DeadlockError, match="nothing can run and no timer is set") as caught:
        run(wait_for_nobody, backend=backend)
    assert re.search(r"  forsaken waits at .*:\d+ in ", str(caught.value))
    assert re.search(r" waits at .*test_virtual\.py:\d+ in wait_for_nobody", str(caught.value))


@both
def test_a_deadlock_that_ignores_cancellation_ends_too(backend: Any) -> None:
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.Event().wait()

    with pytest.raises(DeadlockError):
        run(stubborn, backend=backend)


def test_sleeping_for_ever_is_a_deadlock() -> None:
    with pytest.raises(DeadlockError):
        run(asyncio.sleep, float("inf"))


# -- order -------------------------------------------------------------------------------------------------------------


async def race() -> list[int]:
    order: list[int] = []

    async def runner(number: int) -> None:
        await anyio.sleep(1)
        order.append(number)
        await anyio.lowlevel.checkpoint()
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(runner, number)
    return order


@both
def test_a_seed_decides_the_order(backend: Any) -> None:
    orders = [run(race, backend=backend, seed=seed) for seed in range(1, 20)]
    assert orders == [run(race, backend=backend, seed=seed) for seed in range(1, 20)]
    assert len(set(map(tuple, orders))) > 10


def test_seed_0_is_first_come_first_served_on_asyncio() -> None:
    assert run(race) == [0, 1, 2, 3, 4, 5] * 2


async def cancelled_together() -> list[int]:
    """The order in which anyio cancels tasks and scopes comes from sets of objects."""
    order: list[int] = []

    async def sleeper(number: int) -> None:
        try:
            with anyio.CancelScope():
                await anyio.sleep_forever()
        finally:
            order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(sleeper, number)
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    return order


PROGRAM = """
from tests.testing.test_virtual import cancelled_together, race, run
garbage = [object() for _ in range({garbage})]
for backend in ("asyncio", "trio"):
    print([run(each, backend=backend, seed=seed) for each in (race, cancelled_together) for seed in range(5)])
"""


def test_another_process_finds_the_same_order() -> None:
    found = set()
    for hashes in range(3):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(garbage=hashes * 1001)],
            env={**os.environ, "PYTHONHASHSEED": str(hashes)},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


@both
def test_what_is_patched_for_a_run_is_put_back(backend: Any) -> None:
    before = trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING, trio._core._run._r
    run(hours, backend=backend)
    with pytest.raises(DeadlockError):
        run(wait_for_nobody, backend=backend)
    after = trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING, trio._core._run._r
    assert before == after
    assert anyio._backends._asyncio.__dict__.get("set", set) is set


# -- what is left ------------------------------------------------------------------------------------------------------


def test_tasks_left_on_asyncio_are_cancelled() -> None:
    ended = []

    async def forgotten() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(asyncio.get_running_loop().time())

    async def call() -> asyncio.Task[None]:
        task = asyncio.create_task(forgotten())
        await asyncio.sleep(3)
        return task

    assert run(call).cancelled()
    assert ended == [3]


@both
def test_threads_take_no_virtual_time(backend: Any) -> None:
    def work() -> str:
        time.sleep(0.03)
        return threading.current_thread().name

    async def call() -> tuple[str, float]:
        return await anyio.to_thread.run_sync(work), anyio.current_time()

    name, now = run(call, backend=backend)
    assert name != threading.current_thread().name
    assert now == 0


@both
def test_a_workflow_with_plain_functions_runs(backend: Any) -> None:
    def plain() -> int:
        time.sleep(0.01)
        return 1

    async def waits(plain: int) -> int:
        await anyio.sleep(60)
        return plain + 1

    assert run(orch.run, orch.Graph(plain, waits), backend=backend).value == {"plain": 1, "waits": 2}


def nap() -> None:
    time.sleep(0.001)


def doze() -> str:
    time.sleep(0.05)
    return "done"


@both
def test_a_thread_that_has_nothing_to_do_with_it_may_end(backend: Any) -> None:
    go_on = threading.Event()
    foreign = threading.Thread(target=go_on.wait)
    foreign.start()

    async def call() -> str:
        go_on.set()
        foreign.join()
        return await anyio.to_thread.run_sync(doze)

    assert run(call, backend=backend) == "done"


@both
def test_threads_of_an_earlier_run_are_used_again(backend: Any) -> None:
    async def call() -> str:
        return await anyio.to_thread.run_sync(doze)

    assert [run(call, backend=backend) for _ in range(5)] == ["done"] * 5


@both
def test_what_a_thread_has_told_before_it_ended_is_heard(backend: Any) -> None:
    for _ in range(300):
        assert run(orch.run, orch.Parallel(*[nap] * 4), backend=backend).value == [None] * 4


async def forsaken() -> None:
    await anyio.Event().wait()


async def after_a_thread() -> None:
    await anyio.to_thread.run_sync(nap)
    await forsaken()


@both
@pytest.mark.parametrize(
    "stuck",
    [
        pytest.param(lambda: orch.run(orch.Sequence(nap, forsaken)), id="sequence"),
        pytest.param(lambda: orch.run(orch.Parallel(nap, forsaken)), id="parallel"),
        pytest.param(after_a_thread, id="a thread of anyio"),
    ],
)
def test_threads_do_not_hide_a_deadlock(monkeypatch: pytest.MonkeyPatch, backend: Any, stuck: Any) -> None:
    monkeypatch.setattr(Patience, "LONGEST", 0.4)
    monkeypatch.setattr(Patience, "PARKED", 0.2)
    with pytest.raises(DeadlockError, match="in forsaken"):
        run(stuck, backend=backend)


@both
def test_a_deadlock_names_the_threads_that_were_waited_for(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    monkeypatch.setattr(Patience, "LONGEST", 0.2)
    end = threading.Event()

    async def call() -> None:
        threading.Thread(target=end.wait, name="hopeless").start()
        await forsaken()

    try:
        with pytest.raises(DeadlockError, match=r"  thread hopeless gave no news in 0\.2 seconds"):
            run(call, backend=backend)
    finally:
        end.set()


@both
def test_many_short_runs_are_cheap(backend: Any) -> None:
    began = time.perf_counter()
    for seed in range(200):
        run(anyio.sleep, 1, backend=backend, seed=seed)
    assert time.perf_counter() - began < 2


@both
def test_the_clock_goes_with_the_loop(backend: Any) -> None:
    async def call() -> list[float]:
        clock = VirtualClock(epoch=1_700_000_000)
        await anyio.sleep(2.5)
        return [clock.monotonic(), clock.time()]

    assert run(call, backend=backend) == [2.5, 1_700_000_002.5]

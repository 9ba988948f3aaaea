"""`RateLimit`: how many start and when, that who comes first starts first, and that who is cancelled takes nothing."""

import copy
import pickle
import random
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch import RateLimit
from orch.policies import Limiter
from orch.testing import run
from tests.properties.rates import Rate
from tests.properties.test_random_runs import CI

T = TypeVar("T")

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def start_times(limit: RateLimit, calls: int) -> list[float]:
    """When so many calls one after another may start."""
    times = []
    for _ in range(calls):
        async with limit:
            times.append(anyio.current_time())
    return times


# -- how many, and when ------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "limit,expected",
    [
        (RateLimit(1), [0, 1, 2, 3, 4, 5]),
        (RateLimit(3), [0, 0, 0, 1, 1, 1]),
        (RateLimit(2, per=60), [0, 0, 60, 60, 120, 120]),
        (RateLimit(2, per=timedelta(hours=1)), [0, 0, 3600, 3600, 7200, 7200]),
        (RateLimit(2, burst=1), [0, 0.5, 1, 1.5, 2, 2.5]),
        (RateLimit(2, burst=3), [0, 0, 0, 0.5, 1, 1.5]),
        (RateLimit(4, per=2, burst=2), [0, 0, 0.5, 1, 1.5, 2]),
    ],
    ids=repr,
)
def test_starts_are_as_far_apart_as_said(limit: RateLimit, expected: list[float], backend: Any) -> None:
    assert run(start_times, copy.copy(limit), len(expected), backend=backend) == expected


@both
def test_a_window_moves_and_a_bucket_fills_up(backend: Any) -> None:
    async def main(limit: RateLimit) -> list[float]:
        await start_times(limit, 1)
        await anyio.sleep(0.75)
        return await start_times(limit, 4)

    assert run(main, RateLimit(2), backend=backend) == [0.75, 1.0, 1.75, 2.0]
    assert run(main, RateLimit(2, burst=2), backend=backend) == [0.75, 0.75, 1.25, 1.75]


@both
def test_a_long_silence_saves_up_no_more_than_the_burst(backend: Any) -> None:
    async def main(limit: RateLimit) -> list[float]:
        await start_times(limit, 5)
        await anyio.sleep_until(1000)
        return await start_times(limit, 4)

    assert run(main, RateLimit(2, burst=3), backend=backend) == [1000, 1000, 1000, 1000.5]
    assert run(main, RateLimit(3), backend=backend) == [1000, 1000, 1000, 1001]


@given(
    st.integers(1, 7),
    st.floats(1e-3, 1e3),
    st.lists(st.floats(0, 3), max_size=30),
    st.sampled_from(["asyncio", "trio"]),
)
def test_in_no_window_more_start_than_may(rate: int, per: float, pauses: list[float], backend: Any) -> None:
    """Whatever the numbers: with times that floats do not hold exactly, too."""

    async def main() -> list[float]:
        limit, times = RateLimit(rate, per), []
        for pause in pauses:
            await anyio.sleep(pause)
            await limit.acquire()
            times.append(anyio.current_time())
        return times

    times = run(main, backend=backend)
    assert all(late >= early + per for early, late in zip(times, times[rate:], strict=False))


def test_only_what_counts_is_remembered() -> None:
    limit = RateLimit(1000)

    async def main() -> None:
        for _ in range(100):
            await anyio.sleep(0.3)
            await limit.acquire()

    run(main)
    assert len(limit._starts._starts) <= 4  # type: ignore[union-attr]


# -- without waiting ---------------------------------------------------------------------------------------------------


@both
def test_without_waiting_it_starts_or_says_no(backend: Any) -> None:
    async def main(limit: RateLimit) -> list[float]:
        starts = []
        for tenth in range(0, 30, 4):
            await anyio.sleep_until(tenth / 8)
            try:
                limit.acquire_nowait()
                starts.append(tenth / 8)
            except anyio.WouldBlock:
                pass
        return starts

    assert run(main, RateLimit(1), backend=backend) == [0, 1, 2, 3]
    assert run(main, RateLimit(1, burst=2), backend=backend) == [0, 0.5, 1, 2, 3]


@both
def test_who_does_not_wait_does_not_overtake_who_does(backend: Any) -> None:
    async def main() -> None:
        limit, started = RateLimit(1), []

        async def wait(name: str) -> None:
            await limit.acquire()
            started.append(name)

        async with anyio.create_task_group() as group:
            limit.acquire_nowait()
            for name in "ab":
                group.start_soon(wait, name)
                await anyio.wait_all_tasks_blocked()
            while len(started) < 2:
                with pytest.raises(anyio.WouldBlock):
                    limit.acquire_nowait()
                await anyio.sleep(0.25)
        assert started == ["a", "b"]

    run(main, backend=backend)


def test_release_does_nothing() -> None:
    limit = RateLimit(1)
    limit.release()  # not even outside an event loop

    async def main() -> list[float]:
        limit.release()
        return await start_times(limit, 3)

    assert run(main) == [0, 1, 2]


# -- who ---------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", [RateLimit(3), RateLimit(3, burst=1)], ids=["window", "bucket"])
def test_who_comes_first_starts_first(limit: RateLimit, backend: Any, seed: int) -> None:
    limit = copy.copy(limit)
    came: list[int] = []
    started: list[int] = []

    async def call(number: int) -> None:
        await anyio.sleep(number % 5)
        came.append(number)
        async with limit:
            started.append(number)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(call, number)

    run(main, backend=backend, seed=seed)
    assert sorted(came) == list(range(40))
    assert started == came


@both
@pytest.mark.parametrize("who", [0, 1, 2])
@pytest.mark.parametrize("when", [0.5, 1.0])
def test_who_is_cancelled_takes_no_start(who: int, when: float, backend: Any) -> None:
    """C12: the first of those that wait, one in the middle, and the last; also in the tick in which it could start."""
    limit, started = RateLimit(1), dict[int, float]()

    async def call(number: int, scope: anyio.CancelScope) -> None:
        with scope:
            await limit.acquire()
            started[number] = anyio.current_time()

    async def main() -> None:
        limit.acquire_nowait()
        scopes = [anyio.CancelScope() for _ in range(3)]
        async with anyio.create_task_group() as group:
            for number, scope in enumerate(scopes):
                group.start_soon(call, number, scope)
                await anyio.wait_all_tasks_blocked()
            await anyio.sleep_until(when)
            scopes[who].cancel()
        assert not limit._waiting

    run(main, backend=backend)
    assert sorted(started) == [number for number in range(3) if number != who] or (
        when == 1 and who == 0 and len(started) == 3
    )
    assert sorted(started.values()) == [1 + n for n in range(len(started))]


@both
def test_who_is_cancelled_before_takes_no_start(backend: Any) -> None:
    async def main() -> list[float]:
        limit = RateLimit(1)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await limit.acquire()
        assert scope.cancelled_caught
        return await start_times(limit, 2)

    assert run(main, backend=backend) == [0, 1]


@both
def test_ten_thousand_that_wait_are_cancelled_quickly(backend: Any) -> None:
    limit = RateLimit(1)

    async def main() -> float:
        async with anyio.create_task_group() as group:
            for _ in range(10_000):
                group.start_soon(limit.acquire)
            await anyio.sleep(0.5)
            begin = time.process_time()
            group.cancel_scope.cancel()
        return time.process_time() - begin

    assert run(main, backend=backend) < 3  # quadratic, it would be ten times that
    assert not limit._waiting


@given(st.randoms(use_true_random=False), st.integers(0, 3), st.sampled_from(["asyncio", "trio"]))
@CI
def test_any_crowd_starts_as_the_model_says(random: random.Random, seed: int, backend: Any) -> None:
    """Callers that come at eighths of a second and may give up at odd sixteenths, so that nothing is a tie."""
    rate, interval, burst = random.randint(1, 4), random.randint(1, 4), random.choice([None, None, 1, 2, 3])
    limit, model = RateLimit(rate, per=rate * interval / 8, burst=burst), Rate(rate, interval / 8, burst)
    plans = [(random.randint(0, 24) / 8, random.choice([None, random.randint(0, 24) / 8 + 1 / 16])) for _ in range(15)]
    came: list[tuple[float, int]] = []
    started: list[tuple[float, int]] = []

    async def call(number: int) -> None:
        arrival, patience = plans[number]
        await anyio.sleep_until(arrival)
        came.append((anyio.current_time(), number))
        with anyio.move_on_after(patience):
            await limit.acquire()
            started.append((anyio.current_time(), number))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(len(plans)):
                group.start_soon(call, number)

    run(main, backend=backend, seed=seed)
    leaves = {number: arrival + patience for number, (arrival, patience) in enumerate(plans) if patience is not None}
    assert started == model.starts(came, leaves)


# -- the object, and its event loops -----------------------------------------------------------------------------------


def test_it_shows_its_numbers() -> None:
    assert repr(RateLimit(10, per=60)) == "RateLimit(10, per=60)"
    assert repr(RateLimit(10, burst=3)) == "RateLimit(10, per=1, burst=3)"
    limit = RateLimit(10, per=timedelta(minutes=1), burst=3)
    assert (limit.rate, limit.per, limit.burst) == (10, 60.0, 3)


@pytest.mark.parametrize("burst", [None, 2])
def test_a_copy_begins_anew(burst: int | None) -> None:
    limit = RateLimit(2, per=5, burst=burst)
    assert run(start_times, limit, 2) == [0, 0]

    for other in (pickle.loads(pickle.dumps(limit)), copy.copy(limit), copy.deepcopy(limit)):
        assert (other.rate, other.per, other.burst) == (2, 5.0, burst)
        assert run(start_times, other, 2) == [0, 0]


async def test_it_is_a_limiter_as_others_are() -> None:
    for limiter in (RateLimit(1), anyio.CapacityLimiter(1), anyio.Semaphore(1)):
        assert isinstance(limiter, Limiter)


@pytest.mark.parametrize("limit", [RateLimit(1), RateLimit(1, burst=1)], ids=["window", "bucket"])
def test_the_next_event_loop_goes_on_where_the_last_one_was(limit: RateLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops begin their clocks where they like; how long ago the last start was, the clock of the process knows."""
    limit = copy.copy(limit)
    real = 1000.0
    monkeypatch.setattr("orch.policies._limit.time", SimpleNamespace(monotonic=lambda: real))

    async def late() -> list[float]:
        await anyio.sleep(100)
        return await start_times(limit, 2)

    assert run(late) == [100, 101]
    real += 0.25
    assert run(start_times, limit, 1, backend="trio") == [0.75]
    real += 0.5
    assert run(start_times, limit, 2) == [0.5, 1.5]
    real += 3600
    assert run(late, backend="trio") == [100, 101]


def test_an_event_loop_that_started_nothing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = 1000.0
    monkeypatch.setattr("orch.policies._limit.time", SimpleNamespace(monotonic=lambda: real))
    limit = RateLimit(1)

    async def refused() -> None:
        await anyio.sleep(5)
        with pytest.raises(anyio.WouldBlock):
            limit.acquire_nowait()

    async def begin() -> None:
        await anyio.sleep(50)
        await limit.acquire()

    run(begin)
    for _ in range(3):
        real += 0.125
        run(refused, backend="trio")
    real += 0.125
    assert run(start_times, limit, 1) == [0.5]


def in_thread(call: Callable[[], Coroutine[Any, Any, T]]) -> T | BaseException:
    """Run a coroutine function in the event loop of another thread, and return what it gave or raised."""
    found: list[T | BaseException] = []

    def work() -> None:
        try:
            found.append(anyio.run(call))
        except BaseException as error:  # noqa: BLE001
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


async def test_while_some_wait_another_event_loop_is_refused() -> None:
    limit = RateLimit(1, per=3600)

    async def intrude() -> None:
        limit.acquire_nowait()

    limit.acquire_nowait()
    async with anyio.create_task_group() as group:
        group.start_soon(limit.acquire)
        await anyio.wait_all_tasks_blocked()
        found = await anyio.to_thread.run_sync(in_thread, intrude)
        group.cancel_scope.cancel()
    assert isinstance(found, RuntimeError)
    assert str(found) == "RateLimit(1, per=3600) is in use in another event loop: give each one a RateLimit of its own"

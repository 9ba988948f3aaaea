"""What the engine takes for granted of the installed anyio and trio, whether documented or not.

None of these tests calls orch. Where one fails, its docstring says what in the engine no longer does what it says.
"""

import asyncio
import threading
from math import inf

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trio._threads
from anyio._core._eventloop import threadlocals
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from tests.execution.robust import on_asyncio

pytestmark = pytest.mark.timeout(20)


async def outlast(seconds: float = 0.02) -> None:
    """Take so long, whoever cancels."""
    with anyio.CancelScope(shield=True):
        await anyio.sleep(seconds)


# -- deadlines ---------------------------------------------------------------------------------------------------------


async def test_a_body_that_returns_after_the_deadline_has_returned() -> None:
    """Else a value that comes in the tick of the deadline, or after it, would be lost to a TaskTimeoutError (65)."""
    with anyio.CancelScope(deadline=anyio.current_time() + 0.005) as scope:
        await outlast()
        value = "late"

    assert value == "late"
    assert scope.cancel_called
    assert not scope.cancelled_caught
    await checkpoint_if_cancelled()  # and nothing of it is left


async def test_a_body_that_ends_in_the_tick_of_the_deadline_returns_or_is_cancelled_and_never_both() -> None:
    """Else a timeout that coincides with a result would give two outcomes, or none (C5)."""
    for _ in range(50):
        done = anyio.Event()
        deadline = anyio.current_time() + 0.002
        value = None

        async def finish(done: anyio.Event, deadline: float) -> None:
            await anyio.sleep_until(deadline)
            done.set()

        async with anyio.create_task_group() as group:
            group.start_soon(finish, done, deadline)
            with anyio.CancelScope(deadline=deadline) as scope:
                await done.wait()
                value = "done"
        assert (value is None) == scope.cancelled_caught


async def test_a_scope_whose_timeout_never_fired_tells_so() -> None:
    """Else a step cancelled by somebody else would be reported as timed out."""
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.CancelScope(deadline=anyio.current_time() + 60) as inner:
            await checkpoint()

    assert outer.cancelled_caught
    assert not inner.cancelled_caught


async def test_fail_after_blames_the_clock_for_any_cancellation_that_outlasts_it() -> None:
    """While this is so the engine must not use `fail_after`: it asks scopes whether they have caught something."""

    async def body() -> None:
        with anyio.fail_after(0.005) as scope:
            scope.cancel()  # somebody else, in time
            try:
                await checkpoint()
            finally:
                await outlast()

    with pytest.raises(TimeoutError):
        await body()


async def test_a_deadline_may_be_set_and_moved_from_outside() -> None:
    """Else the time of a plain function could not begin when its thread does, nor a run's grace when it ends (63)."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def begin() -> None:
                scope.deadline = anyio.current_time() + 60
                scope.deadline = min(scope.deadline, anyio.current_time() + 0.005)

            group.start_soon(begin)
            await anyio.sleep_forever()

    assert scope.cancelled_caught


async def test_the_effective_deadline_says_whether_one_is_cancelled() -> None:
    """Else `is_cancelled` is wrong: spare lanes would begin steps of a cancelled run, and skip those of a sound one."""
    found = []
    with anyio.CancelScope() as scope:
        found.append(anyio.current_effective_deadline())
        scope.cancel()
        found.append(anyio.current_effective_deadline())
        with anyio.CancelScope(shield=True):
            found.append(anyio.current_effective_deadline())
            await checkpoint()

    assert found == [inf, -inf, inf]


# -- asyncio's own cancellation ----------------------------------------------------------------------------------------


@on_asyncio
@pytest.mark.parametrize("first", ["cancel", "timeout"])
async def test_a_native_cancellation_in_the_tick_of_a_timeout_is_not_lost(first: str) -> None:
    """C3: else who cancels the task that runs a workflow would see it go on. anyio before 4.16 lost it."""
    loop = asyncio.get_running_loop()
    for _ in range(100):
        counts: list[int] = []

        async def body(counts: list[int]) -> None:
            task = asyncio.current_task()
            assert task is not None
            deadline = loop.time() + 0.001
            if first == "cancel":
                loop.call_at(deadline, task.cancel)
            try:
                with anyio.CancelScope(deadline=deadline):
                    if first == "timeout":
                        loop.call_at(deadline, task.cancel)
                    await anyio.sleep(1)
                await anyio.sleep(1)
            except asyncio.CancelledError:
                counts.append(task.cancelling())
                raise

        task = asyncio.create_task(body(counts))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert counts == [1]


@on_asyncio
async def test_a_timeout_leaves_the_count_of_cancellations_as_it_was() -> None:
    """Else `asyncio.timeout` and `TaskGroup` around a run would take its timeouts for their own (C3)."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()

    for _ in range(3):
        with anyio.move_on_after(0.002) as scope:
            with anyio.move_on_after(0.002):
                await anyio.sleep(1)
            await anyio.sleep(1)
        assert scope.cancelled_caught
        assert task.cancelling() == before


@on_asyncio
async def test_a_native_cancellation_goes_through_a_task_group_as_itself() -> None:
    """Else `task.cancel()` of a caller would come out of a run as a group, which nobody handles."""

    async def body() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1)
            await anyio.sleep(1)

    task = asyncio.create_task(body())
    await anyio.wait_all_tasks_blocked()
    task.cancel("why")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


# -- task groups -------------------------------------------------------------------------------------------------------


async def test_a_task_started_in_a_cancelled_group_runs_to_its_first_await_and_on_if_that_is_shielded() -> None:
    """Else compensations, the desk and lanes that are started late would never begin, and a run never settle."""
    found = []

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await checkpoint()
            await anyio.sleep(0.002)
            found.append("shielded")
        await checkpoint()
        found.append("never")

    async def bare() -> None:
        found.append("bare")
        await checkpoint()
        found.append("never")

    async with anyio.create_task_group() as group:
        group.cancel_scope.cancel()
        group.start_soon(shielded)
        group.start_soon(bare)

    assert sorted(found) == ["bare", "shielded"]


async def test_a_handle_cancels_its_task_alone_whenever_it_is_asked() -> None:
    """Else a lane could not be stopped: `Lane.stop` cancels through the handle that `start_soon` returns."""
    ends = []

    async def body(number: int) -> None:
        try:
            await anyio.sleep(0.05 if number == 2 else 60)
            ends.append((number, "done"))
        except anyio.get_cancelled_exc_class():
            ends.append((number, "cancelled"))
            raise

    async with anyio.create_task_group() as group:
        handles = [group.start_soon(body, number) for number in range(3)]
        handles[0].cancel()  # before it has begun: it begins nevertheless, up to its first await
        await anyio.wait_all_tasks_blocked()
        handles[1].cancel()
        handles[1].cancel()
    for handle in handles:
        handle.cancel()

    assert sorted(ends) == [(0, "cancelled"), (1, "cancelled"), (2, "done")]


async def test_a_cancelled_task_is_cancelled_at_every_await_until_it_ends() -> None:
    """Else a step that swallows its cancellation once would hold up the run for as long as it likes."""
    count = 0
    async with anyio.create_task_group() as group:

        async def stubborn() -> None:
            nonlocal count
            while count < 5:
                try:
                    await anyio.sleep(60)
                except anyio.get_cancelled_exc_class():
                    count += 1
            await anyio.sleep(60)

        group.start_soon(stubborn)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert count == 5


async def test_how_many_failures_of_one_tick_come_out_depends_on_the_backend(anyio_backend_name: str) -> None:
    """F3: why no error of a step travels through a task group. If both gave five, that would be no reason any more."""

    async def fail(number: int) -> None:
        await checkpoint()
        raise ValueError(number)

    async def body() -> None:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(fail, number)

    with pytest.raises(ExceptionGroup) as caught:
        await body()
    assert len(caught.value.exceptions) == (1 if anyio_backend_name == "trio" else 5)


async def test_how_a_group_ends_says_nothing_about_a_cancellation_in_its_last_tick(anyio_backend_name: str) -> None:
    """C2: why the core decides how a run has ended, and `execute` asks once more whether it was cancelled."""

    async def last(scope: anyio.CancelScope) -> None:
        scope.cancel()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(last, scope)

    assert scope.cancelled_caught == (anyio_backend_name != "trio")


# -- limiters ----------------------------------------------------------------------------------------------------------


async def test_an_abandoned_thread_keeps_its_token_on_trio_alone(anyio_backend_name: str) -> None:
    """Why the engine has threads of its own: else a step over its timeout would let one more thread begin (T1, T2)."""
    limiter, release = anyio.CapacityLimiter(1), threading.Event()
    with anyio.move_on_after(0.005) as scope:
        await anyio.to_thread.run_sync(release.wait, limiter=limiter, abandon_on_cancel=True)

    assert scope.cancelled_caught
    assert limiter.borrowed_tokens == (1 if anyio_backend_name == "trio" else 0)
    release.set()
    with anyio.fail_after(5):
        await anyio.to_thread.run_sync(threading.Event().wait, 0, limiter=limiter)  # and gives it back when it ends


async def test_a_token_borrowed_on_behalf_of_an_object_may_be_given_back_by_anybody() -> None:
    """Else the limiter of a body in a thread could not be given back when the thread ends: its task is gone by then."""
    limiter, one, two = anyio.CapacityLimiter(1), object(), object()
    await limiter.acquire_on_behalf_of(one)
    with pytest.raises(anyio.WouldBlock):
        limiter.acquire_on_behalf_of_nowait(two)
    with pytest.raises(RuntimeError):
        await limiter.acquire_on_behalf_of(one)

    async def give_back() -> None:
        limiter.release_on_behalf_of(one)

    async with anyio.create_task_group() as group:
        group.start_soon(give_back)
        await limiter.acquire_on_behalf_of(two)
    assert limiter.statistics().borrowers == (two,)
    limiter.release_on_behalf_of(two)
    with pytest.raises(RuntimeError):
        limiter.release_on_behalf_of(two)
    assert limiter.borrowed_tokens == 0


async def test_who_is_cancelled_while_it_waits_for_a_token_leaves_none_behind() -> None:
    """C12: else a limiter shared by runs would lose a token with each cancelled step that waited for one."""
    limiter = anyio.CapacityLimiter(1)
    limiter.acquire_nowait()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(limiter.acquire)
        await anyio.wait_all_tasks_blocked()
        assert limiter.statistics().tasks_waiting == 3
        limiter.release()  # in one tick with the cancellation
        group.cancel_scope.cancel()
    statistics = limiter.statistics()

    assert statistics.tasks_waiting == 0
    assert statistics.borrowed_tokens <= 1  # who was handed it in that tick has it, cancelled or not


async def test_a_token_handed_over_in_the_tick_of_a_cancellation_is_held_or_not_but_known() -> None:
    """Else `_acquire` could not tell whether there is something to give back: it has, if `acquire` has returned."""
    limiter, owner = anyio.CapacityLimiter(1), object()
    limiter.acquire_nowait()
    has = False

    async def wait() -> None:
        nonlocal has
        await limiter.acquire_on_behalf_of(owner)
        has = True

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        limiter.release()
        group.cancel_scope.cancel()

    assert has == (owner in limiter.statistics().borrowers)


def test_a_capacity_limiter_belongs_to_the_first_backend_that_uses_it() -> None:
    """Why a definition with one can not be run on asyncio and then on trio. If it could, the manual may say so."""
    limiter = anyio.CapacityLimiter(1)

    async def use() -> None:
        async with limiter:
            await checkpoint()

    anyio.run(use)
    with pytest.raises(BaseException):  # noqa: B017, PT011  (nobody says which)
        anyio.run(use, backend="trio")


# -- threads -----------------------------------------------------------------------------------------------------------


async def test_where_a_worker_thread_learns_that_it_is_to_end(anyio_backend_name: str) -> None:
    """Private names that `_leash.py` uses: else `check_cancelled` would never tell a step that it is to end."""
    found: list[str] = []
    begun = threading.Event()

    def body() -> None:
        if anyio_backend_name == "trio":
            data = trio._threads.PARENT_TASK_DATA
            found.extend(name for name in ("token", "abandon_on_cancel", "cancel_register") if hasattr(data, name))
        else:
            found.append(type(threadlocals.current_cancel_scope).__name__)
        begun.set()
        while True:
            try:
                anyio.from_thread.check_cancelled()
            except BaseException as error:
                found.append(type(error).__name__)
                raise

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, body)
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()

    if anyio_backend_name == "trio":
        assert found == ["token", "abandon_on_cancel", "cancel_register", "Cancelled"]
    else:
        assert found == ["CancelScope", "CancelledError"]


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_interrupt_in_a_child_reaches_its_group_and_on_asyncio_whoever_runs_the_loop(backend: str) -> None:
    """Why `bare` looks into groups: else Ctrl-C in the engine's own code would come out as a group on trio."""
    caught: list[BaseException] = []

    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(interrupted)
                await anyio.sleep(60)
        except BaseExceptionGroup as error:
            caught.append(error.exceptions[0])

    try:
        anyio.run(main, backend=backend)
    except KeyboardInterrupt as error:
        caught.append(error)
    assert [type(each) for each in caught] == [KeyboardInterrupt] * (2 if backend == "asyncio" else 1)

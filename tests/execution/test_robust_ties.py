"""What happens in one tick: whoever has a result has it in time. And small things that a review found."""

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import State
from orch.event import LogEvent
from orch.testing import VirtualClock, run, slow
from tests.execution.resilient import settle
from tests.execution.robust import until

SEEDS = range(20)
backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def play(workflow: orch.Workflow, backend: Any, seed: int) -> orch.RunResult:
    async def main() -> orch.RunResult:
        return await orch.AsyncRunner(clock=VirtualClock()).run(workflow, raise_on_failure=False)

    return run(main, backend=backend, seed=seed)


@backends
@pytest.mark.parametrize(
    "make", [lambda: orch.Task(slow(1), timeout=1), lambda: orch.Sequence(slow(1), timeout=1)], ids=["task", "group"]
)
def test_check_60_what_ends_in_the_tick_of_its_deadline_has_ended_in_time(
    make: Callable[[], orch.Workflow], backend: str
) -> None:
    assert {play(make(), backend, seed).state for seed in SEEDS} == {State.SUCCEEDED}


async def test_check_65_a_body_that_blocks_the_loop_beyond_its_timeout_is_late() -> None:
    def blocks() -> str:
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            pass
        return "late"

    result = await settle(orch.Task(blocks, thread=False, timeout=0.001))
    assert result.value == "late"
    assert [event.level for event in result.trace if isinstance(event, LogEvent)] == ["warning"]


async def test_a_limiter_that_is_taken_without_awaiting_is_given_back_and_refused() -> None:
    class Wrong:
        taken = 0

        def acquire(self) -> bool:
            self.taken += 1
            return True

        def release(self) -> None:
            self.taken -= 1

    wrong: Any = Wrong()
    result = await settle(orch.Task(slow(0), limiter=wrong))
    assert wrong.taken == 0
    assert "make it `async def acquire`" in str(result.errors[0])


async def test_check_14_what_a_compensation_sets_no_other_sees() -> None:
    seen: list[str] = []
    setting: ContextVar[str] = ContextVar("setting", default="clean")

    def undo() -> Any:
        async def later() -> None:
            seen.append(setting.get())
            setting.set("dirty")

        return later()

    async def fails() -> None:
        raise ValueError

    steps = [orch.Task(slow(0), name=name, compensate=undo) for name in "ab"]
    result = await settle(orch.Sequence(*steps, fails, on_failure="compensate"))
    assert result.state is State.FAILED
    assert seen == ["clean", "clean"]


async def test_check_100_a_run_that_is_not_entered_says_so() -> None:
    handle = orch.AsyncRunner().iter(slow(0))
    with pytest.raises(RuntimeError, match="async with"):
        await handle.wait()
    with pytest.raises(RuntimeError, match="async with"):
        await anext(handle)
    with pytest.raises(TypeError, match="step: expected str"):
        handle.cancel(3)  # type: ignore[arg-type]


async def test_check_49_leaving_the_block_while_a_failed_run_undoes_leaves_it_failed() -> None:
    undoing = anyio.Event()

    async def undo() -> None:
        undoing.set()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()

    async def fails() -> None:
        raise ValueError("first")

    book = orch.Task(slow(0), name="book", compensate=undo)
    runner = orch.AsyncRunner()

    async def leave() -> None:
        async with runner.iter(orch.Sequence(book, fails, on_failure="compensate")) as handle:
            await until(undoing.is_set)
            assert handle.cancel() is False

    with pytest.raises(orch.WorkflowError) as caught:
        await leave()
    assert caught.value.result.tasks["book"].state is State.COMPENSATED

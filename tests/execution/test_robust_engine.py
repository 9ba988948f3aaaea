"""What becomes of a run when something else fails than a step: a limiter at the end, or the engine itself."""

import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import State
from orch.errors import InternalError
from orch.execution import Run
from tests.execution.resilient import settle
from tests.execution.robust import Gate, immediate, until, within


class Async:
    """A limiter in another process, say: it is given back by asking, too."""

    def __init__(self) -> None:
        self.taken = self.most = 0

    async def acquire(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.taken += 1
        self.most = max(self.most, self.taken)

    async def release(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.taken -= 1


async def test_a_limiter_that_is_given_back_by_awaiting_is_awaited() -> None:
    limiter: Any = Async()
    result = await settle(orch.Sequence(*[orch.Task(immediate, limiter=limiter) for _ in range(3)]))
    assert result.state is State.SUCCEEDED
    assert (limiter.taken, limiter.most) == (0, 1)


async def test_a_limiter_that_fails_when_a_late_thread_gives_it_back_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        async def acquire(self) -> None: ...

        def release(self) -> None:
            raise OSError("the line is dead")

    gate, broken = Gate(), Broken()
    with within(5):
        runner = orch.AsyncRunner(grace=0.01)
        result = await runner.run(orch.Task(gate, name="gate", limiter=broken, timeout=0.01), raise_on_failure=False)
        assert [record.path for record in result.abandoned] == ["gate"]
        gate.open()
        await until(lambda: "the line is dead" in caplog.text)


@pytest.mark.parametrize("policies", [{}, {"timeout": 60}], ids=["plain", "with a desk"])
async def test_a_mistake_of_the_engine_ends_the_run_instead_of_letting_it_hang(
    monkeypatch: pytest.MonkeyPatch, policies: dict[str, Any]
) -> None:
    def mistaken(*_: object) -> None:
        raise LookupError("a mistake")

    monkeypatch.setattr(Run, "exit", mistaken)
    steps: list[Callable[..., Any]] = [orch.Task(anyio.lowlevel.checkpoint, **policies), orch.Task(anyio.sleep_forever)]
    with within(5), pytest.raises(InternalError, match="a mistake"):
        await orch.run(orch.Parallel(*steps))


async def test_a_group_is_undone_when_all_that_outlive_their_steps_have_ended_whoever_is_first() -> None:
    undone: list[str] = []

    async def undo() -> None:
        undone.append("undone")

    booked = orch.Task(immediate, name="booked", compensate=undo)
    lasts = [orch.Task(time.sleep, seconds, name=f"{seconds} s", timeout=0.01) for seconds in (0.08, 0.04, 0.04)]
    late = orch.Parallel(*lasts, on_failure="continue")
    with within(5):
        result = await orch.AsyncRunner().run(
            orch.Sequence(booked, late, on_failure="compensate"), raise_on_failure=False
        )
    assert result.state is State.FAILED
    assert undone == ["undone"]

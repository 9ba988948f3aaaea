"""Steps for tests: they fail as often, and take as long, as they were told."""

from typing import Any

import anyio
import pytest

import orch
from orch.testing import fails, run, slow

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def settled(step: Any, backend: Any) -> orch.RunResult:
    async def call() -> orch.RunResult:
        return await orch.run(step, raise_on_failure=False)

    return run(call, backend=backend)


@both
def test_it_fails_so_often_and_then_succeeds(backend: Any) -> None:
    step = fails(2, then="fine")
    assert [settled(step, backend).state.value for _ in range(4)] == ["failed", "failed", "succeeded", "succeeded"]
    assert step.calls == 4
    assert settled(step, backend).value == "fine"


@both
@pytest.mark.parametrize("error", [KeyError("gone"), KeyError])
def test_it_raises_what_it_is_told(backend: Any, error: Any) -> None:
    (found,) = settled(fails(error=error), backend).errors
    assert found is error or type(found) is error


def test_without_an_error_it_says_which_call_failed() -> None:
    (found,) = settled(fails(3), "asyncio").errors
    assert str(found) == "call 1 of 3 that fail"


@pytest.mark.parametrize("error", ["boom", int, 3])
def test_what_cannot_be_raised_is_refused(error: Any) -> None:
    with pytest.raises(TypeError, match=r"^error: expected an exception or a class of them, found "):
        fails(error=error)


@both
def test_it_takes_its_time(backend: Any) -> None:
    async def call() -> float:
        await orch.run(orch.Sequence(slow(2), slow(0.5), slow(0)))
        return anyio.current_time()

    assert run(call, backend=backend) == 2.5


def test_their_names_and_values() -> None:
    steps = fails(0, then=1), slow(1, value=2)
    assert [orch.task(step).name for step in steps] == ["fails", "slow"]
    assert run(orch.run, orch.Parallel(*steps)).value == [1, 2]
    assert [repr(step) for step in steps] == ["<fails 0 times, 1 calls so far>", "<slow, 1 seconds, 1 calls so far>"]


@pytest.mark.parametrize("make, number", [(fails, -1), (slow, -1), (slow, float("nan"))])
def test_numbers_out_of_range_are_refused(make: Any, number: Any) -> None:
    with pytest.raises(ValueError, match="expected at least 0"):
        make(number)

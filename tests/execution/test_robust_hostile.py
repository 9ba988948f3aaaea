"""Errors, policies and clocks that misbehave: the run ends, and says what happened."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

import orch
from orch import AsyncRunner, CircuitBreaker, CompensationError, Parallel, Retry, Sequence, State, Task
from orch.testing import slow
from tests.execution.resilient import Diary, failing, of_kind, settle, states, ticks, virtual

pytestmark = pytest.mark.timeout(30)


class HostileError(Exception):
    """An error that does not let itself be looked at."""

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def add_note(self, note: str) -> None:
        raise RuntimeError("note")


class Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise LookupError("instancecheck")


class EvasiveError(Exception, metaclass=Meta):
    """A class of which nobody can say whether something is one of it."""


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["coroutine", "suspended", "thread", "in place"])
async def test_an_error_that_cannot_be_shown_is_tried_again_counted_and_kept(kind: str) -> None:
    """F10."""
    errors = [HostileError(), HostileError()]
    breaker, calls = CircuitBreaker(fail_max=2), list[int]()

    def act() -> None:
        calls.append(1)
        raise errors[len(calls) - 1]

    task = Task(of_kind(kind, act), name="s", thread=False if kind == "in place" else None)
    task = task.evolve(retry=Retry(2, delay=0), breaker=breaker, timeout=60)
    result = await orch.run(Sequence(task, breaker=CircuitBreaker()), raise_on_failure=False)
    assert result.tasks["s"].error is errors[1]
    assert (result.state, breaker.state) == (State.FAILED, "open")
    assert result.to_json()
    assert "s" in repr(result.tasks["s"])


async def test_it_may_come_out_of_a_compensation() -> None:
    """F10."""
    diary, error = Diary(), HostileError()
    steps = [diary.step("a"), diary.step("b", compensate=diary.undo("b", error=error)), failing(HostileError())]
    result = await orch.run(Sequence(*steps, on_failure="compensate"), raise_on_failure=False)
    assert diary.lines == ["a", "b", "undo b", "undo a"]
    assert result.tasks["b"].compensation_error is error
    assert isinstance(result.errors[1], CompensationError)


async def test_errors_that_cause_each_other_in_a_circle_are_no_endless_loop() -> None:
    """F10."""
    one, other = ValueError("one"), orch.RetryAfter(0)
    one.__cause__, other.__cause__ = other, one
    group = ExceptionGroup("g", [one])
    group.__cause__ = group
    for error in (one, other, group):
        result = await settle(Sequence(failing(error, retry=Retry(2, delay=0), breaker=CircuitBreaker())))
        assert result.tasks["fails"].attempts == 2


async def test_one_error_object_out_of_many_tasks_is_kept_for_each() -> None:
    error = ValueError("shared")
    tasks = [failing(error, f"f{k}", retry=Retry(2, delay=0)) for k in range(20)]
    result = await settle(Parallel(*tasks, on_failure="continue"))
    assert result.errors == (error,) * 20
    assert len(error.__notes__) == 40


# -- classes of errors -------------------------------------------------------------------------------------------------


async def test_a_breaker_of_a_task_that_cannot_judge_an_error_fails_the_task() -> None:
    result = await settle(failing(ValueError(), breaker=CircuitBreaker(ignore=EvasiveError)))
    assert [str(error) for error in result.errors] == ["instancecheck"]


# -- plain numbers -----------------------------------------------------------------------------------------------------


NAN, INF = float("nan"), float("inf")
OUT_OF_RANGE: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    *[(Retry, {"max_attempts": bad}) for bad in (0, -1, 1.5, True)],
    *[(Retry, {"delay": bad}) for bad in (-1, NAN, INF)],
    *[(Retry, {"max_delay": bad}) for bad in (0, NAN)],
    *[(Retry, {"jitter": bad}) for bad in (-0.1, 1.1, NAN)],
    *[(Retry, {"deadline": bad}) for bad in (0, -1)],
    (Retry, {"backoff": "cubic"}),
    (Retry, {"retry_on": (1,)}),
    (CircuitBreaker, {"fail_max": 0}),
    *[(CircuitBreaker, {"reset_timeout": bad}) for bad in (0, NAN, INF)],
    (CircuitBreaker, {"name": ""}),
    *[(orch.RateLimit, {"rate": bad}) for bad in (0, 0.5)],
    (orch.RateLimit, {"rate": 1, "per": 0}),
    (orch.RateLimit, {"rate": 1, "burst": 0}),
    *[(orch.RetryAfter, {"seconds": bad}) for bad in (-1, NAN)],
    (Sequence, {"limit": 0}),
    (Sequence, {"on_failure": "explode"}),
    *[(AsyncRunner, {name: -1}) for name in ("limit", "threads", "grace", "compensation_timeout")],
]


@pytest.mark.parametrize("make, options", OUT_OF_RANGE, ids=[f"{f.__name__}-{o}" for f, o in OUT_OF_RANGE])
def test_check_10_what_is_out_of_range_is_refused_at_once(make: Callable[..., Any], options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r".+: expected .+"):
        make(**options)


# -- clocks ------------------------------------------------------------------------------------------------------------


@virtual
async def test_a_clock_that_stands_still_or_goes_back_does_not_stop_the_run() -> None:
    """Timers go by the event loop; the given clock is for breakers, deadlines of retries, and what is shown."""

    class Back:
        now = 100.0

        def monotonic(self) -> float:
            Back.now -= 1
            return Back.now

        def time(self) -> float:
            return 0.0

    flaky = Task(slow(1), name="a", timeout=5)
    steps = [flaky, failing(ValueError(), retry=Retry(3, delay=2, deadline=100), breaker=CircuitBreaker())]
    result = await settle(Sequence(*steps, timeout=60), runner=AsyncRunner(clock=Back()))
    assert states(result) == {"a": "succeeded", "fails": "failed"}
    assert result.tasks["fails"].attempts == 3
    assert anyio.current_time() == 5


@pytest.mark.parametrize("bad", [1, object(), lambda: 0.0], ids=str)
def test_what_is_no_clock_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="clock"):
        AsyncRunner(clock=bad)


async def test_a_strategy_object_that_raises_while_a_group_compensates_inside() -> None:
    diary = Diary()

    class Broken:
        def on_failure(self, event: Any, group: Any) -> Any:
            raise LookupError("strategy")

    inner = Sequence(diary.step("a"), failing(ValueError()), on_failure="compensate", name="inner")
    result = await orch.run(Sequence(inner, Task(ticks, name="z"), on_failure=Broken()), raise_on_failure=False)
    assert diary.lines == ["a", "undo a"]
    assert [type(error) for error in result.errors] == [ValueError, LookupError]
    assert states(result)["z"] == "skipped"


# -- policies of the user's own ----------------------------------------------------------------------------------------


def raises(*_: Any) -> Any:
    raise LookupError("policy")


def own(base: Any, **methods: Any) -> Any:
    """A policy of a class of one's own."""
    return type("Own", (base,), methods)()


@pytest.mark.parametrize("kind", ["coroutine", "suspended", "thread", "in place"])
async def test_a_policy_that_raises_fails_the_task(kind: str) -> None:
    def act() -> None:
        raise ValueError

    task = Task(
        of_kind(kind, act), name="s", thread=False if kind == "in place" else None, retry=own(Retry, next_delay=raises)
    )
    result = await settle(Sequence(task, Task(ticks, name="next"), on_failure="continue"))
    assert [str(error) for error in result.errors] == ["policy"]
    assert states(result) == {"s": "failed", "next": "succeeded"}


@pytest.mark.parametrize("answer", [float("nan"), -5, "soon"], ids=repr)
async def test_a_policy_that_answers_nonsense_fails_the_task(answer: Any) -> None:
    def next_delay(_: Any, attempt: int, *__: Any) -> Any:
        return answer if attempt < 3 else None

    task = failing(ValueError(), retry=own(Retry, next_delay=next_delay))
    result = await settle(Sequence(task, Task(ticks, name="next"), on_failure="continue"))
    assert states(result) == {"fails": "failed", "next": "succeeded"}
    assert isinstance(result.errors[0], TypeError if answer == "soon" else ValueError)


async def test_a_class_that_cannot_be_judged_fails_the_task() -> None:
    result = await settle(failing(ValueError(), retry=Retry(3, delay=0, retry_on=EvasiveError)))
    assert [str(error) for error in result.errors] == ["instancecheck"]


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_a_breaker_of_a_group_that_raises_does_not_stop_the_run(ends: str) -> None:
    broken = own(CircuitBreaker, succeeded=raises, failed=raises)
    step: Any = Task(ticks, name="s") if ends == "well" else failing(ValueError(), "s")
    with anyio.fail_after(10):
        result = await orch.run(
            Sequence(Sequence(step, breaker=broken, name="g"), Task(ticks, name="next"), on_failure="continue"),
            raise_on_failure=False,
        )
    assert states(result)["next"] == "succeeded"

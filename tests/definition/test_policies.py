"""Policies of tasks and groups: what they accept, what they refuse, and what is part of a definition's value."""

import copy
import inspect
import math
import pickle
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from orch import CircuitBreaker, Context, Graph, Parallel, Retry, Sequence, Task, task
from orch.definition import Group
from orch.policies import Limiter

GROUPS = [Sequence, Parallel, Graph]


def charge(order: int, timeout: float = 1.0) -> int:
    return order


def refund(order: int) -> None: ...


class Turnstile:
    async def acquire(self) -> None: ...

    def release(self) -> None: ...


class HalfOpen:
    release = None

    async def acquire(self) -> None: ...


TURNSTILE = Turnstile()
BREAKER = CircuitBreaker("payments")

# -- what is refused ---------------------------------------------------------------------------------------------------

NO_TIME: list[tuple[Any, type[Exception], str]] = [
    (0, ValueError, "timeout: expected more than 0 seconds, found "),
    (0.0, ValueError, "timeout: expected more than 0 seconds, found "),
    (-1, ValueError, "timeout: expected more than 0 seconds, found "),
    (-math.inf, ValueError, "timeout: expected more than 0 seconds, found "),
    (math.nan, ValueError, "timeout: expected more than 0 seconds, found "),
    (timedelta(0), ValueError, "timeout: expected more than 0 seconds, found "),
    (timedelta(seconds=-1), ValueError, "timeout: expected more than 0 seconds, found "),
    (True, TypeError, "timeout: expected"),
    ("5", TypeError, "timeout: expected"),
    (1j, TypeError, "timeout: expected"),
]
NO_BREAKER: list[tuple[Any, type[Exception], str]] = [
    (3, TypeError, "breaker: expected CircuitBreaker or None, found int (3)"),
    ("payments", TypeError, "breaker: expected CircuitBreaker or None, found str ('payments')"),
    (CircuitBreaker, TypeError, "breaker: expected CircuitBreaker or None, found type"),
]
WRONG: list[tuple[str, Any, type[Exception], str]] = [
    *(("timeout", *each) for each in NO_TIME),
    *(("breaker", *each) for each in NO_BREAKER),
    ("retry", 3, TypeError, "retry: expected Retry or None, found int (3)"),
    ("retry", True, TypeError, "retry: expected Retry or None, found bool (True)"),
    ("retry", Retry, TypeError, "retry: expected Retry or None, found type"),
    ("limiter", 3, TypeError, "limiter: expected an object with acquire() and release(), or None; found int (3)"),
    ("limiter", Turnstile, TypeError, "limiter: expected an object with acquire() and release(), or None; found type"),
    ("limiter", threading.Lock(), TypeError, "limiter: expected one whose acquire() is awaited, found a lock"),
    ("limiter", HalfOpen(), TypeError, "limiter: expected an object with acquire() and release(), or None; found Half"),
    ("compensate", 3, TypeError, "compensate: expected a callable or a workflow as a step, found int (3)"),
    ("compensate", "refund", TypeError, "compensate: expected a callable or a workflow as a step, found str"),
    ("compensate", Sequence(), TypeError, "compensate: expected a callable or a Task, found Sequence (<Sequence"),
    ("compensate", dict, TypeError, "compensate: 'dict' does not say what it takes: bind its values"),
    (
        "compensate",
        Task(refund, deps=["charge"]),
        ValueError,
        "compensate: expected a task that stands alone, <Task 'refund'> has deps: .evolve(deps=())",
    ),
    (
        "compensate",
        Task(refund, compensate=refund),
        ValueError,
        "compensate: expected a task that stands alone, <Task 'refund'> has a compensation of its own: .evolve(compen",
    ),
    (
        "compensate_unknown",
        True,
        ValueError,
        "compensate_unknown: expected a task with compensate=…, found True on one without",
    ),
    ("compensate_unknown", 1, TypeError, "compensate_unknown: expected bool, found int (1)"),
    ("compensate_unknown", None, TypeError, "compensate_unknown: expected bool, found NoneType (None)"),
]


@pytest.mark.parametrize("field,value,kind,message", WRONG, ids=map(str, range(len(WRONG))))
def test_a_wrong_policy_of_a_task_is_refused_wherever_it_is_given(
    field: str, value: Any, kind: type[Exception], message: str
) -> None:
    options: dict[str, Any] = {field: value}
    makes: list[Callable[[], Any]] = [
        lambda: Task(charge, **options),
        lambda: task(**options)(charge),
        lambda: task(charge, **options),
        lambda: Task(charge).evolve(**options),
    ]
    for make in makes:
        with pytest.raises(kind) as caught:
            make()

        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    "field,value,kind,message",
    [*(("timeout", *each) for each in NO_TIME), *(("breaker", *each) for each in NO_BREAKER)],
    ids=map(str, range(len(NO_TIME) + len(NO_BREAKER))),
)
def test_a_wrong_policy_of_a_group_is_refused(
    group: type[Group], field: str, value: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        group(**{field: value})

    assert str(caught.value).startswith(message)


def test_a_coroutine_is_no_compensation_and_is_closed() -> None:
    async def undo() -> None: ...

    coroutine = undo()
    with pytest.raises(TypeError, match=r"^compensate: a coroutine is no step: pass the function, not the call"):
        Task(charge, compensate=coroutine)  # type: ignore[arg-type]
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


# -- what is taken -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given,seconds",
    [(None, None), (math.inf, None), (5, 5.0), (0.25, 0.25), (timedelta(minutes=1), 60.0), (10**400, None)],
    ids=["none", "inf", "int", "float", "timedelta", "huge"],
)
def test_a_timeout_is_seconds(given: Any, seconds: float | None) -> None:
    for made in (Task(charge, timeout=given), Sequence(timeout=given), Parallel(timeout=given), Graph(timeout=given)):
        assert made.timeout == seconds
        assert type(made.timeout) is type(seconds)


def test_without_policies_there_are_none() -> None:
    step, group = Task(charge), Graph()

    assert (step.timeout, step.retry, step.breaker, step.limiter) == (None, None, None, None)
    assert (step.compensate, step.compensate_unknown) == (None, False)
    assert (group.timeout, group.breaker) == (None, None)


@pytest.mark.parametrize(
    "limiter", [anyio.CapacityLimiter(1), anyio.Semaphore(1), anyio.Lock(), TURNSTILE], ids=lambda it: type(it).__name__
)
def test_whatever_can_be_acquired_and_released_is_a_limiter(limiter: Limiter) -> None:
    assert Task(charge, limiter=limiter).limiter is limiter


def test_policies_are_kept_by_bind_and_changed_by_evolve() -> None:
    retry = Retry(2, delay=0)
    step = Task(charge, timeout=5, retry=retry, breaker=BREAKER, limiter=TURNSTILE, compensate=refund)

    for other in (step.bind(order=1), step.evolve(name="x"), step.evolve(compensate_unknown=True)):
        assert (other.timeout, other.retry, other.compensate) == (5.0, retry, Task(refund))
        assert other.breaker is BREAKER
        assert other.limiter is TURNSTILE
    assert step.evolve(timeout=None, retry=None, breaker=None, limiter=None, compensate=None) == Task(charge)


def test_a_task_cannot_lose_its_compensation_and_keep_on_asking_for_unknown_outcomes() -> None:
    step = Task(charge, compensate=refund, compensate_unknown=True)

    with pytest.raises(ValueError, match="expected a task with compensate"):
        step.evolve(compensate=None)
    assert step.evolve(compensate=None, compensate_unknown=False) == Task(charge)


def test_a_compensation_is_a_task_with_options_and_values_of_its_own() -> None:
    undo = Task(refund, 1, timeout=2, retry=Retry(5), thread=False)

    assert Task(charge, compensate=undo).compensate is undo
    assert Task(charge, compensate=refund).compensate == Task(refund)
    assert task(charge, compensate=task(refund)).compensate == Task(refund)


def test_a_parameter_named_like_a_policy_is_bound_with_bind() -> None:
    assert dict(Task(charge, timeout=3).bound) == {}
    assert dict(Task(charge).bind(timeout=3.0).bound) == {"timeout": 3.0}
    assert Task(charge).bind(timeout=3.0).timeout is None


def test_the_policies_of_a_group_are_what_another_like_it_is_made_with(kind: type[Group]) -> None:
    group = kind(charge, name="g", timeout=5, breaker=BREAKER, limit=2, on_failure="continue")

    assert kind(refund, **group.options).options == group.options
    assert group.options["breaker"] is BREAKER


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=GROUPS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[Group]:
    return request.param  # type: ignore[no-any-return]


VALUES: list[dict[str, Any]] = [
    {"timeout": 5},
    {"timeout": 6},
    {"retry": Retry(2)},
    {"retry": Retry(4)},
    {"compensate": refund},
    {"compensate": Task(refund, 1)},
    {"compensate": Task(refund, timeout=1)},
    {"compensate": refund, "compensate_unknown": True},
]


@pytest.mark.parametrize("options", VALUES, ids=map(str, range(len(VALUES))))
def test_policies_are_part_of_the_value_of_a_task(options: dict[str, Any]) -> None:
    step = Task(charge, **options)

    assert step == Task(charge, **options)
    assert hash(step) == hash(Task(charge, **options))
    assert [step == Task(charge, **other) for other in [{}, *VALUES]].count(True) == 1


def test_a_timeout_is_part_of_the_value_of_a_group(kind: type[Group]) -> None:
    assert kind(timeout=5) == kind(timeout=timedelta(seconds=5)) != kind()
    assert hash(kind(timeout=5)) == hash(kind(timeout=5.0))


def test_shared_objects_are_no_part_of_the_value(kind: type[Group]) -> None:
    guarded = Task(charge, breaker=BREAKER, limiter=TURNSTILE)

    assert Task(charge) == guarded == Task(charge, breaker=CircuitBreaker(), limiter=anyio.Lock())
    assert hash(Task(charge)) == hash(guarded)
    assert kind() == kind(breaker=BREAKER)
    assert hash(kind()) == hash(kind(breaker=BREAKER))


def test_compensations_of_deps_of_compensations_are_no_recursion() -> None:
    def chain() -> Task[..., Any]:
        step = Task(charge, compensate=refund)
        for _ in range(10_000):
            step = Task(charge, deps=[step], compensate=refund)
        return step

    assert chain() == chain()
    assert chain().evolve(compensate=None) != chain()


def fetch(ctx: Context[Any]) -> None: ...


@task(timeout=1.5, retry=Retry(2, delay=0), compensate=Task(refund, 1), compensate_unknown=True)
def decorated(order: int) -> int:
    return order


@pytest.mark.parametrize("step", [decorated, Task(charge, compensate=fetch), decorated.evolve(name="other")], ids=repr)
def test_policies_survive_pickling_and_copying(step: Task[..., Any]) -> None:
    for made in (pickle.loads(pickle.dumps(step)), copy.deepcopy(step), pickle.loads(pickle.dumps(step.bind()))):
        assert made == step
        assert (made.timeout, made.retry, made.compensate) == (step.timeout, step.retry, step.compensate)
    group = Sequence(step, timeout=4)
    assert pickle.loads(pickle.dumps(group)) == copy.deepcopy(group) == group


def test_a_copy_shares_what_is_shared() -> None:
    step = Task(charge, breaker=BREAKER, limiter=TURNSTILE)
    group = Graph(step, breaker=BREAKER)

    for made in (copy.deepcopy(step), copy.deepcopy(group).steps[0], copy.copy(step)):
        assert isinstance(made, Task)
        assert made.breaker is BREAKER
        assert made.limiter is TURNSTILE
    assert copy.deepcopy(group).breaker is BREAKER


def test_what_two_tasks_share_they_share_when_unpickled() -> None:
    group = Graph(Task(charge, breaker=BREAKER, limiter=TURNSTILE), Task(refund, breaker=BREAKER), breaker=BREAKER)

    made = pickle.loads(pickle.dumps(group))

    one, two = made.steps
    assert one.breaker is two.breaker is made.breaker is not BREAKER
    assert made.breaker.name == "payments"
    assert isinstance(one.limiter, Turnstile)

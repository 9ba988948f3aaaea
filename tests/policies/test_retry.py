"""CHECKS 51-59 as far as a pure decision goes: whether there is another attempt, and after which wait."""

import asyncio
import copy
import math
import pickle
import random
from datetime import timedelta
from fractions import Fraction
from typing import Any

import anyio
import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from orch import CircuitOpenError, Retry, RetryAfter, TaskTimeoutError, WorkflowError
from orch.policies import underlying

RNG = random.Random(0)
BOOM = ValueError("boom")


def waits(retry: Retry, most: int = 6, error: Exception = BOOM) -> list[float | None]:
    """The delays after attempts 1, 2, …, as if no time passed."""
    return [retry.next_delay(attempt, error, random.Random(0), 0.0) for attempt in range(1, most + 1)]


def is_retried(error: Exception, **options: Any) -> bool:
    return Retry(2, **options).next_delay(1, error, RNG, 0.0) is not None


def raised_from(cause: BaseException | None, seconds: float = 30) -> RetryAfter:
    error = RetryAfter(seconds)
    error.__cause__ = cause
    return error


# -- the value ---------------------------------------------------------------------------------------------------------


def test_it_is_a_value() -> None:
    one = Retry(
        5, delay=timedelta(seconds=2), backoff="linear", retry_on=[OSError, KeyError], give_up_on=IsADirectoryError
    )
    two = Retry(5, delay=2, backoff="linear", retry_on=(OSError, KeyError), give_up_on=(IsADirectoryError,))

    assert one == two
    assert hash(one) == hash(two)
    assert one != Retry(5)
    assert pickle.loads(pickle.dumps(one)) == copy.copy(one) == copy.deepcopy(one) == one
    assert attrs.evolve(one, delay=3) == Retry(
        5, delay=3, backoff="linear", retry_on=(OSError, KeyError), give_up_on=IsADirectoryError
    )
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.delay = 3  # type: ignore[misc]


def test_what_it_is_unless_told_otherwise() -> None:
    assert repr(Retry()) == (
        "Retry(max_attempts=3, delay=1.0, backoff='fixed', max_delay=60.0, jitter=0.0, "
        "retry_on=(<class 'Exception'>,), give_up_on=(), deadline=None)"
    )


# -- how long ----------------------------------------------------------------------------------------------------------


def test_check_51_52_the_first_call_counts() -> None:
    assert waits(Retry(3)) == [1.0, 1.0, None, None, None, None]
    assert waits(Retry(1)) == [None] * 6


@pytest.mark.parametrize(
    "backoff,expected",
    [
        ("fixed", [0.5, 0.5, 0.5, 0.5, 0.5, None]),
        ("linear", [0.5, 1.0, 1.5, 2.0, 2.5, None]),
        ("exponential", [0.5, 1.0, 2.0, 4.0, 8.0, None]),
    ],
)
def test_check_53_delays_grow_as_said(backoff: Any, expected: list[float]) -> None:
    assert waits(Retry(6, delay=0.5, backoff=backoff)) == expected


def test_check_53_the_cap_holds() -> None:
    assert waits(Retry(6, delay=1, backoff="exponential", max_delay=5)) == [1.0, 2.0, 4.0, 5.0, 5.0, None]
    assert waits(Retry(6, delay=1, backoff="linear", max_delay=2.5)) == [1.0, 2.0, 2.5, 2.5, 2.5, None]
    assert waits(Retry(3, delay=9, max_delay=5)) == [5.0, 5.0, None, None, None, None]


@pytest.mark.parametrize("backoff", ["fixed", "linear", "exponential"])
@pytest.mark.parametrize("attempt", [1024, 10**6, 2**62])
@pytest.mark.parametrize("delay", [0.0, 5e-324, 1.0, 1e308])
def test_check_53_no_attempt_is_too_late_for_a_number(backoff: Any, attempt: int, delay: float) -> None:
    retry = Retry(2**63 - 1, delay=delay, backoff=backoff, max_delay=60, jitter=0.5)
    found = retry.next_delay(attempt, BOOM, random.Random(0), 0.0)

    assert found is not None
    assert 0 <= found <= 60
    assert found > 0 or delay < 1


delays = st.floats(0, 1e6)
backoffs = st.sampled_from(["fixed", "linear", "exponential"])
policies = st.builds(
    Retry,
    st.integers(1, 2**40),
    delay=delays,
    backoff=backoffs,
    max_delay=st.floats(1e-9, 1e7),
    jitter=st.just(0) | st.floats(0, 1),
    deadline=st.none() | st.floats(1e-9, 1e7),
)


def planned(retry: Retry, attempt: int) -> Fraction:
    """The delay before retry n without jitter, in exact numbers."""
    factor: int = {"fixed": 1, "linear": attempt, "exponential": 2 ** min(attempt - 1, 5000)}[retry.backoff]
    return min(Fraction(retry.delay) * factor, Fraction(retry.max_delay))


@given(policies, st.integers(1, 2**40), st.integers(), st.floats(0, 1e7))
def test_f5_a_delay_is_what_the_policy_says(retry: Retry, attempt: int, seed: int, elapsed: float) -> None:
    found = retry.next_delay(attempt, BOOM, random.Random(seed), elapsed)
    plan = planned(retry, attempt)

    if found is None:
        latest = plan * (1 + Fraction(retry.jitter)) + Fraction(elapsed)
        assert attempt >= retry.max_attempts or (
            retry.deadline is not None and latest * (1 + Fraction(1, 10**9)) > retry.deadline
        )
        return
    assert attempt < retry.max_attempts
    assert 0 <= found <= retry.max_delay
    assert retry.deadline is None or elapsed + found <= retry.deadline
    assert abs(found - plan) <= plan * Fraction(retry.jitter) + plan * Fraction(1, 10**12) + Fraction(1, 10**300)


@given(policies, st.integers(1, 2**40))
def test_f5_without_jitter_no_random_number_is_drawn_and_delays_never_shrink(retry: Retry, attempt: int) -> None:
    steady = attrs.evolve(retry, jitter=0, deadline=None, max_attempts=2**62)
    rng = random.Random(1)
    before = rng.getstate()
    first, second = (steady.next_delay(n, BOOM, rng, 0.0) for n in (attempt, attempt + 1))

    assert first is not None
    assert second is not None
    assert first <= second
    assert rng.getstate() == before


def test_f13_jitter_goes_both_ways_and_comes_from_the_given_source() -> None:
    retry = Retry(2, delay=10, jitter=0.2)
    drawn = [retry.next_delay(1, BOOM, random.Random(seed), 0.0) for seed in range(200)]

    assert drawn == [retry.next_delay(1, BOOM, random.Random(seed), 0.0) for seed in range(200)]
    assert min(filter(None, drawn)) < 9
    assert max(filter(None, drawn)) > 11
    assert all(delay is not None and 8 <= delay <= 12 for delay in drawn)


def test_f13_full_jitter_may_reach_down_to_nothing_and_never_above_the_cap() -> None:
    retry = Retry(2, delay=10, jitter=1, max_delay=12)
    drawn = [retry.next_delay(1, BOOM, random.Random(seed), 0.0) for seed in range(200)]

    assert min(delay for delay in drawn if delay is not None) < 1
    assert max(delay for delay in drawn if delay is not None) == 12


# -- after what --------------------------------------------------------------------------------------------------------


def test_check_54_subclasses_match_and_giving_up_wins() -> None:
    assert is_retried(FileNotFoundError(), retry_on=OSError)
    assert not is_retried(KeyError(), retry_on=OSError)
    assert not is_retried(FileNotFoundError(), retry_on=OSError, give_up_on=FileNotFoundError)
    assert not is_retried(FileNotFoundError(), retry_on=FileNotFoundError, give_up_on=OSError)
    assert not is_retried(OSError(), retry_on=OSError, give_up_on=OSError)
    assert not is_retried(OSError(), retry_on=())


def cancelled_by_trio() -> BaseException:
    """Trio's cancellation: it makes them itself, and lets nobody else."""
    caught: list[BaseException] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught.append(error)
                raise

    trio.run(main)
    return caught[0]


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(1),
        GeneratorExit(),
        asyncio.CancelledError(),
        cancelled_by_trio(),
        BaseException(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_check_55_what_is_no_exception_is_never_retried(error: Any) -> None:
    """F6: also inside groups, as the cause of a `RetryAfter`, and with a broken tuple that lists it."""
    retry = Retry(2)
    object.__setattr__(retry, "retry_on", (BaseException,))

    for each in (error, BaseExceptionGroup("both", [OSError(), error]), raised_from(error)):
        assert retry.next_delay(1, each, RNG, 0.0) is None


def test_timeouts_are_errors_as_others() -> None:
    assert is_retried(TaskTimeoutError("fetch", 5))
    assert is_retried(TaskTimeoutError("fetch", 5), retry_on=TimeoutError)
    assert not is_retried(TimeoutError(), retry_on=TaskTimeoutError)


def test_f17_an_open_circuit_is_retried_only_if_named() -> None:
    class OwnError(CircuitOpenError):
        pass

    closed = CircuitOpenError("payments", 5)

    assert not is_retried(closed)
    assert not is_retried(OwnError("payments", 5))
    assert is_retried(closed, retry_on=CircuitOpenError)
    assert is_retried(OwnError("payments", 5), retry_on=CircuitOpenError)
    assert is_retried(OwnError("payments", 5), retry_on=(Exception, OwnError))
    assert not is_retried(closed, retry_on=(Exception, OwnError))
    assert not is_retried(closed, retry_on=CircuitOpenError, give_up_on=CircuitOpenError)
    assert not is_retried(ExceptionGroup("", [OSError(), closed]))
    assert is_retried(ExceptionGroup("", [OSError(), closed]), retry_on=(OSError, CircuitOpenError))


def test_f8_a_group_is_retried_if_all_in_it_would_be() -> None:
    good, bad = ConnectionError(), KeyError()

    assert is_retried(ExceptionGroup("", [good, good]), retry_on=OSError)
    assert not is_retried(ExceptionGroup("", [good, bad]), retry_on=OSError)
    assert not is_retried(ExceptionGroup("", [good, ExceptionGroup("", [good, bad])]), retry_on=OSError)
    assert not is_retried(ExceptionGroup("", [good, bad]), give_up_on=KeyError)
    assert not is_retried(ExceptionGroup("", [good, ExceptionGroup("", [bad])]), give_up_on=KeyError)


def test_f8_a_group_that_is_named_is_retried_whatever_is_in_it() -> None:
    failed = WorkflowError("inner", [KeyError(), ExceptionGroup("", [OSError()])])

    assert is_retried(failed, retry_on=WorkflowError)
    assert is_retried(failed, retry_on=ExceptionGroup)
    assert not is_retried(failed, retry_on=ConnectionError)
    assert not is_retried(failed, retry_on=WorkflowError, give_up_on=OSError)
    assert not is_retried(failed, give_up_on=WorkflowError)
    assert not is_retried(ExceptionGroup("", [failed]), give_up_on=WorkflowError)


errors = st.sampled_from([OSError, ConnectionError, KeyError, LookupError, ValueError, ZeroDivisionError]).map(
    lambda kind: kind()
)
groups = st.recursive(
    errors, lambda inner: st.lists(inner, min_size=1, max_size=4).map(lambda each: ExceptionGroup("", each))
)
chosen = st.sets(st.sampled_from([OSError, ConnectionError, LookupError, ValueError, ArithmeticError, Exception]))


def singles(error: Exception) -> list[Exception]:
    return (
        [leaf for each in error.exceptions for leaf in singles(each)] if isinstance(error, ExceptionGroup) else [error]
    )


@given(groups, chosen, chosen)
def test_f8_any_group(error: Exception, retry_on: set[type[Exception]], give_up_on: set[type[Exception]]) -> None:
    wanted = all(
        isinstance(each, tuple(retry_on)) and not isinstance(each, tuple(give_up_on)) for each in singles(error)
    )

    assert is_retried(error, retry_on=retry_on, give_up_on=give_up_on) == (wanted and Exception not in give_up_on)


def test_groups_may_nest_deeper_than_python_recurses() -> None:
    error: Exception = raised_from(None, seconds=7)
    for _ in range(50_000):
        error = ExceptionGroup("", [error])

    assert Retry(2).next_delay(1, error, RNG, 0.0) == 7
    while isinstance(error, ExceptionGroup):  # taken apart by hand: freeing them at once would recurse
        error = error.exceptions[0]


# -- the deadline ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elapsed,expected",
    [(0.0, 2.0), (7.9, 2.0), (8.0, 2.0), (math.nextafter(8.0, 9.0), None), (9.5, None), (10.0, None), (1e9, None)],
)
def test_check_57_no_wait_crosses_the_deadline(elapsed: float, expected: float | None) -> None:
    retry = Retry(9, delay=2, deadline=timedelta(seconds=10))

    assert retry.next_delay(1, BOOM, RNG, elapsed) == expected


def test_check_57_an_asked_for_wait_does_not_cross_it_either() -> None:
    assert Retry(deadline=29).next_delay(1, raised_from(BOOM), RNG, 0.0) is None
    assert Retry(deadline=31).next_delay(1, raised_from(BOOM), RNG, 0.0) == 30


def test_an_infinite_deadline_is_none() -> None:
    assert Retry(deadline=math.inf) == Retry()


# -- RetryAfter --------------------------------------------------------------------------------------------------------


def test_check_58_the_wait_is_exactly_as_asked_for() -> None:
    retry = Retry(3, delay=1, max_delay=5, jitter=1)

    assert retry.next_delay(1, raised_from(BOOM), RNG, 0.0) == 30
    assert retry.next_delay(1, raised_from(BOOM, 0), RNG, 0.0) == 0
    assert retry.next_delay(2, raised_from(None), RNG, 0.0) == 30
    assert retry.next_delay(3, raised_from(BOOM), RNG, 0.0) is None


def test_check_58_eligible_is_what_it_was_raised_from() -> None:
    assert is_retried(raised_from(OSError()), retry_on=OSError)
    assert not is_retried(raised_from(KeyError()), retry_on=OSError)
    assert not is_retried(raised_from(OSError()), give_up_on=OSError)
    assert not is_retried(raised_from(None), retry_on=OSError)
    assert is_retried(raised_from(None), retry_on=RetryAfter)
    assert not is_retried(raised_from(CircuitOpenError("payments", 5)))
    assert not is_retried(raised_from(ExceptionGroup("", [OSError(), KeyError()])), retry_on=OSError)


def test_check_58_the_error_is_the_one_it_was_raised_from() -> None:
    with pytest.raises(RetryAfter, match=r"^asked to be called again after 30 s$") as caught:
        raise RetryAfter(30) from BOOM
    assert underlying(caught.value) is BOOM
    alone, cancelled = raised_from(None), raised_from(asyncio.CancelledError())
    assert underlying(alone) is alone
    assert underlying(cancelled) is cancelled
    assert underlying(BOOM) is BOOM


def test_check_58_of_several_in_a_group_the_longest_wait_counts() -> None:
    group = ExceptionGroup(
        "", [raised_from(BOOM, 3), OSError(), ExceptionGroup("", [raised_from(BOOM, 7), raised_from(None, 5)])]
    )

    assert Retry(2).next_delay(1, group, RNG, 0.0) == 7
    assert not is_retried(group, give_up_on=ValueError)


def test_an_error_may_be_its_own_cause() -> None:
    itself = raised_from(None)
    itself.__cause__ = itself
    inside = raised_from(None, 5)
    inside.__cause__ = ExceptionGroup("", [inside, BOOM])  # raised from the group that it came out of

    assert is_retried(itself)
    assert is_retried(inside)
    assert not is_retried(inside, give_up_on=ValueError)


def test_it_travels() -> None:
    for other in (pickle.loads(pickle.dumps(RetryAfter(30))), copy.copy(RetryAfter(timedelta(seconds=30)))):
        assert type(other) is RetryAfter
        assert other.seconds == 30.0
    assert RetryAfter(0).seconds == 0.0
    assert not isinstance(RetryAfter(0), anyio.WouldBlock | CircuitOpenError)

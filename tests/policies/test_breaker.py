"""CHECKS 67-73 as far as a pure state machine goes: who is let through, and what an outcome changes."""

import asyncio
import copy
import pickle
import threading
from contextlib import suppress
from typing import Any

import attrs
import pytest

from orch import CircuitBreaker, CircuitOpenError, RetryAfter
from orch.policies import Permit

BOOM = ValueError("boom")


def opened(now: float = 0.0, timeout: float = 10, **options: Any) -> CircuitBreaker:
    """A breaker that its first failure has opened at the given time; it may be asked again after 10 seconds."""
    breaker = CircuitBreaker("payments", fail_max=1, reset_timeout=timeout, **options)
    assert breaker.failed(breaker.admit(now), BOOM, now) == ("closed", "open")
    return breaker


def refused(breaker: CircuitBreaker, now: float) -> float:
    """How long the breaker says to wait, all three ways of asking agreeing."""
    with pytest.raises(CircuitOpenError) as caught:
        breaker.admit(now)
    assert caught.value.breaker == breaker.name
    assert caught.value.retry_after == breaker.wait(now)
    return caught.value.retry_after


# -- closed ------------------------------------------------------------------------------------------------------------


def test_a_new_one_lets_everybody_through() -> None:
    breaker = CircuitBreaker("payments")

    assert (breaker.state, breaker.failures) == ("closed", 0)
    assert (breaker.name, breaker.fail_max, breaker.reset_timeout, breaker.ignore) == ("payments", 5, 60.0, ())
    assert [breaker.admit(now) for now in (0, 5, 3)] == [Permit(0)] * 3
    assert breaker.wait(0) is None


def test_check_67_the_last_failure_of_so_many_opens_it() -> None:
    breaker = CircuitBreaker(fail_max=2)

    assert breaker.failed(breaker.admit(0), BOOM, 0) is None
    assert (breaker.state, breaker.failures) == ("closed", 1)
    assert breaker.failed(breaker.admit(1), BOOM, 1) == ("closed", "open")
    assert (breaker.state, breaker.failures) == ("open", 2)


def test_check_72_a_success_between_failures_begins_the_count_anew() -> None:
    breaker = CircuitBreaker(fail_max=2)

    for _ in range(5):
        assert breaker.failed(breaker.admit(0), BOOM, 0) is None
        assert breaker.succeeded(breaker.admit(0)) is None
        assert (breaker.state, breaker.failures) == ("closed", 0)


def test_calls_that_overlap_count_in_the_order_in_which_they_end() -> None:
    breaker = CircuitBreaker(fail_max=2)
    permits = [breaker.admit(0) for _ in range(4)]

    assert breaker.failed(permits[3], BOOM, 1) is None
    assert breaker.succeeded(permits[2]) is None
    assert breaker.failed(permits[1], BOOM, 2) is None
    assert breaker.failed(permits[0], BOOM, 3) == ("closed", "open")


# -- open --------------------------------------------------------------------------------------------------------------


def test_check_68_an_open_one_refuses_and_says_how_long() -> None:
    breaker = opened(now=100)

    assert refused(breaker, 100) == 10
    assert refused(breaker, 107.5) == 2.5
    assert breaker.state == "open"


def test_f16_a_late_result_of_an_earlier_era_counts_for_nothing() -> None:
    breaker = CircuitBreaker("payments", fail_max=1, reset_timeout=10)
    late = [breaker.admit(0) for _ in range(4)]

    assert breaker.failed(late[0], BOOM, 1) == ("closed", "open")
    assert breaker.failed(late[1], BOOM, 5) is None
    assert breaker.succeeded(late[2]) is None
    assert breaker.abandoned(late[3]) is None
    assert (breaker.state, breaker.failures) == ("open", 1)
    assert refused(breaker, 5) == 6  # the late failure has not begun the timeout anew


def test_f16_nor_does_one_that_comes_when_it_is_closed_again() -> None:
    breaker = CircuitBreaker("payments", fail_max=1, reset_timeout=10)
    late = [breaker.admit(0) for _ in range(2)]
    breaker.failed(late[0], BOOM, 0)
    breaker.succeeded(breaker.admit(10))

    assert breaker.failed(late[1], BOOM, 11) is None
    assert (breaker.state, breaker.failures) == ("closed", 0)


# -- half open ---------------------------------------------------------------------------------------------------------


def test_check_69_the_first_call_after_the_timeout_is_the_probe() -> None:
    breaker = opened()

    assert breaker.wait(10) is None
    assert repr(breaker) == "<CircuitBreaker 'payments' open>"  # nobody has called yet
    probe = breaker.admit(10)
    assert probe.is_probe
    assert probe.change == ("open", "half_open")
    assert breaker.state == "half_open"


def test_check_69_its_success_closes() -> None:
    breaker = opened()

    assert breaker.succeeded(breaker.admit(10)) == ("half_open", "closed")
    assert (breaker.state, breaker.failures) == ("closed", 0)
    assert not breaker.admit(10).is_probe


def test_check_69_its_failure_opens_with_a_timer_of_its_own() -> None:
    breaker = CircuitBreaker("payments", fail_max=3, reset_timeout=10)
    for _ in range(3):
        breaker.failed(breaker.admit(1), BOOM, 1)

    assert breaker.failed(breaker.admit(12), BOOM, 15) == ("half_open", "open")  # one is enough now
    assert (breaker.state, breaker.failures) == ("open", 4)
    assert refused(breaker, 15) == 10
    assert breaker.admit(25).is_probe


def test_check_70_of_many_together_one_is_let_through() -> None:
    """F14: the permit is taken at once; between asking and taking nobody else comes."""
    breaker = opened()
    probe = breaker.admit(10)

    assert [refused(breaker, now) for now in (10, 11, 69.5)] == [0.0] * 3
    assert breaker.succeeded(probe) == ("half_open", "closed")
    assert breaker.wait(11) is None


def test_check_70_also_of_many_threads() -> None:
    breaker = opened()
    barrier = threading.Barrier(8)
    permits: list[Permit] = []

    def call() -> None:
        barrier.wait()
        for _ in range(200):
            with suppress(CircuitOpenError):
                permits.append(breaker.admit(10))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(permits) == 1
    assert permits[0].is_probe


def test_check_71_a_cancelled_probe_leaves_its_place_to_the_next() -> None:
    breaker = opened()

    for _ in range(3):
        probe = breaker.admit(10)
        assert breaker.abandoned(probe) is None
        assert (breaker.state, breaker.failures) == ("half_open", 1)
        assert breaker.wait(10) is None
    again = breaker.admit(10)
    assert again.is_probe
    assert again.change is None
    assert breaker.succeeded(again) == ("half_open", "closed")


def test_f15_an_abandoned_probe_that_answers_after_all_counts_for_nothing() -> None:
    breaker = opened()
    lost = breaker.admit(10)
    breaker.abandoned(lost)

    assert breaker.succeeded(lost) is None
    assert breaker.state == "half_open"
    probe = breaker.admit(11)
    assert breaker.failed(lost, BOOM, 12) is None
    assert breaker.succeeded(lost) is None
    assert breaker.abandoned(lost) is None
    assert refused(breaker, 12) == 0.0  # the other one is still out
    assert breaker.succeeded(probe) == ("half_open", "closed")


@pytest.mark.parametrize(("timeout", "patience"), [(0.1, 60), (10, 60), (90, 90)])
def test_f15_a_probe_that_does_not_come_back_gives_its_place_to_another(timeout: float, patience: float) -> None:
    breaker = opened(timeout=timeout)
    lost = breaker.admit(100)

    assert refused(breaker, 99.5 + patience) == 0.0
    assert breaker.wait(100 + patience) is None
    probe = breaker.admit(200)
    assert (probe.is_probe, probe.change, breaker.state) == (True, None, "half_open")
    assert refused(breaker, 199.5 + patience) == 0.0
    assert breaker.abandoned(lost) is None
    assert refused(breaker, 199.5 + patience) == 0.0  # the other one is still out
    assert breaker.succeeded(probe) == ("half_open", "closed")


@pytest.mark.parametrize("goes_well", [True, False])
def test_a_slow_probe_is_heard_when_it_comes_back_after_all(goes_well: bool) -> None:
    """Else nothing would ever close a breaker whose calls take longer than that."""
    breaker = opened()
    slow, other = breaker.admit(10), breaker.admit(70)

    change = breaker.succeeded(slow) if goes_well else breaker.failed(slow, BOOM, 75)
    assert change == ("half_open", "closed" if goes_well else "open")
    assert breaker.failed(other, BOOM, 76) is None
    assert breaker.succeeded(other) is None
    assert breaker.state == ("closed" if goes_well else "open")


def test_a_clock_that_was_set_back_keeps_the_place_of_a_probe_no_longer_than_that() -> None:
    breaker = opened(now=100)
    breaker.admit(110)

    assert refused(breaker, 20) == 0.0
    assert refused(breaker, 79.5) == 0.0
    assert breaker.admit(80).is_probe


def test_an_abandoned_call_of_a_closed_one_counts_for_nothing() -> None:
    breaker = CircuitBreaker(fail_max=2)
    breaker.failed(breaker.admit(0), BOOM, 0)

    assert breaker.abandoned(breaker.admit(0)) is None
    assert (breaker.state, breaker.failures) == ("closed", 1)


# -- what counts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        KeyError(),
        ExceptionGroup("", [KeyError(), ExceptionGroup("", [IndexError()])]),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        BaseExceptionGroup("", [OSError(), KeyboardInterrupt()]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("state", ["closed", "half_open"])
def test_ignored_errors_and_cancellations_count_as_nothing(error: BaseException, state: str) -> None:
    breaker = opened(ignore=LookupError) if state == "half_open" else CircuitBreaker(fail_max=2, ignore=(LookupError,))
    if state == "closed":
        breaker.failed(breaker.admit(0), BOOM, 0)

    assert breaker.failed(breaker.admit(10), error, 10) is None
    assert (breaker.state, breaker.failures) == (state, 1)  # neither a failure nor a success
    assert breaker.wait(10) is None


def test_a_group_counts_unless_all_in_it_is_ignored() -> None:
    mixed = ExceptionGroup("", [KeyError(), OSError()])

    for error, ignore in ((mixed, KeyError), (ExceptionGroup("", [mixed]), KeyError), (OSError(), KeyError)):
        breaker = CircuitBreaker(fail_max=1, ignore=ignore)
        assert breaker.failed(breaker.admit(0), error, 0) == ("closed", "open")
    whole = CircuitBreaker(fail_max=1, ignore=ExceptionGroup)
    assert whole.failed(whole.admit(0), mixed, 0) is None


def test_what_a_retry_after_was_raised_from_is_what_counts() -> None:
    for cause, change in ((KeyError(), None), (OSError(), ("closed", "open"))):
        breaker = CircuitBreaker(fail_max=1, ignore=KeyError)
        error = RetryAfter(30)
        error.__cause__ = cause
        assert breaker.failed(breaker.admit(0), error, 0) == change


# -- clocks, and the object itself -------------------------------------------------------------------------------------


def test_a_clock_that_is_behind_never_waits_longer_than_the_timeout() -> None:
    breaker = opened(now=1_000)

    assert refused(breaker, 50) == 10  # another run, whose clock has begun later
    assert refused(breaker, 54) == 6
    assert breaker.admit(60).is_probe


def test_check_73_it_is_one_object() -> None:
    one, other = CircuitBreaker("payments"), CircuitBreaker("payments")

    assert one != other
    assert len({one, other}) == 2


def test_reset_closes_it_and_forgets_what_is_under_way() -> None:
    for now in (5, 10):  # open, and half open with a probe out
        breaker = opened()
        out = breaker.admit(10) if now == 10 else None
        breaker.reset()
        assert (breaker.state, breaker.failures) == ("closed", 0)
        assert breaker.wait(now) is None
        if out is not None:
            assert breaker.failed(out, BOOM, 11) is None
            assert breaker.state == "closed"


def test_a_copy_is_closed_and_of_its_own() -> None:
    breaker = opened(ignore=KeyError)

    for other in (pickle.loads(pickle.dumps(breaker)), copy.copy(breaker), copy.deepcopy(breaker)):
        assert other is not breaker
        assert (other.state, other.failures) == ("closed", 0)
        assert (other.name, other.fail_max, other.reset_timeout, other.ignore) == ("payments", 1, 10.0, (KeyError,))
        other.admit(0)


def test_it_shows_its_name_and_state() -> None:
    assert repr(opened()) == "<CircuitBreaker 'payments' open>"
    assert repr(CircuitBreaker()) == "<CircuitBreaker closed>"


def test_permits_are_values() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        CircuitBreaker().admit(0).is_probe = True  # type: ignore[misc]

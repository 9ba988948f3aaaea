"""Numbers, times, classes and names of policies: what is taken, what is refused, and in which words."""

import copy
import math
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orch
from orch import CircuitBreaker, RateLimit, Retry, RetryAfter
from orch.policies import seconds
from orch.policies._check import text

NAN, INFINITE, HUGE = math.nan, math.inf, 10**400


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given,found",
    [(5, 5.0), (0.5, 0.5), (timedelta(minutes=1), 60.0), (1e18, 1e18), (5e-324, 5e-324), (None, None)],
)
def test_a_time_is_seconds_or_a_timedelta(given: Any, found: float | None) -> None:
    assert seconds("timeout", given) == found
    assert type(seconds("timeout", given)) is type(found)


@pytest.mark.parametrize("value", [INFINITE, HUGE], ids=["inf", "huge"])
def test_an_infinite_time_is_no_limit_or_refused(value: float) -> None:
    assert seconds("timeout", value) is None
    with pytest.raises(ValueError, match=r"^delay: expected more than 0 seconds, finite, found inf$"):
        seconds("delay", value, none=False)


@pytest.mark.parametrize("value", [True, False, "5", b"5", 5j, [5], object], ids=repr)
def test_what_is_no_time_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^timeout: expected int or float or timedelta or None, found "):
        seconds("timeout", value)


def test_none_is_no_time_where_there_must_be_one() -> None:
    with pytest.raises(TypeError, match=r"^delay: expected int or float or timedelta, found NoneType \(None\)$"):
        seconds("delay", None, none=False)


@pytest.mark.parametrize(
    "value,found",
    [
        (0, "0"),
        (-1, "-1"),
        (-0.5, "-0.5"),
        (NAN, "nan"),
        (-INFINITE, "-inf"),
        (-HUGE, "-inf"),
        (timedelta(-1), "-86400"),
    ],
)
def test_what_is_not_after_now_is_a_value_error(value: Any, found: str) -> None:
    with pytest.raises(ValueError, match=rf"^timeout: expected more than 0 seconds, found {found}$"):
        seconds("timeout", value)


def test_zero_is_a_time_where_it_may_be_one() -> None:
    assert seconds("delay", 0, zero=True) == seconds("delay", timedelta(0), zero=True) == 0.0
    with pytest.raises(ValueError, match=r"^delay: expected at least 0 seconds, found -1$"):
        seconds("delay", -1, zero=True)


@given(st.floats() | st.integers() | st.timedeltas())
def test_nothing_is_clamped(value: Any) -> None:
    number = value.total_seconds() if isinstance(value, timedelta) else float(value)
    try:
        found = seconds("timeout", value)
    except ValueError:
        assert not number > 0
    else:
        assert found == (None if number == INFINITE else number)


# -- every policy, with every wrong value ------------------------------------------------------------------------------

NO_COUNT: list[tuple[Any, type[Exception], str]] = [
    (0, ValueError, "expected at least 1, found 0"),
    (-1, ValueError, "expected at least 1, found -1"),
    (HUGE, ValueError, "expected at most 9223372036854775807, found one of 1329 bits"),
    (True, TypeError, r"expected int, found bool \(True\)"),
    (1.0, TypeError, r"expected int, found float \(1.0\)"),
    ("3", TypeError, r"expected int, found str \('3'\)"),
]
NO_TIME: list[tuple[Any, type[Exception], str]] = [
    (-1, ValueError, "seconds, finite, found -1"),
    (NAN, ValueError, "seconds, finite, found nan"),
    (INFINITE, ValueError, "seconds, finite, found inf"),
    (True, TypeError, r"expected int or float or timedelta, found bool \(True\)"),
    (None, TypeError, r"expected int or float or timedelta, found NoneType \(None\)"),
    ("1", TypeError, r"expected int or float or timedelta, found str \('1'\)"),
]
ZERO: list[tuple[Any, type[Exception], str]] = [(0, ValueError, "expected more than 0 seconds, finite, found 0")]
NO_LIMIT: list[tuple[Any, type[Exception], str]] = [
    (0, ValueError, "expected more than 0 seconds, found 0"),
    (-1, ValueError, "expected more than 0 seconds, found -1"),
    (NAN, ValueError, "expected more than 0 seconds, found nan"),
    (False, TypeError, r"expected int or float or timedelta or None, found bool \(False\)"),
]
NO_SHARE: list[tuple[Any, type[Exception], str]] = [
    (-0.1, ValueError, "expected a number from 0 to 1, found -0.1"),
    (1.5, ValueError, "expected a number from 0 to 1, found 1.5"),
    (NAN, ValueError, "expected a number from 0 to 1, found nan"),
    (HUGE, ValueError, "expected a number from 0 to 1, found inf"),
    (True, TypeError, r"expected int or float, found bool \(True\)"),
    (None, TypeError, r"expected int or float, found NoneType \(None\)"),
]
NO_KINDS: list[tuple[Any, type[Exception], str]] = [
    ((int,), ValueError, "expected a class of Exception, or several, found <class 'int'>"),
    (int, ValueError, "expected a class of Exception, or several, found <class 'int'>"),
    ((OSError, "KeyError"), ValueError, "expected a class of Exception, or several, found 'KeyError'"),
    ((OSError(),), ValueError, r"expected a class of Exception, or several, found OSError\(\)"),
    ((OSError, (KeyError,)), ValueError, r"expected a class of Exception, or several, found \(<class 'KeyError'>,\)"),
    (KeyboardInterrupt, ValueError, "expected a class of Exception, or several, found <class 'KeyboardInterrupt'>"),
    ([BaseException], ValueError, "expected a class of Exception, or several, found <class 'BaseException'>"),
    ({GeneratorExit}, ValueError, "expected a class of Exception, or several, found <class 'GeneratorExit'>"),
    (list[int], TypeError, r"expected a class of Exception, or several, found GenericAlias"),
    (OSError(), TypeError, r"expected a class of Exception, or several, found OSError \(OSError\(\)\)"),
    ("OSError", TypeError, r"expected a class of Exception, or several, found str \('OSError'\)"),
    (None, TypeError, r"expected a class of Exception, or several, found NoneType \(None\)"),
]
NO_NAME: list[tuple[Any, type[Exception], str]] = [
    ("", ValueError, "expected a text of 1 to 1000 characters without NUL, found 0 characters"),
    ("x" * 1001, ValueError, "expected a text of 1 to 1000 characters without NUL, found 1001 characters"),
    ("a\0b", ValueError, "expected a text of 1 to 1000 characters without NUL, found NUL in it"),
    (5, TypeError, r"expected str or None, found int \(5\)"),
]
NO_BACKOFF: list[tuple[Any, type[Exception], str]] = [
    ("cubic", ValueError, "expected one of 'fixed', 'linear', 'exponential', found 'cubic'"),
    ("", ValueError, "expected one of 'fixed', 'linear', 'exponential', found ''"),
    ("FIXED", ValueError, "expected one of 'fixed', 'linear', 'exponential', found 'FIXED'"),
    (None, TypeError, r"expected str, found NoneType \(None\)"),
]
WRONG: list[tuple[Callable[..., Any], str, list[tuple[Any, type[Exception], str]]]] = [
    (Retry, "max_attempts", NO_COUNT),
    (Retry, "delay", NO_TIME),
    (Retry, "backoff", NO_BACKOFF),
    (Retry, "max_delay", NO_TIME + ZERO),
    (Retry, "jitter", NO_SHARE),
    (Retry, "retry_on", NO_KINDS),
    (Retry, "give_up_on", NO_KINDS),
    (Retry, "deadline", NO_LIMIT),
    (RetryAfter, "seconds", NO_TIME),
    (CircuitBreaker, "name", NO_NAME),
    (CircuitBreaker, "fail_max", NO_COUNT),
    (CircuitBreaker, "reset_timeout", NO_TIME + ZERO),
    (CircuitBreaker, "ignore", NO_KINDS),
    (RateLimit, "rate", NO_COUNT),
    (RateLimit, "per", NO_TIME + ZERO),
    (RateLimit, "burst", NO_COUNT),
]


@pytest.mark.parametrize(
    "policy,field,value,kind,message",
    [(policy, field, *case) for policy, field, cases in WRONG for case in cases],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_check_10_every_wrong_value_is_refused_at_construction(
    policy: Callable[..., Any], field: str, value: Any, kind: type[Exception], message: str
) -> None:
    others = {"rate": 1} if policy is RateLimit and field != "rate" else {}

    with pytest.raises(kind, match=rf"^{field}: .*{message}"):
        policy(**others, **{field: value})


def test_an_unknown_option_is_refused() -> None:
    for policy in (Retry, CircuitBreaker):
        with pytest.raises(TypeError, match="max_retries"):
            policy(max_retries=3)  # type: ignore[call-arg]


@given(st.text(min_size=1, max_size=1000).filter(lambda name: "\0" not in name))
def test_any_other_text_is_a_name(name: str) -> None:
    assert CircuitBreaker(name).name == name


def test_a_name_is_a_plain_text() -> None:
    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self.upper()

    assert type(text("name", Loud("quiet"))) is str
    assert text("name", Loud("quiet")) == "quiet"


# -- the unknown -------------------------------------------------------------------------------------------------------


def test_unknown_is_one_object_wherever_it_goes() -> None:
    for other in (pickle.loads(pickle.dumps(orch.UNKNOWN)), copy.copy(orch.UNKNOWN), copy.deepcopy(orch.UNKNOWN)):
        assert other is orch.UNKNOWN
    assert repr(orch.UNKNOWN) == "orch.UNKNOWN"

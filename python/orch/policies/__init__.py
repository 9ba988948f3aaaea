"""Policies: frozen values that say how to react, and the pure decisions made from them."""

from orch.policies._breaker import Change, Circuit, CircuitBreaker, Permit
from orch.policies._check import Seconds, seconds
from orch.policies._failure import FailureStrategy, Strategy
from orch.policies._limit import Limiter, RateLimit
from orch.policies._retry import Retry, RetryAfter, underlying
from orch.policies._unknown import UNKNOWN, Unknown

__all__ = (
    "UNKNOWN",
    "Change",
    "Circuit",
    "CircuitBreaker",
    "FailureStrategy",
    "Limiter",
    "Permit",
    "RateLimit",
    "Retry",
    "RetryAfter",
    "Seconds",
    "Strategy",
    "Unknown",
    "seconds",
    "underlying",
)

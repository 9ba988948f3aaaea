"""Breakers that hear something else, or are not asked."""

from collections.abc import Awaitable, Callable
from typing import Any

import orch
import orch.execution._attempt as attempt
import orch.execution._engine as engine
import orch.policies._breaker as breaker
from tests.simulation.mutants.plant import Change, mutant

__all__ = ()


def protecting(cancelled: str = "abandoned", succeeded: str = "succeeded") -> list[Change]:
    """Let a breaker hear something else."""

    async def protected(run_: Any, path: str, guard: Any, body: Callable[[], Awaitable[Any]]) -> Any:
        if guard is None:
            return await body()
        permit = guard.admit(run_.clock())
        run_.circuit(path, guard.name, permit.change)

        def say(verdict: str, *facts: Any) -> None:
            if verdict:
                run_.circuit(path, guard.name, getattr(guard, verdict)(permit, *facts))

        try:
            value = await body()
        except Exception as error:
            say("failed", error, run_.clock())
            raise
        except BaseException:
            say(cancelled, *([ValueError(), run_.clock()] if cancelled == "failed" else []))
            raise
        say(succeeded)
        return value

    return [(attempt, "protected", protected)]


@mutant
def count_a_cancelled_call_as_a_failure() -> list[Change]:
    return protecting(cancelled="failed")


@mutant
def keep_the_permit_of_a_cancelled_call() -> list[Change]:
    return protecting(cancelled="")


@mutant
def tell_no_breaker_of_success() -> list[Change]:
    return protecting(succeeded="")


@mutant
def admit_several_probes() -> list[Change]:
    true = breaker.CircuitBreaker._wait

    def wait(self: Any, now: float) -> float | None:
        return None if self._state == "half_open" else true(self, now)

    return [(breaker.CircuitBreaker, "_wait", wait)]


@mutant
def call_what_a_breaker_refused() -> list[Change]:
    true = attempt.protected

    async def protected(run_: Any, path: str, guard: Any, body: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await true(run_, path, guard, body)
        except orch.CircuitOpenError:
            return await body()

    return [(attempt, "protected", protected)]


@mutant
def forget_the_breaker_of_a_group() -> list[Change]:
    return [(engine, "leave", lambda *given: None)]

"""Slots and limiters, taken too often or never given back."""

from collections.abc import Awaitable, Callable
from typing import Any

import orch.execution._attempt as attempt
import orch.execution._run as run
from orch import State
from tests.simulation.mutants.plant import Change, mutant, schedule

__all__ = ()


@mutant
def forget_the_slot_of_a_cancelled_step() -> list[Change]:
    def cancel(true: Any, node: int) -> Any:
        if true.state(node) == State.RUNNING.code:
            true.hold(node)
        return true.cancel(node)

    def fail(true: Any, node: int) -> Any:
        if true.state(node) == State.RUNNING.code:
            true.hold(node)
        return true.fail(node)

    return schedule(cancel=cancel, fail=fail)


@mutant
def keep_the_slot_between_attempts() -> list[Change]:
    def retry(true: Any, node: int) -> None:
        true.hold(node)
        true.retry(node)

    def requeue(true: Any, node: int) -> None:
        true.let_go(node)
        true.requeue(node)

    return schedule(retry=retry, requeue=requeue)


@mutant
def ignore_the_limit_of_the_run() -> list[Change]:
    true: Any = run.__dict__["Schedule"]

    class Unlimited:
        IDLE, REACT, BREATHE = true.IDLE, true.REACT, true.BREATHE

        def __new__(cls, layout: Any, *, limit: int = 0) -> Any:
            return true(layout)

    return [(run, "Schedule", Unlimited)]


@mutant
def skip_the_release_of_a_limiter() -> list[Change]:
    async def limited(limiter: Any, body: Callable[[], Awaitable[Any]], _: object = None) -> Any:
        if limiter is not None:
            await limiter.acquire()
        return await body()

    return [(attempt, "limited", limited)]


@mutant
def release_a_limiter_only_after_success() -> list[Change]:
    async def limited(limiter: Any, body: Callable[[], Awaitable[Any]], _: object = None) -> Any:
        if limiter is not None:
            await limiter.acquire()
        value = await body()
        if limiter is not None:
            limiter.release()
        return value

    return [(attempt, "limited", limited)]


@mutant
def never_wait_for_a_limiter() -> list[Change]:
    async def limited(_: Any, body: Callable[[], Awaitable[Any]], __: object = None) -> Any:
        return await body()

    return [(attempt, "limited", limited)]


@mutant
def start_no_second_lane() -> list[Change]:
    def spread(self: Any) -> None:
        if self.schedule.ready() and not self.starting and not self.lanes:
            self.starting += 1
            self.spawn()

    return [(run.Run, "spread", spread)]

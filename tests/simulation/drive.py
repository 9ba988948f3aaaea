"""Carry one case out in virtual time, and keep everything that can be seen of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

import anyio
import trio
from anyio.lowlevel import checkpoint, current_token

import orch
from orch.event import Event
from orch.execution import RunSource
from orch.plan import compile as plan_of
from tests.simulation import threads
from tests.simulation.bound import bound
from tests.simulation.build import Shared, build
from tests.simulation.ledger import Ledger
from tests.simulation.plans import Case
from tests.simulation.seen import HANDED, Crash, Seen
from tests.simulation.watch import HangError, alarmed, keep, kept

__all__ = ("observe", "simulate")


class Clock:
    """As `orch.testing.VirtualClock`, without asking for the event loop each time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.monotonic = self.time = now


def _now() -> Callable[[], float]:
    """The clock of the current event loop, asyncio's or trio's."""
    native: Any = current_token().native_token
    return native.time if hasattr(native, "time") else trio.lowlevel.current_clock().current_time


def _cancelling() -> int:
    """How many cancellations of this task asyncio counts that nobody has taken back."""
    task = asyncio.current_task() if hasattr(current_token().native_token, "time") else None
    return 0 if task is None else task.cancelling()


def simulate(case: Case, backend: Any, drive: Callable[..., Any] = threads.drive) -> Seen | Crash:
    """Carry a case out, in a virtual run of its own."""
    try:
        with alarmed(), kept():
            seen: Seen = drive(observe, case, backend=backend, seed=case.seed)
            return seen
    except (Exception, HangError, BaseExceptionGroup) as error:  # noqa: BLE001 (it is what was found)
        return Crash(case, backend, error)


async def observe(case: Case, arm: Callable[..., object] = id) -> Seen:
    """Carry a case out, inside an event loop; `arm` is given what cancels the caller, and None when that is over."""
    shared, now = Shared(case), _now()
    seen, scope = _prepared(case, shared, now), anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.cancel_scope.deadline = now() + seen.limit
        if case.cancel is not None:
            group.start_soon(_cancel, case.cancel, scope, seen.ledger)
        if case.twin:
            seen.twin = _prepared(case, shared, now)
            group.start_soon(_run, seen.twin)
        with scope:
            arm(lambda: _cancel_now(scope, seen.ledger))
            await _run(seen, case.stops)
        arm(None)
        seen.cancelling = _cancelling()
        if seen.twin is not None:
            await seen.twin.over.wait()
        while threads.living():  # noqa: ASYNC110 (who was given up ends, too)
            await anyio.sleep(0.25)
        if case.cancel is not None:
            group.cancel_scope.cancel()
    return _finished(seen)


def _prepared(case: Case, shared: Shared, now: Callable[[], float]) -> Seen:
    built = build(case, shared, now)
    plan = plan_of(built.workflow)
    object.__setattr__(built.workflow, "_plan", None)  # no cycle is to be left
    return Seen(case, plan, built, limit=_bound(case) * (1 + case.twin))


_latest: list[tuple[Case, float]] = []  # several runs of a case come one after another


def _bound(case: Case) -> float:
    if not _latest or _latest[0][0] is not case:
        _latest[:] = [(case, bound(case))]
    return _latest[0][1]


def _finished(seen: Seen) -> Seen:
    """Look at what is left, when everything is over."""
    names = [str(task.name) for task in anyio.get_running_tasks()]
    others = [name for name in names if not name.startswith("<")]  # trio has two of its own
    seen.left = others if len(others) > 1 else []
    for number, limiter in enumerate(seen.built.shared.limiters):
        if isinstance(limiter, anyio.CapacityLimiter):
            seen.borrowed[number] = limiter.borrowed_tokens, limiter.statistics().tasks_waiting
    for each in (seen, seen.twin):
        if each is not None and each.run is not None:
            each.trace = tuple(RunSource(each.run).trace() if each.result is None else each.result.trace)
            each.look()
    return seen


async def _run(seen: Seen, stops: tuple[tuple[float, str], ...] = ()) -> None:
    case = seen.case
    keep(seen)
    runner = orch.AsyncRunner(
        subscribers=[_subscriber(kind, seen) for kind in case.subscribers],
        limit=case.limit,
        clock=Clock(seen.ledger.now),
        rng=Random(case.seed),
        compensation_timeout=case.undo_timeout,
        threads=case.threads,
        grace=case.grace,
    )
    inputs = dict.fromkeys(seen.plan.inputs, HANDED)
    how: dict[str, Any] = {"inputs": inputs, "run_id": "simulated", "raise_on_failure": False}
    try:
        if stops:
            await _followed(seen, runner, how, stops)
        else:
            seen.result = await runner.run(seen.plan, **how)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (an invariant speaks about it)
        seen.raised = error
    finally:
        seen.ended = seen.ledger.now()
        seen.over.set()


async def _followed(
    seen: Seen, runner: orch.AsyncRunner, how: dict[str, Any], stops: tuple[tuple[float, str], ...]
) -> None:
    """Carry it out with a hand on it, that stops a step or all of it at some time."""

    async def stop(when: float, step: str) -> None:
        await anyio.sleep(when)
        seen.ledger.say("stop" if step else "cancel", step, detail="run")
        stopped = run.cancel(step or None)
        seen.ledger.say("stopped", step, detail=stopped)

    async with runner.iter(seen.plan, **how) as run, anyio.create_task_group() as group:
        for each in stops:
            group.start_soon(stop, *each)
        with suppress(SystemExit):  # leaving the block raises it again
            seen.result = await run.wait()
        group.cancel_scope.cancel()


async def _cancel(when: tuple[float, int], scope: anyio.CancelScope, ledger: Ledger) -> None:
    await anyio.sleep(when[0])
    for _ in range(when[1]):
        await checkpoint()
    _cancel_now(scope, ledger)
    for _ in range(4):  # by then it has been delivered to everybody
        await checkpoint()
    ledger.say("delivered", "")


def _cancel_now(scope: anyio.CancelScope, ledger: Ledger) -> None:
    ledger.say("cancel", "")
    scope.cancel()


def _subscriber(kind: str, seen: Seen) -> Callable[[Event], Awaitable[None] | None]:
    heard: list[Event] = []

    def fast(event: Event) -> None:
        heard.append(event)

    def raises(event: Event) -> None:
        raise RuntimeError(f"a subscriber does not like {event.seq}")

    async def slow(event: Event) -> None:
        await (anyio.sleep(0.25) if kind == "slow" else checkpoint())
        heard.append(event)

    if kind == "raises":
        return raises
    seen.heard.append(heard)
    return fast if kind == "fast" else slow

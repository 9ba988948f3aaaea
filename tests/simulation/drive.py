"""Carry one case out in virtual time, and keep everything that can be seen of it."""

import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from random import Random
from typing import Any

import anyio
import attrs
import trio
from anyio.lowlevel import checkpoint, current_token

import orch
from orch.event import Event, RunEvent, State, TaskEvent
from orch.execution import RunSource
from orch.plan import Plan
from orch.plan import compile as plan_of
from orch.runners import _async as runners
from orch.testing import run as run_virtually
from tests.simulation.bound import bound
from tests.simulation.build import Built, build
from tests.simulation.ledger import Entry, Ledger
from tests.simulation.plans import Case, Group, Step, groups, leaves, parents, waits

__all__ = ("HANDED", "ROUNDED", "Crash", "Seen", "observe", "simulate")

HANDED = "the input"
PATIENCE = 5.0
ROUNDED = 2e-6  # events have times of whole microseconds

_logger = logging.getLogger("orch")


@attrs.define
class Crash:
    """A run that never came back: a deadlock, or an error of the engine itself."""

    case: Case
    backend: str
    error: BaseException


@attrs.define(slots=False)
class Seen:
    """What one run has left behind, with the questions that many invariants ask of it."""

    case: Case
    plan: Plan
    built: Built
    trace: tuple[Event, ...] = ()
    heard: list[list[Event]] = attrs.field(factory=list)
    result: orch.RunResult | None = None
    raised: BaseException | None = None
    ended: float = 0.0
    limit: float = 0.0
    left: list[str] = attrs.field(factory=list)
    borrowed: dict[int, tuple[int, int]] = attrs.field(factory=dict)  # tokens out and tasks waiting, in the end
    run: Any = None

    @property
    def ledger(self) -> Ledger:
        return self.built.ledger

    @property
    def entries(self) -> list[Entry]:
        return self.built.ledger.entries

    @property
    def state(self) -> State:
        """How the run ended."""
        last = self.trace[-1]
        assert isinstance(last, RunEvent)
        return last.state

    @cached_property
    def told(self) -> list[TaskEvent]:
        return [event for event in self.trace if type(event) is TaskEvent]

    @cached_property
    def by_name(self) -> dict[str, list[TaskEvent]]:
        found: dict[str, list[TaskEvent]] = {}
        for event in self.told:
            found.setdefault(event.name, []).append(event)
        return found

    @cached_property
    def final(self) -> dict[str, State]:
        """The final state of every task, compensated or not."""
        found: dict[str, State] = {}
        for event in self.told:
            if event.state.is_final and event.state is not State.COMPENSATED:
                found[event.name] = event.state
        return found

    @cached_property
    def calls(self) -> dict[str, list[tuple[Entry, Entry | None, Entry | None]]]:
        """By task its body's calls: start, hit, end."""
        found: dict[str, list[list[Entry | None]]] = {}
        places = {"start": 0, "hit": 1, "end": 2}
        for entry in self.entries:
            if entry.what == "start":
                found.setdefault(entry.name, []).append([entry, None, None])
            elif entry.what in places:
                found[entry.name][entry.number - 1][places[entry.what]] = entry
        return {name: [(call[0], call[1], call[2]) for call in calls] for name, calls in found.items()}  # type: ignore[misc]

    @cached_property
    def steps(self) -> dict[str, Step]:
        return {step.name: step for step in leaves(self.case.root)}

    @cached_property
    def groups(self) -> dict[str, Group]:
        return {group.name: group for group in groups(self.case.root)}

    @cached_property
    def late(self) -> set[str]:
        """The groups whose time was over."""
        errors = self.run.errors.values()
        found = {each.task.rsplit("/", 1)[-1] for each in errors if isinstance(each, orch.TaskTimeoutError)}
        return found & self.groups.keys()

    @cached_property
    def waits(self) -> dict[str, frozenset[str]]:
        """By step all the steps that have to end before it, worked out from the case and not from the plan."""
        return dict(waits(self.case.root))

    @cached_property
    def around(self) -> dict[str, tuple[Group, ...]]:
        """The groups around every step and group, the innermost first."""
        return dict(parents(self.case.root))

    @cached_property
    def cancelled_at(self) -> float | None:
        """When the caller was cancelled, if that was before the end of the run."""
        return next((entry.time for entry in self.entries if entry.what == "cancel"), None)

    def inside(self, group: Group) -> Iterator[Step]:
        """The steps in a group, at any depth."""
        return leaves(group)

    def time(self, event: Event) -> float:
        """Virtual seconds."""
        return event.time.timestamp()


class Clock:
    """As `orch.testing.VirtualClock`, without asking for the event loop each time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.monotonic = self.time = now


def _now() -> Callable[[], float]:
    """The clock of the current event loop, asyncio's or trio's."""
    native: Any = current_token().native_token
    return native.time if hasattr(native, "time") else trio.lowlevel.current_clock().current_time


class HangError(KeyboardInterrupt):
    """A run that spins: real time passes, virtual time does not. No event loop keeps an interrupt to itself."""


def simulate(case: Case, backend: Any, drive: Callable[..., Any] = run_virtually) -> Seen | Crash:
    """Carry a case out, in a virtual run of its own."""
    try:
        with _watched():
            return drive(observe, case, backend=backend, seed=case.seed)  # type: ignore[no-any-return]
    except (Exception, HangError, BaseExceptionGroup) as error:  # noqa: BLE001 (it is what was found)
        return Crash(case, backend, error)


@contextmanager
def _watched() -> Iterator[None]:
    """End a run that spins, out of a signal, so that seeds behind it have their turn."""

    def stop(*_: object) -> None:
        raise HangError(f"still running after {PATIENCE} seconds of real time")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, 0.5)  # again, while it is cleaned up
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def observe(case: Case, arm: Callable[..., object] = id) -> Seen:
    """Carry a case out, inside an event loop; `arm` is given what cancels the caller, and None when that is over."""
    built = build(case, _now())
    seen = Seen(case, plan_of(built.workflow), built)
    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        if case.cancel is not None:
            group.start_soon(_cancel, case.cancel, scope, built.ledger)
        seen.limit = bound(case)
        group.cancel_scope.deadline = anyio.current_time() + seen.limit
        with scope, _kept(seen):
            arm(lambda: _cancel_now(scope, built.ledger))
            await _run(seen)
        arm(None)
        seen.ended = anyio.current_time()
        group.cancel_scope.cancel()
    names = [str(task.name) for task in anyio.get_running_tasks()]
    others = [name for name in names if not name.startswith("<")]  # trio has two of its own
    seen.left = others if len(others) > 1 else []
    for number, limiter in enumerate(built.limiters):
        if isinstance(limiter, anyio.CapacityLimiter):
            seen.borrowed[number] = limiter.borrowed_tokens, limiter.statistics().tasks_waiting
    if seen.run is not None:
        seen.trace = tuple(RunSource(seen.run).trace())
    return seen


async def _run(seen: Seen) -> None:
    case = seen.case
    runner = orch.AsyncRunner(
        subscribers=[_subscriber(kind, seen) for kind in case.subscribers],
        limit=case.limit,
        clock=Clock(seen.ledger.now),
        rng=Random(case.seed),
        compensation_timeout=case.undo_timeout,
    )
    inputs = dict.fromkeys(seen.plan.inputs, HANDED)
    try:
        seen.result = await runner.run(seen.plan, inputs, run_id="simulated", raise_on_failure=False)
    except Exception as error:  # noqa: BLE001 (an invariant speaks about it)
        seen.raised = error


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


@contextmanager
def _kept(seen: Seen) -> Iterator[None]:
    """Keep hold of the engine's own `Run`, of which a cancelled caller gets no result; let nothing be logged."""
    names: dict[str, Any] = runners.__dict__
    execute = names["execute"]

    async def keep(run: Any) -> None:
        seen.run = run
        await execute(run)

    names["execute"], _logger.disabled = keep, True
    try:
        yield
    finally:
        names["execute"], _logger.disabled = execute, False

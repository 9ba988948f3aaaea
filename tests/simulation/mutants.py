"""Planted bugs: changes of the engine, each for the time of a simulation. One that no seed finds is a blind spot.

A mutant is a function that gives what is to be put in place of attributes of the engine's modules; `planted` does it
and puts back what was there.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, NamedTuple

import anyio
import attrs

import orch
import orch.execution._attempt as attempt
import orch.execution._deliver as deliver
import orch.execution._desk as desk
import orch.execution._engine as engine
import orch.execution._guards as guards
import orch.execution._run as run
import orch.execution._trace as trace
import orch.execution._undo as undo
import orch.plan._lower as lower
import orch.policies._breaker as breaker
from orch import FailureStrategy, State
from orch.event import TaskEvent
from tests.simulation.drive import simulate
from tests.simulation.generate import generate
from tests.simulation.invariants import violations

__all__ = ("MUTANTS", "Kill", "first_kill", "planted", "table")

MOST = 200
Change = tuple[Any, str, Any]
"""An object, the name of an attribute, and what it is to be."""

MUTANTS: dict[str, Callable[[], list[Change]]] = {}


class Kill(NamedTuple):
    """Who found a mutant."""

    seed: int
    backend: str
    invariant: str
    what: str


def mutant(make: Callable[[], list[Change]]) -> Callable[[], list[Change]]:
    """Add a mutant, under the name of the function."""
    MUTANTS[make.__name__.replace("_", " ")] = make
    return make


@contextmanager
def planted(changes: list[Change]) -> Iterator[None]:
    """Have the changes in place; the last first, they are taken back."""
    before = [(where, name, where.__dict__[name]) for where, name, _ in changes]
    for where, name, new in changes:
        setattr(where, name, new)
    try:
        yield
    finally:
        for where, name, old in reversed(before):
            setattr(where, name, old)


class _Other:
    """A schedule that does some things in another way; `verbs` are called with the true one and the arguments."""

    def __init__(self, schedule: Any, verbs: dict[str, Callable[..., Any]]) -> None:
        self.__dict__.update({name: partial(verb, schedule) for name, verb in verbs.items()})
        self._schedule = schedule

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schedule, name)

    def __len__(self) -> int:
        return len(self._schedule)


def schedule(**verbs: Callable[..., Any]) -> list[Change]:
    """Put verbs of one's own before those of the schedule."""
    true = run.__dict__["clocked"]
    return [(run, "clocked", lambda *given: _Other(true(*given), verbs))]


# -- slots and limits --------------------------------------------------------------------------------------------------


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
    async def limited(limiter: Any, body: Callable[[], Awaitable[Any]]) -> Any:
        if limiter is not None:
            await limiter.acquire()
        return await body()

    return [(attempt, "limited", limited)]


@mutant
def release_a_limiter_only_after_success() -> list[Change]:
    async def limited(limiter: Any, body: Callable[[], Awaitable[Any]]) -> Any:
        if limiter is not None:
            await limiter.acquire()
        value = await body()
        if limiter is not None:
            limiter.release()
        return value

    return [(attempt, "limited", limited)]


@mutant
def never_wait_for_a_limiter() -> list[Change]:
    async def limited(_: Any, body: Callable[[], Awaitable[Any]]) -> Any:
        return await body()

    return [(attempt, "limited", limited)]


@mutant
def start_no_second_lane() -> list[Change]:
    def spread(self: Any) -> None:
        if self.schedule.ready() and not self.starting and not self.lanes:
            self.starting += 1
            self.spawn()

    return [(run.Run, "spread", spread)]


# -- order -------------------------------------------------------------------------------------------------------------


@mutant
def start_a_successor_before_its_predecessor() -> list[Change]:
    true: Any = lower.__dict__["Dag"]

    def forgetful(nodes: int, sources: Any, targets: Any, *kinds: Any) -> Any:
        return true(nodes, sources[:-1], targets[:-1], *(kind[:-1] for kind in kinds))

    return [(lower, "Dag", forgetful)]


@mutant
def let_data_edges_be_satisfied_by_failures() -> list[Change]:
    true: Any = lower.__dict__["Dag"]
    return [(lower, "Dag", lambda nodes, sources, targets, *_: true(nodes, sources, targets, b"\1" * len(sources)))]


# -- the record --------------------------------------------------------------------------------------------------------


def advance(change: Callable[[list[Any]], list[Any]]) -> list[Change]:
    """Have the decoder of the journal give something else."""
    true = trace.Decoder.advance
    return [(trace.Decoder, "advance", lambda self: change(true(self)))]


@mutant
def emit_a_terminal_event_twice() -> list[Change]:
    def twice(events: list[Any]) -> list[Any]:
        ends = [type(event) is TaskEvent and event.state.is_final for event in events]
        return [each for event, end in zip(events, ends, strict=True) for each in [event] * (1 + end)]

    return advance(twice)


@mutant
def lose_an_event() -> list[Change]:
    return advance(lambda events: [each for each in events if not (type(each) is TaskEvent and each.seq % 7 == 0)])


@mutant
def forget_why_a_step_was_stopped() -> list[Change]:
    true = run.Run._stop

    def stop(self: Any, *given: Any) -> None:
        true(self, *given)
        self.reasons.clear()

    return [(run.Run, "_stop", stop)]


@mutant
def skip_a_subscriber() -> list[Change]:
    true = deliver.Delivery._hand

    async def hand(self: Any, reader: Any, to: Any, event: Any) -> None:
        if event.seq % 5:
            await true(self, reader, to, event)

    return [(deliver.Delivery, "_hand", hand)]


@mutant
def swap_two_events_of_a_subscriber() -> list[Change]:
    true = deliver.Delivery._append

    def append(self: Any, events: list[Any]) -> None:
        true(self, [*events[1:2], *events[:1], *events[2:]])

    return [(deliver.Delivery, "_append", append)]


# -- cancelling and failing --------------------------------------------------------------------------------------------


@mutant
def take_a_cancellation_for_a_failure() -> list[Change]:
    true = run.Run.failed

    def failed(self: Any, node: int, error: BaseException, lane: Any) -> bool:
        wrong = RuntimeError("cancelled") if isinstance(error, self.cancelled_class) else error
        return true(self, node, wrong, lane)

    return [(run.Run, "failed", failed)]


@mutant
def swallow_the_cancellation_of_the_caller() -> list[Change]:
    true = run.Run.check

    def check(self: Any, lane: Any) -> None:
        if self.schedule.is_active():
            return
        true(self, lane)

    async def spare(self: Any, lane: Any) -> None:
        self.starting -= 1
        self.schedule.breathe()
        await engine.__dict__["work"](self, lane)

    return [(run.Run, "check", check), (engine, "_spare", spare), (run.Run, "cancel", lambda self: None)]


@mutant
def go_on_after_a_cancellation() -> list[Change]:
    return schedule(cancel_all=lambda true: [])


@mutant
def retry_after_a_cancellation() -> list[Change]:
    true = run.Run.fail

    def fail(self: Any, node: int, error: Exception, *, final: bool = False) -> None:
        true(self, node, error)

    return [(run.Run, "fail", fail)]


@mutant
def abort_without_stopping_what_runs() -> list[Change]:
    true = run.Run._stop

    def stop(self: Any, nodes: Any, reason: str, cause: str | None) -> None:
        if reason != "aborted":
            true(self, nodes, reason, cause)

    return [(run.Run, "_stop", stop)]


def always(strategy: FailureStrategy, instead_of: FailureStrategy) -> list[Change]:
    """Decide so, where something else was decided."""
    true = run.__dict__["decide"]

    def decide(*given: Any) -> FailureStrategy:
        chosen = true(*given)
        return strategy if chosen is instead_of else chosen

    return [(run, "decide", decide)]


@mutant
def continue_instead_of_aborting() -> list[Change]:
    return always(FailureStrategy.CONTINUE, FailureStrategy.ABORT)


@mutant
def abort_instead_of_continuing() -> list[Change]:
    return always(FailureStrategy.ABORT, FailureStrategy.CONTINUE)


# -- retries and time --------------------------------------------------------------------------------------------------


def retries(**fields: Any) -> list[Change]:
    """Have every policy of retries be another one."""
    true = run.__dict__["next_try"]

    def next_try(rules: Any, *given: Any) -> Any:
        changed = {name: value(rules.retry) for name, value in fields.items()} if rules.retry else {}
        retry = rules.retry and _evolved(rules.retry, changed)
        return true(attrs.evolve(rules, retry=retry), *given)

    return [(run, "next_try", next_try)]


def _evolved(retry: Any, changed: dict[str, Any]) -> Any:
    new = object.__new__(type(retry))
    new.__attrs_init__(**{**attrs.asdict(retry, recurse=False), **changed})
    return new


@mutant
def ignore_the_deadline_of_retries() -> list[Change]:
    return retries(deadline=lambda retry: None)


@mutant
def retry_whatever_it_is() -> list[Change]:
    return retries(retry_on=lambda retry: (Exception,), give_up_on=lambda retry: ())


@mutant
def retry_once_too_often() -> list[Change]:
    return retries(max_attempts=lambda retry: retry.max_attempts + 1)


@mutant
def retry_at_once() -> list[Change]:
    return [(desk.Desk, "later", lambda self, delay, do: self.at(anyio.current_time(), do))]


@mutant
def wake_up_late() -> list[Change]:
    true = desk.Desk.at
    return [(desk.Desk, "at", lambda self, when, do: true(self, when + 0.25, do))]


@mutant
def let_groups_take_as_long_as_they_like() -> list[Change]:
    return [(run.Run, "expire", lambda self, scope, timeout: None)]


@mutant
def begin_the_time_of_a_group_with_every_step() -> list[Change]:
    true = guards.enter

    def enter(self: Any, scopes: Any) -> None:
        for scope in scopes:
            self.guards.pop(scope, None)
        true(self, scopes)

    return [(attempt, "enter", enter)]


# -- breakers ----------------------------------------------------------------------------------------------------------


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
        self._probing = False
        return true(self, now)

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


# -- compensation ------------------------------------------------------------------------------------------------------


def undoing(change: Callable[..., list[int]]) -> list[Change]:
    """Undo other steps than those that are due."""
    true = undo.due

    @wraps(true)
    def due(self: Any, scope: int, worst: State) -> list[int]:
        return change(self, scope, true(self, scope, worst))

    return [(engine, "due", due)]


@mutant
def compensate_in_order() -> list[Change]:
    return undoing(lambda self, scope, nodes: nodes[::-1])


@mutant
def compensate_twice() -> list[Change]:
    return undoing(lambda self, scope, nodes: nodes[:1] + nodes)


@mutant
def forget_the_first_to_compensate() -> list[Change]:
    return undoing(lambda self, scope, nodes: nodes[:-1])


@mutant
def compensate_the_failing_step() -> list[Change]:
    true = undo.in_reverse
    return [(undo, "in_reverse", lambda steps: true(step._replace(succeeded=True) for step in steps))]


@mutant
def compensate_again_in_the_group_around() -> list[Change]:
    true = undo.due

    def due(self: Any, scope: int, worst: State) -> list[int]:
        self.undone.clear()
        return true(self, scope, worst)

    return [(engine, "due", due)]


@mutant
def compensate_what_succeeded() -> list[Change]:
    true = undo.due
    return [(engine, "due", lambda self, scope, worst: true(self, scope, State.FAILED))]


@mutant
def compensate_nothing_after_a_cancellation() -> list[Change]:
    return undoing(lambda self, scope, nodes: [] if self.cancelled else nodes)


@mutant
def compensate_without_a_shield() -> list[Change]:
    return [(undo, "CancelScope", lambda shield, deadline: anyio.CancelScope(deadline=deadline))]


@mutant
def compensate_without_a_deadline() -> list[Change]:
    return [(undo, "CancelScope", lambda shield, deadline: anyio.CancelScope(shield=shield))]


@mutant
def give_up_after_a_failed_compensation() -> list[Change]:
    true = undo._failed

    def failed(self: Any, node: int, error: Exception) -> Exception:
        true(self, node, error)
        raise error

    return [(undo, "_failed", failed)]


@mutant
def compensate_before_all_has_ended() -> list[Change]:
    true = run.Run._answer

    def answer(self: Any, node: int) -> None:
        true(self, node)
        scope = self.plan.draft.scope_of[node]
        if scope in self.plan.guarded and scope not in self.__dict__.setdefault("early", set()):
            self.early.add(scope)
            self.close(scope, State.FAILED)

    return [(run.Run, "_answer", answer)]


# -- finding them ------------------------------------------------------------------------------------------------------


def first_kill(name: str, backend: str, seeds: range = range(MOST)) -> Kill | None:
    """Run seed after seed with a mutant planted, until something does not hold."""
    for seed in seeds:
        with planted(MUTANTS[name]()):
            seen = simulate(generate(seed), backend)
        for invariant, what in violations(seen):
            return Kill(seed, backend, invariant, what)
    return None


def table(backends: list[str], seeds: range) -> int:
    """Print who found which mutant; 1 if one lives."""
    seeds, lives = seeds[:MOST], 0
    for name in MUTANTS:
        for backend in backends:
            kill = first_kill(name, backend, seeds)
            lives += kill is None
            found = "LIVES" if kill is None else f"seed {kill.seed:3}  {kill.invariant}: {kill.what[:100]}"
            print(f"{name:45} {backend:8} {found}", flush=True)  # noqa: T201 (printing is its job)
    return int(lives > 0)

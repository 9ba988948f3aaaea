"""Workflows with policies, cancelled at every moment: in virtual time, and after some turns of the loop at that time.

Whatever the moment was, the record is whole, nothing runs any more, no limiter or breaker is left taken, and what had
to be undone is undone once.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import anyio
import pytest
from anyio.lowlevel import checkpoint

import orch
from orch import CircuitBreaker, FailureStrategy, Graph, Parallel, RateLimit, Retry, Sequence, State, Task
from orch.event import Event, RunEvent, TaskEvent
from orch.execution import Run, RunSource, execute
from tests.execution.resilient import by_path, check_causality, check_task, frame, runner_of, virtual

pytestmark = pytest.mark.timeout(60)


class Case:
    """Steps that take their time, and what is known about them from inside."""

    def __init__(self) -> None:
        self.active: Counter[str] = Counter()
        self.undone: Counter[str] = Counter()
        self.broken: list[str] = []
        self.limiters: list[Any] = []
        self.breakers: list[CircuitBreaker] = []
        self.undoable: set[str] = set()

    def limiter(self, kind: str = "capacity") -> Any:
        made = anyio.CapacityLimiter(1) if kind == "capacity" else anyio.Semaphore(1)
        self.limiters.append(made)
        return made

    def breaker(self, **options: Any) -> CircuitBreaker:
        self.breakers.append(CircuitBreaker(**options))
        return self.breakers[-1]

    def task(self, name: str, seconds: float = 1, *, fails: int = 0, undo: Any = None, **options: Any) -> Any:
        """A step that takes so long and fails so often; `undo` says how long it takes to undo it."""
        calls = 0

        async def body() -> str:
            nonlocal calls
            calls += 1
            self._begins(name)
            try:
                await (anyio.sleep(seconds) if seconds else checkpoint())
                if calls <= fails:
                    raise ValueError(name)
                return name
            finally:
                self.active[name] -= 1

        if undo is not None:
            options["compensate"] = undo if callable(undo) else self.undo(name, undo)
        return Task(body, name=name, **options)

    def _begins(self, name: str) -> None:
        self.active[name] += 1
        if self.active[name] > 1:
            self.broken.append(f"two attempts of {name} at one time")

    def undo(self, name: str, seconds: float = 0, *, fails: int = 0, **options: Any) -> Task[..., Any]:
        calls = 0
        self.undoable |= set() if fails > 1 else {name}

        async def body() -> None:
            nonlocal calls
            calls += 1
            if +self.active:
                self.broken.append(f"{name} is undone while {dict(+self.active)} run")
            await anyio.sleep(seconds)
            if calls <= fails:
                raise KeyError(name)
            self.undone[name] += 1

        return Task(body, name=f"undo {name}", **options)


class Picks:
    def on_failure(self, event: Any, group: Any) -> FailureStrategy:
        return FailureStrategy.COMPENSATE


def retries(case: Case) -> Any:
    return Sequence(case.task("a", 1, fails=2, retry=Retry(3, delay=2)), case.task("b"))


def retries_at_once(case: Case) -> Any:
    steps = [case.task(f"s{k}", 0, fails=k, retry=Retry(5, delay=0)) for k in range(4)]
    return Parallel(*steps, case.task("z", 1, fails=9, retry=Retry(3, delay=0)), on_failure="continue")


def retries_under_a_limit(case: Case) -> Any:
    steps = [case.task(f"s{k}", 1, fails=1, retry=Retry(2, delay=1)) for k in range(3)]
    return Parallel(*steps, limit=1)


def limiters(case: Case) -> Any:
    one, other = case.limiter(), case.limiter("semaphore")
    steps = [case.task(f"s{k}", 1, limiter=one) for k in range(3)]
    return Parallel(*steps, *[case.task(f"t{k}", 1, limiter=other, fails=1, retry=Retry(2, delay=1)) for k in range(2)])


def rates(case: Case) -> Any:
    limit = RateLimit(1, per=2)
    return Parallel(*[case.task(f"s{k}", 1, limiter=limit, timeout=5) for k in range(4)])


def timeouts(case: Case) -> Any:
    slow = case.task("slow", 5, timeout=2, retry=Retry(2, delay=1))
    return Sequence(slow, case.task("next"), on_failure="continue")


def group_timeouts(case: Case) -> Any:
    inner = Parallel(case.task("a", 1), case.task("b", 9), timeout=3, name="inner")
    return Sequence(inner, Sequence(case.task("c"), case.task("d", 9), timeout=4, name="late"), on_failure="continue")


def a_timeout_around_retries(case: Case) -> Any:
    return Sequence(case.task("a", 1, fails=9, retry=Retry(9, delay=1)), case.task("b"), timeout=5)


def undone(case: Case) -> Any:
    steps = [case.task("a", undo=0), case.task("b", undo=0), case.task("c", fails=1, undo=0)]
    return Sequence(*steps, on_failure="compensate")


def undone_slowly(case: Case) -> Any:
    steps = [case.task("a", undo=2), Parallel(case.task("b", undo=1), case.task("c", 2, undo=1))]
    return Sequence(*steps, case.task("d", fails=1), on_failure="compensate")


def undone_at_every_level(case: Case) -> Any:
    inner = Sequence(case.task("b", undo=1), case.task("c", fails=1), on_failure="compensate", name="inner")
    return Sequence(case.task("a", undo=1), inner, case.task("d"), on_failure="compensate")


def undone_inside_only(case: Case) -> Any:
    inner = Sequence(case.task("b", undo=1), case.task("c", fails=1), on_failure="compensate", name="inner")
    return Sequence(case.task("a", undo=1), inner, case.task("d"), on_failure="continue")


def undoing_fails(case: Case) -> Any:
    b = case.task("b", undo=case.undo("b", 1, fails=1, retry=Retry(2, delay=1)))
    c = case.task("c", undo=case.undo("c", 1, fails=9))
    return Sequence(case.task("a", undo=0), b, c, case.task("d", fails=1), on_failure="compensate")


def undone_if_unknown(case: Case) -> Any:
    slow = case.task("slow", 9, timeout=2, undo=1, compensate_unknown=True)
    return Parallel(case.task("a", undo=0), slow, case.task("b", 9, undo=0), on_failure="compensate")


def undone_after_a_timeout(case: Case) -> Any:
    return Sequence(case.task("a", undo=1), case.task("b", 9, undo=1), on_failure="compensate", timeout=3)


def chosen_by_an_object(case: Case) -> Any:
    return Sequence(case.task("a", undo=1), case.task("b", fails=1), case.task("c"), on_failure=Picks())


def breakers(case: Case) -> Any:
    one = case.breaker(fail_max=1, reset_timeout=2)
    calls = [case.task(f"s{k}", 1, fails=1, breaker=one, retry=Retry(3, delay=2)) for k in range(2)]
    return Parallel(*calls, on_failure="continue")


def group_breakers(case: Case) -> Any:
    one = case.breaker(fail_max=1, reset_timeout=2)
    groups = [Sequence(case.task(f"s{k}", 1, fails=1), breaker=one, name=f"g{k}") for k in range(3)]
    return Sequence(*groups, Sequence(case.task("x", 3)), Sequence(case.task("y"), breaker=one), on_failure="continue")


def everything(case: Case) -> Any:
    limiter, breaker = case.limiter(), case.breaker(fail_max=3, reset_timeout=1)
    options: dict[str, Any] = {"limiter": limiter, "breaker": breaker, "retry": Retry(3, delay=1), "timeout": 2}
    first = Parallel(case.task("a", 1, fails=1, undo=1, **options), case.task("b", 3, undo=1, **options), name="first")
    graph = Graph(case.task("c", 1, undo=1), case.task("d", 1, deps=["c"], undo=1, **options), name="graph", limit=1)
    return Sequence(graph, first, on_failure="compensate", timeout=20)


CASES = [
    retries, retries_at_once, retries_under_a_limit, limiters, rates, timeouts, group_timeouts,
    a_timeout_around_retries, undone, undone_slowly, undone_at_every_level, undone_inside_only, undoing_fails,
    undone_if_unknown, undone_after_a_timeout, chosen_by_an_object, breakers, group_breakers, everything,
]  # fmt: skip


async def play(make: Callable[[Case], Any], when: float | None, turns: int, *, watched: bool) -> float | None:
    """Run a case, cancel it at that time; return how long it took, or None if it was cancelled before its end."""
    case, runs, heard = Case(), list[Run](), list[Event]()
    plan = orch.plan.compile(make(case))
    begin, result, over, scope = anyio.current_time(), None, False, anyio.CancelScope()

    async def keep(run: Run) -> None:
        runs.append(run)
        await execute(run)

    async def cancel() -> None:
        await anyio.sleep(when or 0)
        for _ in range(turns):
            await checkpoint()
        if not over:
            scope.cancel()

    with mock.patch("orch.runners._async.execute", keep):
        async with anyio.create_task_group() as group:
            if when is not None:
                group.start_soon(cancel)
            with scope:
                runner = runner_of(subscribers=[heard.append] if watched else [])
                result = await runner.run(plan, raise_on_failure=False)
            over = True
            group.cancel_scope.cancel()
    trace = RunSource(runs[0]).trace()
    verify(case, trace, plan)
    if watched:
        assert len(heard) == len(trace)
    last = trace[-1]
    assert isinstance(last, RunEvent)
    assert (last.state is State.CANCELLED) <= scope.cancel_called
    assert (result is None) == scope.cancelled_caught
    return anyio.current_time() - begin if result is not None else None


def verify(case: Case, trace: Any, plan: Any) -> None:
    """What holds whatever the moment was."""
    frame(trace, trace[0].run_id)
    known = by_path(trace)
    assert set(known) == set(plan.order())
    for events in known.values():
        check_task(events)
    check_causality(plan, trace)
    assert not case.broken
    assert not +case.active
    for limiter in case.limiters:
        waiting, taken = limiter.statistics().tasks_waiting, getattr(limiter, "borrowed_tokens", 0)
        assert (waiting, taken, getattr(limiter, "value", 1)) == (0, 0, 1)
    for breaker in case.breakers:
        wait = breaker.wait(anyio.current_time())
        assert wait is None or (breaker.state == "open" and wait > 0), "a probe is said to be out"
    check_undone(case, known, plan.workflow)


def check_undone(case: Case, known: dict[str, list[TaskEvent]], root: Any) -> None:
    assert set(case.undone.values()) <= {1}
    for events in known.values():
        end, name = events[-1], events[-1].name
        if end.state is State.COMPENSATED:
            assert case.undone[name] == 1, f"{name} is said to be undone"
    ends = {events[-1].name: events[-1].state for events in known.values()}
    if root.on_failure is FailureStrategy.COMPENSATE and {State.FAILED, State.CANCELLED} & set(ends.values()):
        left = {name for name, state in ends.items() if state is State.SUCCEEDED}
        assert not left & case.undoable, f"{left & case.undoable} are not undone"


@virtual
@pytest.mark.parametrize("watched", [True, False], ids=["watched", "alone"])
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
async def test_cancelled_at_every_moment(make: Callable[[Case], Any], watched: bool) -> None:
    """C1, C2, C11, C12, C13, C19, F15, S5, S7, L7."""
    duration = await play(make, None, 0, watched=watched)
    assert duration is not None
    early = 0
    for half in range(int(duration * 2) + 2):
        for turns in (0, 1, 2, 4, 7, 12):
            early += await play(make, half / 2, turns, watched=watched) is None
    assert early


@virtual
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
async def test_the_same_case_twice_takes_the_same_way(make: Callable[[Case], Any]) -> None:
    first, second = await play(make, None, 0, watched=True), await play(make, None, 0, watched=True)
    assert first == second

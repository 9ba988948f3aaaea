"""Small workflows, cancelled after every number of turns of the loop, in every body, and failing at every step."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest import mock

import anyio
import anyio.from_thread
import anyio.lowlevel
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import orch
from orch.event import Event, RunEvent, State
from orch.execution import Run, RunSource, execute
from orch.plan import Plan
from orch.plan import compile as plan_of
from tests.properties.evaluator import evaluate
from tests.properties.invariants import check
from tests.properties.shapes import KINDS, UNRULY, Group, Ledger, Shape, Step, build, leaves, named, shapes, tree
from tests.properties.test_random_runs import CI, HANDED, LOOPS, agree, as_expected, carry_out

pytestmark = pytest.mark.timeout(60)


def seq(*steps: Shape, **options: Any) -> Group:
    return Group("sequence", steps, **options)


def par(*steps: Shape, **options: Any) -> Group:
    return Group("parallel", steps, **options)


now, waits, sleeps = Step("at once"), Step("waits", 2), Step("sleeps", 1)
thread, place, late = Step("thread", 2), Step("in place"), Step("thread that awaits", 2)
swallows, messy, careful = Step("swallows", 2), Step("messy", 2), Step("careful", 3)
fails, fails_later, fails_in_thread = (attrs.evolve(step, fails=True) for step in (now, waits, thread))


def after(*deps: int, kind: str = "waits") -> Step:
    return Step(kind, 1, deps=deps)


CORPUS: dict[str, Shape] = {
    "one that waits": waits,
    "one at once": now,
    "a chain that waits": seq(waits, waits, waits),
    "a chain at once": seq(now, now, now, now),
    "a chain of both": seq(now, waits, place, waits, now),
    "three together": par(waits, waits, waits),
    "together and then": seq(par(waits, now, sleeps), waits),
    "a limit of one": par(waits, now, waits, now, limit=1),
    "limits in limits": par(par(waits, waits, limit=1), par(waits, waits, waits, limit=2), limit=2),
    "a diamond": Group("graph", (waits, after(0), after(0, kind="at once"), after(1, 2))),
    "values handed on": seq(waits, attrs.evolve(waits, takes=True), par(attrs.evolve(now, takes=True), waits)),
    "a failure that aborts": par(fails_later, Step("waits", 3), sleeps),
    "a failure that does not": par(fails_later, waits, seq(waits, fails, waits), strategy="continue"),
    "an abort inside": seq(par(fails_later, sleeps), waits, now, strategy="continue"),
    "an abort in an abort": seq(par(seq(waits, par(fails_later, sleeps)), sleeps), waits),
    "one thread": seq(thread, now),
    "threads and loop": seq(par(thread, waits, thread), late, waits),
    "threads under a limit": par(thread, waits, thread, late, thread, limit=2),
    "a thread that fails": par(fails_in_thread, thread, waits, seq(thread, thread)),
    "unruly ones": seq(par(careful, swallows, messy, waits, strategy="continue"), waits, strategy="continue"),
    "unruly ones in turn": seq(swallows, careful, swallows, messy, waits, strategy="continue"),
    "nothing": seq(seq(), par()),
}
CORPUS = {name: named(shape) for name, shape in CORPUS.items()}
corpus = pytest.mark.parametrize("name", CORPUS)
loops = pytest.mark.parametrize("loop", sorted(LOOPS))


def takes_time(shape: Shape) -> bool:
    """Threads and timers do not count in turns of the loop: with them not every turn is a moment of its own."""
    return any(step.kind in {"sleeps", "thread", "thread that awaits"} for step in leaves(shape))


class Case:
    """One run that is cancelled from outside, somehow, and what is known about it afterwards."""

    def __init__(self, shape: Shape, *, watched: bool) -> None:
        self.shape = shape
        self.ledger = Ledger()
        self.plan: Plan = plan_of(build(shape, self.ledger))
        self.heard: list[Event] = []
        self.watched = watched
        self.scope = anyio.CancelScope()
        self.result: Any = None
        self.runs: list[Run] = []

    async def carry_out(self) -> None:
        async def keep(run: Run) -> None:
            self.runs.append(run)
            await execute(run)

        runner = orch.AsyncRunner(threads=2, grace=5, subscribers=[self.heard.append] if self.watched else [])
        inputs = dict.fromkeys(self.plan.inputs, HANDED)
        with mock.patch("orch.runners._async.execute", keep), self.scope:
            self.result = await runner.run(self.plan, inputs, raise_on_failure=False)

    def check(self) -> State:
        """Whatever the moment was, the record is whole and true, and nothing runs any more."""
        (run,) = self.runs
        trace = RunSource(run).trace()
        check(trace, self.plan)
        if self.watched:
            assert self.heard == list(trace)
        assert self.ledger.broken == []
        assert not +self.ledger.active
        assert set(self.ledger.begun.values()) <= {1}
        last = trace[-1]
        assert isinstance(last, RunEvent)
        if self.result is not None:
            assert self.result.state is last.state
            assert last.state is not State.CANCELLED
            agree(self.result, self.ledger, self.shape)
            expected = evaluate(self.shape, HANDED)
            if expected.determined:
                as_expected(self.result, expected)
        else:
            assert self.scope.cancel_called
        return last.state


async def after_turns(shape: Shape, turns: int, *, first: bool, watched: bool) -> tuple[State, bool]:
    """Cancel a run after so many turns of the loop; say how it ended, and whether that was before the cancellation."""
    case = Case(shape, watched=watched)
    over, begun = False, dict[str, int]()

    async def canceller() -> None:
        for _ in range(turns):
            if over:
                return
            await anyio.lowlevel.checkpoint()
        case.scope.cancel()
        for _ in range(4):  # by then it has been delivered to everybody
            await anyio.lowlevel.checkpoint()
        begun.update(case.ledger.begun)

    async def runs() -> None:
        nonlocal over
        await case.carry_out()
        over = True

    async with anyio.create_task_group() as group:
        for task in (canceller, runs) if first else (runs, canceller):
            group.start_soon(task)
    state = case.check()
    if case.scope.cancel_called and not any("thread" in step.kind for step in leaves(shape)):
        assert case.ledger.begun == begun, "a step began although the run was cancelled"
    return state, not case.scope.cancel_called


@corpus
@loops
def test_cancelled_after_any_number_of_turns(name: str, loop: str) -> None:
    shape = CORPUS[name]

    async def sweep() -> set[State]:
        states = set()
        for first, watched in ((True, False), (False, True)):
            turns, over = 0, False
            while not over and turns < 1_000:
                state, over = await after_turns(shape, turns, first=first, watched=watched)
                states.add(state)
                turns += 1 + (turns // 4 if takes_time(shape) else 0)
        return states

    with no_late_failures():
        states = anyio.run(sweep, **LOOPS[loop])
    if name != "nothing":
        assert State.CANCELLED in states


@corpus
@loops
@pytest.mark.parametrize("moment", ["begin", "end"])
def test_cancelled_by_any_of_its_bodies(name: str, loop: str, moment: str) -> None:
    shape = CORPUS[name]

    async def sweep() -> None:
        for step in leaves(shape):
            for watched in (True, False):
                case = Case(shape, watched=watched)
                home = threading.get_ident()

                def hook(what: str, which: str, case: Case = case, step: Step = step, home: int = home) -> None:
                    if (what, which) == (moment, step.name):
                        if threading.get_ident() == home:
                            case.scope.cancel()
                        else:
                            anyio.from_thread.run_sync(case.scope.cancel)

                case.ledger.hook = hook
                await case.carry_out()
                case.check()

    with no_late_failures():
        anyio.run(sweep, **LOOPS[loop])


@corpus
@loops
def test_failing_at_any_of_its_steps(name: str, loop: str) -> None:
    def failing(shape: Shape, victim: str) -> Shape:
        if isinstance(shape, Step):
            return attrs.evolve(shape, fails=shape.name == victim or shape.fails)
        return attrs.evolve(shape, steps=tuple(failing(step, victim) for step in shape.steps))

    for step in leaves(CORPUS[name]):
        for strategy in ("abort", "continue"):
            shape = _with_strategy(failing(CORPUS[name], step.name), strategy)
            result, _ = carry_out(shape, loop)
            expected = evaluate(shape, HANDED)
            if expected.determined:
                as_expected(result, expected)
            assert result.state is State.FAILED or not expected.determined


def _with_strategy(shape: Shape, strategy: str) -> Shape:
    if isinstance(shape, Step):
        return shape
    return attrs.evolve(shape, strategy=strategy, steps=tuple(_with_strategy(step, strategy) for step in shape.steps))


@CI
@given(shapes(UNRULY), st.integers(0, 60), st.booleans(), st.booleans(), st.sampled_from(sorted(LOOPS)))
def test_a_random_run_cancelled_after_a_random_number_of_turns(
    shape: Shape, turns: int, first: bool, watched: bool, loop: str
) -> None:
    async def call() -> None:
        await after_turns(shape, turns, first=first, watched=watched)

    with no_late_failures():
        anyio.run(call, **LOOPS[loop])


def test_the_same_tree_comes_from_the_same_seed() -> None:
    """What a failure prints can be run again."""
    assert tree(Random(5), KINDS, 12) == tree(Random(5), KINDS, 12)


@contextmanager
def no_late_failures() -> Iterator[None]:
    """A thread of the engine that dies is a failure, wherever that happens."""
    died: list[Any] = []
    hook: Callable[[Any], None] = died.append
    with mock.patch("threading.excepthook", hook):
        yield
    assert not died

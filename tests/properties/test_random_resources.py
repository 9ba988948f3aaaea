"""Random resources that use each other, in random workflows that fail, break and are cancelled at random moments.

A ledger is kept beside the runs, by the resources themselves. Whatever happens: what was opened is closed, in full,
once and in the reverse order; nobody uses what is not open; and the run says what has gone wrong.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

import orch
from orch import AsyncRunner, Graph, Parallel, Resource, Retry, Sequence, State, Task, resource
from orch.testing import VirtualClock, run
from tests.properties.test_random_runs import CI

Wrong = Literal["", "opening", "first opening", "closing", "in use"]


@attrs.frozen
class Made:
    """A resource, as data: what it uses, by number, how long it takes, and what goes wrong with it."""

    uses: tuple[int, ...]
    turns: int
    wrong: Wrong


@attrs.frozen
class Step:
    """A step, as data."""

    uses: tuple[int, ...]
    turns: int
    fails: bool
    retries: bool
    undo: tuple[int, ...] | None
    """The resources of its compensation, if it has one."""


@attrs.frozen
class Case:
    resources: tuple[Made, ...]
    steps: tuple[Step, ...]
    kind: Literal["sequence", "parallel", "graph"]
    on_failure: Literal["abort", "continue", "compensate"]
    cancel: int | None
    """After how many turns it is cancelled."""
    scope: Literal["run", "runner"]


def several(below: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, below - 1), max_size=3, unique=True).map(tuple) if below else st.just(())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    wrongs: st.SearchStrategy[Wrong] = st.sampled_from(["", "", "", "opening", "first opening", "closing", "in use"])
    count = draw(st.integers(1, 5))
    resources = tuple(Made(draw(several(number)), draw(st.integers(0, 3)), draw(wrongs)) for number in range(count))
    steps = st.builds(
        Step,
        several(count),
        st.integers(0, 4),
        st.sampled_from([False, False, False, True]),
        st.booleans(),
        st.none() | several(count),
    )
    return Case(
        resources,
        tuple(draw(st.lists(steps, min_size=1, max_size=6))),
        draw(st.sampled_from(["sequence", "parallel", "graph"])),
        draw(st.sampled_from(["abort", "continue", "compensate"])),
        draw(st.none() | st.integers(0, 40)),
        draw(st.sampled_from(["run", "runner"])),
    )


class Ledger:
    """What resources and steps have done."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.counts: Counter[tuple[int, str]] = Counter()
        self.open: list[int] = []  # in order of opening
        self.broken = False
        self.made = list[Resource[Any]]()
        for number, made in enumerate(case.resources):
            self.made.append(self._resource(number, made))

    def _resource(self, number: int, made: Made) -> Resource[Any]:
        @asynccontextmanager
        async def life(given: tuple[Any, ...]) -> AsyncIterator[int]:
            assert given == made.uses
            assert not set(made.uses) - set(self.open) or self.broken, "it uses what is not open"
            self.counts[number, "begun"] += 1
            assert self.counts[number, "begun"] - self.counts[number, "ended"] == 1, "twice at a time"
            try:
                for _ in range(made.turns):
                    await checkpoint()
                is_first = self.counts[number, "begun"] == 1
                if made.wrong == "opening" or (made.wrong == "first opening" and is_first):
                    raise ConnectionError(number, "opening")
                async with anyio.create_task_group() as group:
                    group.start_soon(self._background, number, made)
                    self.open.append(number)
                    try:
                        yield number
                        assert self.open[-1] == number or self.broken, "not in reverse order"
                        for _ in range(made.turns):
                            await checkpoint()
                    finally:
                        self.open.remove(number)
                        group.cancel_scope.cancel()
                if made.wrong == "closing":
                    raise ConnectionError(number, "closing")
            finally:
                self.counts[number, "ended"] += 1

        return self._parametrised(number, made, life)

    def _parametrised(self, number: int, made: Made, life: Any) -> Resource[Any]:
        defaults = {name: orch.use(self.made[used]) for name, used in zip("abc", made.uses, strict=False)}

        a_, b_, c_ = (defaults.get(name) for name in "abc")

        async def made_(a: Any = a_, b: Any = b_, c: Any = c_) -> AsyncIterator[int]:
            async with life((a, b, c)[: len(made.uses)]) as value:
                yield value

        return resource(made_, name=f"r{number}", scope=self.case.scope)

    async def _background(self, number: int, made: Made) -> None:
        if made.wrong != "in use":
            await anyio.sleep(3600)
        for _ in range(5):
            await checkpoint()
        self.broken = True
        raise ConnectionError(number, "in use")

    def workflow(self) -> Any:
        """What is run."""
        steps = [self._step(number, step) for number, step in enumerate(self.case.steps)]
        kind = {"sequence": Sequence, "parallel": Parallel, "graph": Graph}[self.case.kind]
        return kind(*steps, on_failure=self.case.on_failure)

    def _step(self, number: int, step: Step) -> Task[..., Any]:
        async def body(a: Any = None, b: Any = None, c: Any = None) -> None:
            self._check_open(step.uses, (a, b, c))
            for _ in range(step.turns):
                await checkpoint()
            if step.fails:
                raise ValueError(number)

        async def undo(a: Any = None, b: Any = None, c: Any = None) -> None:
            await checkpoint()

        options: dict[str, Any] = {"retry": Retry(2, delay=0)} if step.retries else {}
        if step.undo is not None:
            options["compensate"] = Task(undo).bind(**self._asked(step.undo))
        return Task(body, name=f"s{number}", **options).bind(**self._asked(step.uses))

    def _asked(self, uses: tuple[int, ...]) -> dict[str, Any]:
        return {name: orch.use(self.made[used]) for name, used in zip("abc", uses, strict=False)}

    def _check_open(self, uses: tuple[int, ...], given: tuple[Any, ...]) -> None:
        assert given[: len(uses)] == uses
        assert not set(uses) - set(self.open) or self.broken, "it is used and not open"

    def check(self) -> None:
        """Nothing is open, nothing half open."""
        assert self.open == []
        for number in range(len(self.made)):
            assert self.counts[number, "begun"] == self.counts[number, "ended"]


async def play(case: Case) -> None:
    """Carry a case out, and check what holds of every case."""
    ledger = Ledger(case)
    workflow, results = ledger.workflow(), list[orch.RunResult]()

    async def cancel(scope: anyio.CancelScope) -> None:
        for _ in range(case.cancel or 0):
            await checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            if case.cancel is not None:
                group.start_soon(cancel, scope)
            results.append(await AsyncRunner(clock=VirtualClock()).run(workflow, raise_on_failure=False))
        group.cancel_scope.cancel()
    ledger.check()
    for result in results:
        check_result(case, result)


def flat(error: BaseException) -> list[BaseException]:
    """An error, or those in it."""
    inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [each for one in inside for each in flat(one)] or [error]


def check_result(case: Case, result: orch.RunResult) -> None:
    """The run has succeeded if and only if nothing went wrong, and says what did."""
    assert all(record.state.is_final for record in result.tasks.values())
    wrong = [error for error in result.errors if not isinstance(error, orch.CompensationError)]
    assert (result.state is State.SUCCEEDED) == (not result.errors)
    if not wrong:
        assert not any(step.fails for step in case.steps)
    assert not [error for each in result.errors for error in flat(each) if isinstance(error, AssertionError)]
    noted = [error for error in wrong if any("while resource" in note for note in getattr(error, "__notes__", ()))]
    assert all(isinstance(error, ConnectionError | ExceptionGroup) for error in noted)
    assert len({id(error) for error in noted}) <= len(result.tasks) + 2 * len(case.resources)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@CI
@given(case=cases(), seed=st.integers(0, 3))
def test_what_is_opened_is_closed(backend: Any, case: Case, seed: int) -> None:
    run(play, case, backend=backend, seed=seed)

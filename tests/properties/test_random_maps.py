"""Random bodies over random items, on every loop, beside a naive evaluator: nested maps, failures, limits."""

import os
from collections.abc import Awaitable, Callable
from typing import Any
from zlib import crc32

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import orch
from orch import Map, Parallel, Sequence, State, Task, Workflow
from orch.event import MapEvent
from tests.execution.maps import check, check_items
from tests.runners.truth import by_path, check_task

pytestmark = pytest.mark.timeout(120)
CI = settings(
    max_examples=int(os.environ.get("ORCH_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


class BoomError(Exception):
    """What bodies fail with, and the naive evaluator, too."""


# -- bodies: what they are, what they come to, how they are built ------------------------------------------------------


@attrs.frozen
class Leaf:
    """Gives its number and what it was given; fails for one in so many values."""

    number: int
    fails: int
    style: str

    def value(self, x: Any) -> Any:
        if self.fails and not crc32(repr((self.number, x)).encode()) % self.fails:
            raise BoomError(self.number)
        return self.number, x

    def build(self) -> Workflow:
        async def suspended(x: Any) -> Any:
            await checkpoint()
            return self.value(x)

        def plain(x: Any) -> Any:
            return self.value(x)

        fn: Callable[..., Any] = suspended if self.style == "async" else plain
        return Task(fn, name=f"leaf{self.number}", thread=False if self.style == "in place" else None)


@attrs.frozen
class Chain:
    """One after another, each with the value of the one before."""

    steps: tuple[Any, ...]

    def value(self, x: Any) -> Any:
        values = list[Any]()
        for step in self.steps:
            x = step.value(x)
            values.append(x)
            x = x[-1] if isinstance(step, Chain) else x
        return values

    def build(self) -> Workflow:
        return Sequence([step.build() for step in self.steps], name="chain")


@attrs.frozen
class Side:
    """Beside each other, all with the same value."""

    steps: tuple[Any, ...]
    goes_on: bool

    def value(self, x: Any) -> Any:
        values, failed = list[Any](), None
        for step in self.steps:
            try:
                values.append(step.value(x))
            except BoomError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return values

    def build(self) -> Workflow:
        how = "continue" if self.goes_on else "abort"
        return Parallel([step.build() for step in self.steps], name="side", on_failure=how)


@attrs.frozen
class Each:
    """A map over what a step before it has made of the value."""

    body: Any
    width: int
    collects: bool
    limit: int | None

    def value(self, x: Any) -> Any:
        items = [(x, k) for k in range(self.width)]
        return [items, collected(self.body, items) if self.collects else list(map(self.body.value, items))]

    def build(self) -> Workflow:
        def spread(x: Any) -> Any:
            return [(x, k) for k in range(self.width)]

        how: Any = "collect" if self.collects else "raise"
        inner = Map(self.body.build(), over="x", name="each", on_error=how, limit=self.limit)
        return Sequence(Task(spread, thread=False), inner, name="spread")


def collected(body: Any, items: list[Any]) -> list[Any]:
    """The values of all items, None where one fails."""
    values = list[Any]()
    for item in items:
        try:
            values.append(body.value(item))
        except BoomError:
            values.append(None)
    return values


leaves = st.builds(
    Leaf, st.integers(0, 99), st.sampled_from([0, 0, 2, 3, 7]), st.sampled_from(["async", "plain", "in place"])
)
limits = st.sampled_from([None, None, 1, 2, 5])


def _larger(bodies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(bodies, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Chain, st.lists(leaves, min_size=1, max_size=3).map(tuple)),
        st.builds(Side, several, st.booleans()),
        st.builds(Each, bodies, st.integers(0, 4), st.booleans(), limits),
    )


bodies = st.recursive(leaves, _larger, max_leaves=5)


def carry_out(loop: str, call: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        with anyio.fail_after(20):
            return await call()

    return anyio.run(main, **LOOPS[loop])


@pytest.mark.parametrize("loop", LOOPS)
@CI
@given(body=bodies, size=st.integers(0, 9), both=st.tuples(limits, limits), watched=st.booleans())
def test_values_and_states_are_those_of_a_loop(
    loop: str, body: Any, size: int, both: tuple[int | None, int | None], watched: bool
) -> None:
    told, items, (limit, around) = list[orch.Event](), list(range(size)), both
    step = Map(body.build(), over="x", name="xs", limit=limit, on_error="collect")
    runner = orch.AsyncRunner(limit=around, threads=2, subscribers=[told.append] if watched else [])
    result = carry_out(loop, lambda: runner.run(step, x=items))

    expected = collected(body, items)
    assert result.value == expected
    assert result.state is State.SUCCEEDED
    ends = {event.index: event.state for event in result.trace if isinstance(event, MapEvent) and event.path == "xs"}
    assert ends == {k: State.FAILED if value is None else State.SUCCEEDED for k, value in enumerate(expected)}
    check(result)
    assert not watched or told == list(result.trace)


@pytest.mark.parametrize("loop", LOOPS)
@CI
@given(body=bodies, size=st.integers(0, 9), limit=limits, one_by_one=st.booleans())
def test_a_runner_gives_the_result_of_each_item(
    loop: str, body: Any, size: int, limit: int | None, one_by_one: bool
) -> None:
    items, runner = list(range(size)), orch.AsyncRunner(threads=2)

    async def fetched() -> list[orch.RunResult]:
        async with runner.map_iter(body.build(), {"x": items}, "x", limit=limit, on_error="collect") as results:
            found = {index: result async for index, result in results}
        return [found[index] for index in range(size)]

    async def at_once() -> list[orch.RunResult]:
        return list(await runner.map(body.build(), {"x": items}, "x", limit=limit, on_error="collect"))

    results = carry_out(loop, fetched if one_by_one else at_once)
    for expected, result in zip(collected(body, items), results, strict=True):
        assert (result.state is State.SUCCEEDED) == (expected is not None)
        assert expected is None or result.value == expected
        assert bool(result.errors) == (expected is None)
        check(result)


@pytest.mark.parametrize("loop", LOOPS)
@CI
@given(body=bodies, size=st.integers(0, 9), limit=limits, watched=st.booleans())
def test_the_first_failure_ends_a_map_and_is_its_error(
    loop: str, body: Any, size: int, limit: int | None, watched: bool
) -> None:
    items, told = list(range(size)), list[orch.Event]()
    runner = orch.AsyncRunner(threads=2, limit=limit, subscribers=[told.append] if watched else [])
    step = Map(body.build(), over="x", name="xs")
    result = carry_out(loop, lambda: runner.run(step, x=items, raise_on_failure=False))

    expected = collected(body, items)
    assert (result.state is State.FAILED) == (None in expected)
    if None in expected:
        (error,) = result.errors
        failed = [e for e in result.trace if isinstance(e, MapEvent) and e.path == "xs" and e.state is State.FAILED]
        assert isinstance(error, BoomError)
        assert failed
        assert all(expected[event.index] is None for event in failed)
    else:
        assert result.value == expected
    check(result)


@pytest.mark.parametrize("loop", LOOPS)
@CI
@given(body=bodies, size=st.integers(1, 9), both=st.tuples(limits, limits), turns=st.integers(0, 40))
def test_cancelled_at_any_moment_everything_that_began_ends(
    loop: str, body: Any, size: int, both: tuple[int | None, int | None], turns: int
) -> None:
    told, (limit, around) = list[orch.Event](), both
    step = Parallel(
        Map(body.build(), over="x", name="xs", limit=limit, on_error="collect"), Leaf(0, 0, "async").build()
    )
    runner = orch.AsyncRunner(threads=2, limit=around, subscribers=[told.append])

    async def cancelled() -> bool:
        async def stop() -> None:
            for _ in range(turns):
                await checkpoint()
            scope.cancel()

        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(stop)
                await runner.run(step, x=list(range(size)))
                return False
        return True

    was_cancelled = carry_out(loop, cancelled)
    if told:
        last = told[-1]
        assert isinstance(last, orch.event.RunEvent)
        assert last.state is State.SUCCEEDED or (was_cancelled and last.state is State.CANCELLED)
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        for events in by_path(told).values():
            check_task(events)
        check_items(told)

"""Random definitions with a cache: a second run gives what the first gave, and calls nothing that succeeded."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

import orch
from orch.event import State
from orch.plan import compile as plan_of
from orch.result import RunResult
from tests.properties.evaluator import evaluate
from tests.properties.invariants import check
from tests.properties.shapes import KINDS, UNRULY, Ledger, Shape, build, leaves, shapes
from tests.properties.test_random_runs import CI, HANDED, LOOPS, as_expected

pytestmark = pytest.mark.timeout(60)
loops = pytest.mark.parametrize("loop", sorted(LOOPS))


class Shared(Ledger):
    """A ledger that makes no difference to keys."""

    __cache_key__ = "ledger"


class Slow:
    """A cache that is asked in threads."""

    def __init__(self) -> None:
        self.inner = orch.MemoryCache()
        self.flights = self.inner.flights

    def get(self, key: str, /) -> tuple[bool, Any]:
        return self.inner.get(key)

    def set(self, key: str, value: Any, /) -> None:
        self.inner.set(key, value)

    def discard(self, key: str, /) -> None:
        self.inner.discard(key)


CACHES: dict[str, Any] = {"at once": orch.MemoryCache, "in threads": Slow}
caches = pytest.mark.parametrize("cache", CACHES)


async def carry_out(shape: Shape, cache: Any, turns: int | None = None) -> tuple[RunResult | None, Ledger]:
    """Run a shape with a cache, cancelled after so many turns of the loop."""
    ledger = Shared()
    plan = plan_of(build(shape, ledger))
    runner = orch.AsyncRunner(cache=cache, threads=3)
    result = None
    with anyio.fail_after(10), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                for _ in range(turns or 0):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            if turns is not None:
                group.start_soon(cancel)
            result = await runner.run(plan, dict.fromkeys(plan.inputs, HANDED), raise_on_failure=False)
            group.cancel_scope.cancel()
    assert len(cache.flights) == 0
    assert not +ledger.active
    assert set(ledger.begun.values()) <= {1}
    if result is not None:
        check(result.trace, plan)
    return result, ledger


def same(one: RunResult, other: RunResult) -> None:
    """States and values are those of the other run."""
    for path, record in one.tasks.items():
        assert (record.state, record.value) == (other.tasks[path].state, other.tasks[path].value)
    assert one.state is other.state


@loops
@caches
@CI
@given(shape=shapes(KINDS, 12))
def test_check_96_a_second_run_gives_the_same_and_calls_nothing_that_succeeded(
    loop: str, cache: str, shape: Shape
) -> None:
    kept, expected = CACHES[cache](), evaluate(shape, HANDED)
    first, ledger = anyio.run(lambda: carry_out(shape, kept), **LOOPS[loop])
    second, again = anyio.run(lambda: carry_out(shape, kept), **LOOPS[loop])
    assert first is not None
    assert second is not None
    succeeded = {record.name for record in first.tasks.values() if record.state is State.SUCCEEDED}
    assert not again.begun.keys() & succeeded
    assert {record.name for record in second.tasks.values() if record.attempts} >= again.begun.keys()
    if expected.determined:
        as_expected(first, expected)
        as_expected(second, expected)
        same(first, second)
        assert {record.name for record in second.tasks.values() if record.cached} == succeeded
    assert ledger.broken == again.broken == []


@loops
@caches
@CI
@given(shape=shapes(UNRULY, 8), turns=st.integers(0, 40))
def test_a_cancelled_run_leaves_a_cache_that_is_right(loop: str, cache: str, shape: Shape, turns: int) -> None:
    kept, expected = CACHES[cache](), evaluate(shape, HANDED)
    anyio.run(lambda: carry_out(shape, kept, turns), **LOOPS[loop])
    result, _ = anyio.run(lambda: carry_out(shape, kept), **LOOPS[loop])
    assert result is not None
    if expected.determined and not any(step.kind == "swallows" for step in leaves(shape)):
        as_expected(result, expected)

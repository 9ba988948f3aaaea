"""P9: what does a step cost that has policies and succeeds, beside the same step without any in the same workflow?

Each policy alone, then together. Nothing fails, no timer rings, nobody waits: this is the price of having them. For
plain functions, whose attempts run on the event loop and hand only the body to a thread, beside `anyio.to_thread`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio
import pytest

import orch
from benches._loops import BACKENDS, in_loop
from benches._ratio import Bound, Ratio
from benches._shapes import case
from benches.bench_threads import hop_per_node

BOUND = Bound(12.0, "µs")
SIZE: Final = 10_000
PLAIN_SIZE: Final = 2_000

POLICIES: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "timeout": lambda: {"timeout": 60},
    "retry": lambda: {"retry": orch.Retry()},
    "limiter": lambda: {"limiter": anyio.CapacityLimiter(100)},
    "rate limit": lambda: {"limiter": orch.RateLimit(10**9, burst=10**9)},
    "breaker": lambda: {"breaker": orch.CircuitBreaker()},
    "timeout, retry, limiter": lambda: {**POLICIES["timeout"](), **POLICIES["retry"](), **POLICIES["limiter"]()},
    "the same and breaker": lambda: {**POLICIES["timeout, retry, limiter"](), **POLICIES["breaker"]()},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("policies", POLICIES)
def bench_policies(ratio: Ratio, policies: str, backend: str) -> None:
    made = case("layered", SIZE)
    without = in_loop(backend, partial(orch.run, made.plan), made.check_run)
    subject = in_loop(backend, partial(orch.run, with_policies(made.graph, policies)), made.check_run)
    ratio(
        "P9 policies", ("no policies", without), subject,
        shape=policies, size=SIZE, backend=backend, per=SIZE, bound=BOUND,
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("shape", ["chain", "wide"])
def bench_plain_functions(ratio: Ratio, shape: str, backend: str) -> None:
    made = case(shape, PLAIN_SIZE, "plain")
    hops = in_loop(backend, partial(hop_per_node, made), made.check)
    subject = in_loop(backend, partial(orch.run, with_policies(made.graph, "timeout, retry, limiter")), made.check_run)
    ratio(
        "P9 policies, threads", ("to_thread", hops), subject,
        shape=shape, size=PLAIN_SIZE, backend=backend, per=PLAIN_SIZE, rounds=3,
    )  # fmt: skip


def with_policies(graph: orch.Graph, policies: str) -> orch.plan.Plan:
    """Give every step the policies; limiter and breaker are one object for all of them."""
    options: Any = POLICIES[policies]()
    tasks = [step for step in graph.steps if isinstance(step, orch.Task)]
    return orch.plan.compile(orch.Graph([task.evolve(**options) for task in tasks]))

"""From a case to what the engine is given: definition, breakers, limiters, strategies, each reporting to the ledger."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import attrs

import orch
from orch import FailureStrategy
from tests.simulation.bodies import function, undo_function
from tests.simulation.ledger import Ledger
from tests.simulation.plans import Case, Group, Limiter, Shape, Step

__all__ = ("Built", "Shared", "build")

_KINDS: dict[str, Any] = {"sequence": orch.Sequence, "parallel": orch.Parallel, "graph": orch.Graph}


class SpyBreaker(orch.CircuitBreaker):
    """A breaker that says whom it admits, and what it is told about it; permits are numbered."""

    def __init__(self, name: str, fail_max: int, reset: float) -> None:
        super().__init__(name, fail_max=fail_max, reset_timeout=reset)
        self.label = name
        self.ledgers: list[Ledger] = []
        self.permits: dict[int, tuple[int, Any]] = {}

    def admit(self, now: float) -> Any:
        try:
            permit = super().admit(now)
        except orch.CircuitOpenError:
            self._say("admit", 0, "refused")
            raise
        self.permits[id(permit)] = len(self.permits) + 1, permit  # kept: the id is good for ever
        self._say("admit", len(self.permits), "probe" if permit.is_probe else "call")
        return permit

    def succeeded(self, permit: Any) -> Any:
        self._say("verdict", self.permits[id(permit)][0], "succeeded")
        return super().succeeded(permit)

    def failed(self, permit: Any, error: BaseException, now: float) -> Any:
        self._say("verdict", self.permits[id(permit)][0], "failed")
        return super().failed(permit, error, now)

    def abandoned(self, permit: Any) -> Any:
        self._say("verdict", self.permits[id(permit)][0], "abandoned")
        return super().abandoned(permit)

    def _say(self, what: str, number: int, detail: str) -> None:
        for ledger in self.ledgers:
            ledger.say(what, self.label, number, detail)


class Picks:
    """A strategy of one's own: it picks one after another, or raises."""

    def __init__(self, group: Group, ledger: Ledger) -> None:
        self.group = group
        self.ledger = ledger
        self.asked = 0

    def on_failure(self, event: Any, group: Any) -> FailureStrategy:
        picks = self.group.strategy.split(",")
        choice = picks[self.asked % len(picks)]
        self.asked += 1
        self.ledger.say("asked", self.group.name, self.asked, (event.path, choice))
        if choice == "raises":
            raise ZeroDivisionError(self.group.name)
        return FailureStrategy(choice)


class Shared:
    """What several runs of a case share."""

    def __init__(self, case: Case) -> None:
        self.breakers = [SpyBreaker(f"b{i}", each.fail_max, each.reset) for i, each in enumerate(case.breakers)]
        self.limiters = [_limiter(each) for each in case.limiters]
        self.crowd: Counter[str] = Counter()


@attrs.define
class Built:
    """What a case has become, for one run."""

    case: Case
    ledger: Ledger
    shared: Shared
    workflow: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        case, ledger = self.case, self.ledger
        for breaker in self.shared.breakers:
            breaker.ledgers.append(ledger)
        ledger.limits |= {f"l{i}": each.size for i, each in enumerate(case.limiters) if each.kind == "capacity"}
        if case.threads is not None:
            ledger.limits["threads"] = case.threads
        if case.limit is not None:
            ledger.limits["run"] = case.limit
        self.workflow = self._make(case.root, ("run",) if case.limit is not None else ())

    def _make(self, shape: Shape, counted: tuple[str, ...], siblings: Sequence[str] = ()) -> Any:
        if isinstance(shape, Step):
            return self._task(shape, counted, [siblings[dep] for dep in shape.deps])
        if shape.limit is not None:
            self.ledger.limits[shape.name] = shape.limit
            counted = (*counted, shape.name)
        names = [step.name for step in shape.steps]
        steps = [self._make(step, counted, names) for step in shape.steps]
        plainly = shape.strategy in {"abort", "continue", "compensate"}
        return _KINDS[shape.kind](
            *steps,
            name=shape.name,
            on_failure=shape.strategy if plainly else Picks(shape, self.ledger),
            limit=shape.limit,
            timeout=shape.timeout,
            breaker=None if shape.breaker is None else self.shared.breakers[shape.breaker],
        )

    def _task(self, step: Step, counted: tuple[str, ...], deps: list[str]) -> Any:
        limiter = None if step.limiter is None else self.shared.limiters[step.limiter]
        if isinstance(limiter, anyio.CapacityLimiter):
            counted = (*counted, f"l{step.limiter}")
        if step.threaded and self.case.threads is not None:
            counted = (*counted, "threads")
        undo = None
        if step.undo is not None:
            undo = orch.Task(undo_function(step.name, step.undo, self.ledger), thread=False)
        return orch.Task(
            function(step, self.ledger, counted),
            name=step.name,
            deps=deps,
            thread=False if step.plain and not step.threaded else None,
            retry=step.retry,
            timeout=step.timeout,
            breaker=None if step.breaker is None else self.shared.breakers[step.breaker],
            limiter=limiter,
            compensate=undo,
            compensate_unknown=step.undo_unknown,
        )


def _limiter(limiter: Limiter) -> Any:
    if limiter.kind == "capacity":
        return anyio.CapacityLimiter(limiter.size)
    burst = limiter.size if limiter.kind == "bucket" else None
    return orch.RateLimit(limiter.size if burst is None else 1, limiter.per, burst=burst)


def build(case: Case, shared: Shared, now: Callable[[], float]) -> Built:
    """Make the definition anew, for one run; inside the event loop."""
    return Built(case, Ledger(now, shared.crowd), shared)

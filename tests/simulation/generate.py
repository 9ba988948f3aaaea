"""From a seed to a case. Numbers are multiples of a quarter, so that virtual time is exact and ties are frequent."""

from collections.abc import Iterator
from random import Random
from typing import Any

import orch
from tests.simulation.plans import Breaker, Case, Group, Limiter, Shape, Step, Undo, leaves
from tests.simulation.scenes import SCENES

__all__ = ("FEATURES", "generate")

FEATURES = frozenset(
    {
        "retry",
        "timeout",
        "deadline",
        "breaker",
        "limiter",
        "undo",
        "cancel",
        "subscriber",
        "strategy",
        "plain",
        "unruly",
        "stop",
        "exit",
        "twin",
        "threads",
    }
)
"""What may be switched off: retries, timeouts of steps, timeouts of groups, …"""

_UNSURE = {"cancel", "deadline", "breaker", "strategy", "stop", "exit"}  # what the naive evaluator has no answer to

_CALM = frozenset({"retry", "undo"})
_THEMES = (
    FEATURES,
    frozenset({"retry", "unruly", "cancel"}),
    frozenset({"undo", "unruly", "cancel"}),
    frozenset({"threads", "timeout", "retry"}),
    frozenset({"threads", "cancel", "stop"}),
    _CALM,
    frozenset[str](),
)

_SIZES = (0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 8, 25)  # the last one: anything between 10 and that
_SECONDS = (0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 1.0, 1.0, 2.0, 3.0)
_ERRORS = ("boom", "boom", "boom", "odd", "timeout", "group", "mixed", "after", "stop")
_PICKY = (LookupError, TimeoutError)
_RETRIED = ((Exception,), _PICKY, _PICKY, (Exception, orch.CircuitOpenError))


def generate(seed: int, features: frozenset[str] = FEATURES) -> Case:
    """Make the case of a seed, with none but the given features."""
    return _Maker(seed, features).case()


class _Maker:
    def __init__(self, seed: int, features: frozenset[str]) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.features = self._features(features)
        self.failing = self.random.choice([0.0, 0.1, 0.2, 0.3, 0.5])
        self.guarded = self.random.choice([0.3, 0.3, 0.9])  # the share of steps with a breaker, where there are some
        self.threading = self.random.choice([0.2, 0.6])  # the share of steps in threads, where there are some
        self.breakers = tuple(self._breaker() for _ in range(self._some("breaker", (1, 1, 2))))
        self.limiters = tuple(self._limiter() for _ in range(self._some("limiter", (1, 2))))
        self.names: Iterator[int] = iter(range(1_000))

    def _features(self, features: frozenset[str]) -> set[str]:
        """A theme and some more: few features at a time find what many cover up."""
        theme = self.random.choice(_THEMES)
        more = FEATURES - _UNSURE if theme is _CALM else FEATURES
        chance = self.random.choice([0.2, 0.5])
        return {each for each in sorted(features & more) if each in theme or self.random.random() < chance}

    def case(self) -> Case:
        random, size = self.random, self.random.choice(_SIZES)
        size = random.randint(10, size) if size > 10 else size
        root: Shape = self._step(0) if size == 1 and random.random() < 0.3 else self._group(size)
        scene = random.choice(SCENES)
        if scene.needs <= self.features and random.random() < 0.5:
            root = scene.make(random, self.breakers)
        return Case(
            self.seed,
            root,
            limit=random.choice([None, None, None, 1, 2, 3]),
            breakers=self.breakers,
            limiters=self.limiters,
            cancel=(random.choice(_SECONDS), random.randrange(6)) if self._may("cancel", 0.5) else None,
            twin=bool(self.breakers or self.limiters) and self._may("twin", 0.3),
            stops=tuple(self._stops(root)) if self._may("stop", 0.5) else (),
            subscribers=tuple(
                random.choices(("fast", "async", "slow", "raises"), k=self._some("subscriber", (0, 1, 2)))
            ),
            undo_timeout=random.choice([1.0, 5.0, 60.0]),
            threads=random.choice([None, 1, 2]) if "threads" in self.features else None,
            grace=random.choice([0.5, 0.5, 5.0]) if "threads" in self.features else 5.0,
        )

    def _stops(self, root: Shape) -> Iterator[tuple[float, str]]:
        names = [step.name for step in leaves(root)]
        for _ in range(self.random.choice([1, 1, 2])):
            one = self.random.choice(names) if names and self.random.random() < 0.8 else ""
            yield self.random.choice(_SECONDS), one

    def _group(self, size: int) -> Group:
        random, name = self.random, f"g{next(self.names)}"
        kind = random.choice(["sequence", "parallel", "graph"])
        inside: list[Shape] = []
        while size > 0:
            part = random.choice([1, 1, 1, random.randint(1, size)])
            alone = part == 1 and random.random() < 0.95
            inside.append(self._step(len(inside) if kind == "graph" else 0) if alone else self._group(part))
            size -= part
        return Group(
            kind,
            tuple(inside),
            name,
            strategy=self._strategy(),
            limit=random.choice([None, None, None, 1, 2]),
            timeout=random.choice([0.5, 1.0, 2.0, 5.0]) if self._may("deadline", 0.25) else None,
            breaker=self._one_of(self.breakers, 0.15),
        )

    def _step(self, siblings: int) -> Step:
        random, name = self.random, f"s{next(self.names)}"
        deps = (
            tuple(sorted({random.randrange(siblings) for _ in range(random.choice([0, 1, 1, 2]))})) if siblings else ()
        )
        threaded = self._may("threads", self.threading)
        plain = threaded or self._may("plain", 0.2)
        timeout = random.choice([0.25, 0.5, 1.0, 1.5, 4.0]) if self._may("timeout", 0.3) else None
        undo = self._undo() if self._may("undo", 0.6) else None
        how: dict[str, Any] = {} if plain else self._time(timeout)
        if threaded:
            how = {"threaded": True, "seconds": random.choice(_SECONDS)}
            timeout = timeout if random.random() < 0.5 else None
        again = 0.8 if how.get("on_cancel") == "error" else 0.4
        return Step(
            name,
            plain=plain,
            fails=random.choice([1, 1, 2, 9]) if random.random() < self.failing else 0,
            error="exit" if self._may("exit", 0.15) else random.choice(_ERRORS),
            takes=not deps and random.random() < 0.25,
            deps=deps,
            retry=self._retry() if self._may("retry", again) else None,
            timeout=timeout,
            breaker=self._one_of(self.breakers, self.guarded),
            limiter=self._one_of(self.limiters, 0.5),
            undo=undo,
            undo_unknown=undo is not None and random.random() < 0.3,
            **how,
        )

    def _time(self, timeout: float | None) -> dict[str, Any]:
        random = self.random
        unruly = self._may("unruly", 0.4)
        return {
            "checkpoints": random.choice([0, 0, 0, 1, 2]),
            "seconds": random.choice(_SECONDS),
            "hangs": random.choice([1, 1, 9]) if timeout is not None and unruly else 0,
            "on_cancel": random.choice(["value", "error", "error", "cleanup", "cleanup value"]) if unruly else "pass",
            "cleanup": random.choice([0.0, 0.25, 1.0]) if unruly else 0.0,
        }

    def _retry(self) -> Any:
        random = self.random
        return orch.Retry(
            random.choice([1, 2, 3, 4]),
            delay=random.choice([0, 0, 0.25, 0.5, 1]),
            backoff=random.choice(["fixed", "linear", "exponential"]),
            max_delay=random.choice([0.5, 60]),
            jitter=random.choice([0, 0, 0, 0.5]),
            retry_on=random.choice(_RETRIED),
            give_up_on=random.choice([(), (TimeoutError,)]),
            deadline=random.choice([None, 0.5, 2]),
        )

    def _undo(self) -> Undo:
        kind = self.random.choice(["ok", "ok", "slow", "plain", "fails", "plain fails", "hangs"])
        return Undo(kind, self.random.choice([0.25, 0.5, 2.0]) if kind == "slow" else 0.0)

    def _strategy(self) -> str:
        plainly = ["abort", "continue", *(["compensate"] * 3 if "undo" in self.features else ["abort"])]
        if self._may("strategy", 0.2):
            picks = self.random.choices(plainly, k=2)
            return self.random.choice([",".join(picks), ",".join(picks), "raises"])
        return self.random.choice(plainly)

    def _breaker(self) -> Breaker:
        return Breaker(self.random.choice([1, 1, 2, 3]), self.random.choice([0.25, 0.5, 1.0, 4.0]))

    def _limiter(self) -> Limiter:
        kind = self.random.choice(["capacity", "capacity", "rate", "bucket"])
        return Limiter(kind, self.random.choice([1, 1, 2, 3]), self.random.choice([0.25, 0.5, 1.0]))

    def _may(self, feature: str, chance: float) -> bool:
        return feature in self.features and self.random.random() < chance

    def _some(self, feature: str, counts: tuple[int, ...]) -> int:
        return self.random.choice(counts) if feature in self.features else 0

    def _one_of(self, these: tuple[Any, ...], chance: float) -> int | None:
        return self.random.randrange(len(these)) if these and self.random.random() < chance else None

"""Small scenes in which something rare happens often: many at one breaker, threads given up, stubborn steps."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

import attrs

import orch
from tests.simulation.plans import Breaker, Group, Step, Undo

__all__ = ("SCENES", "Scene")

Make = Callable[[Random, tuple[Breaker, ...]], Group]


class Scene(NamedTuple):
    """What features a scene needs, and how it is made."""

    needs: frozenset[str]
    make: Make


def _group(random: Random, steps: list[Step], strategy: str) -> Group:
    named = tuple(attrs.evolve(step, name=f"s{number}") for number, step in enumerate(steps, 1))
    return Group("parallel", named, "g0", strategy, limit=random.choice([None, None, 1, 2]))


def _storm(random: Random, breakers: tuple[Breaker, ...]) -> Group:
    """Many callers of one breaker that all come again when it lets a probe through."""
    again = orch.Retry(4, delay=breakers[0].reset, retry_on=(Exception, orch.CircuitOpenError))
    fails, seconds = random.choice([1, 2]), random.choice([0.25, 1.0])
    step = Step(seconds=seconds, fails=fails, retry=again, breaker=0)
    return _group(random, [step] * random.randint(2, 6), "continue")


def _workshop(random: Random, _: tuple[Breaker, ...]) -> Group:
    """Threads that take their time, some of them too long, while somebody else fails."""

    def step() -> Step:
        again = random.choice([None, None, orch.Retry(2, delay=0)])
        seconds, timeout = random.choice([1.0, 2.0, 3.0]), random.choice([None, None, 0.5])
        return Step(plain=True, threaded=True, seconds=seconds, timeout=timeout, retry=again)

    simple = Step(plain=True, threaded=True, seconds=2.0)
    others = [Step(seconds=0.5, fails=1), Step(seconds=0.25, undo=Undo())]
    steps = [simple, *(step() for _ in range(random.randint(1, 3))), *others[: random.randint(0, 2)]]
    return _group(random, steps, random.choice(["abort", "continue", "compensate"]))


def _stubborn(random: Random, _: tuple[Breaker, ...]) -> Group:
    """Steps that answer a cancellation with an error, which a policy would have tried again."""

    def step() -> Step:
        kinds, deadline = random.choice([Exception, LookupError]), random.choice([None, 1.0])
        again = orch.Retry(3, delay=random.choice([0, 0.5]), retry_on=kinds, deadline=deadline)
        error, fails = random.choice(["boom", "odd", "mixed"]), random.choice([0, 2])
        return Step(seconds=random.choice([1.0, 3.0]), on_cancel="error", error=error, fails=fails, retry=again)

    steps = [step() for _ in range(random.randint(1, 3))]
    return _group(random, steps, random.choice(["abort", "continue", "compensate"]))


SCENES = (
    Scene(frozenset({"breaker", "retry"}), _storm),
    Scene(frozenset({"threads"}), _workshop),
    Scene(frozenset({"retry"}), _stubborn),
)

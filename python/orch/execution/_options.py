"""How a run is carried out, as far as a runner decides it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import attrs

from orch.abc import Clock
from orch.event._discreet import Sanitizer
from orch.execution._shelf import Caching

__all__ = ("Options",)


@attrs.frozen
class Options:
    """How a run is carried out, as far as a runner decides it."""

    subscribers: tuple[Callable[[Any], object], ...] = ()
    limit: int = 0  # of steps at one time; 0 for none
    threads: int = 40  # at most so many workers
    grace: float = 5.0  # seconds that a cancelled run waits for threads and subscribers
    compensation_timeout: float = 60.0  # seconds that the compensations of one group may take
    strict_subscribers: bool = False  # whether a subscriber that raises ends the run
    clock: Clock = time
    rng: random.Random = attrs.field(factory=random.Random)
    sanitize: Sanitizer | None = None  # makes texts safe that leave the process
    caching: Caching | None = None
    keeper: Any = None  # the `Keeper` of a runner whose block the run is in

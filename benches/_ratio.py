"""Two costs measured side by side in one run, and the ratio between them: the only figure a noisy machine gives.

A *side* does its work once and returns what that cost, in seconds of process time or of the wall clock, or in bytes.
It times itself, so that what is not part of the question (an event loop that starts, a definition that is made, the
check of every value) stays outside. `Ratio` takes baseline and subject in turn, so that both meet the same weather, and
compares the cheapest round of each: whatever else runs on the machine makes a round dearer, never cheaper. Before each
side the garbage collector has finished; while it works, the collector is on, for both, as it is for users.
"""

import gc
import time
from collections.abc import Callable
from typing import Final

import attrs
from pytest_benchmark.fixture import BenchmarkFixture

__all__ = ("BYTES", "MICROSECONDS", "SECONDS", "Bound", "Ratio", "Row", "Side", "Unit", "cpu", "wall")

Side = Callable[[], float]


@attrs.frozen
class Unit:
    """How a cost is shown: as `factor` times what the side returned."""

    name: str
    factor: float = 1.0


MICROSECONDS: Final = Unit("µs", 1e6)
SECONDS: Final = Unit("s")
BYTES: Final = Unit("B")


@attrs.frozen
class Bound:
    """What the milestone asks for: of the ratio or, if it has a unit, of the subject."""

    most: float
    unit: str = ""

    def __str__(self) -> str:
        return f"≤ {self.most:g} {self.unit}".rstrip()


@attrs.frozen
class Row:
    """One line of the table. Costs are per node, or whatever the question counts, in the unit they are shown in."""

    question: str
    shape: str
    size: int
    backend: str
    baseline: str
    base: float
    subject: float
    unit: str
    bound: Bound | None = None
    rounds: tuple[tuple[float, float], ...] = ()
    """All that was measured: (base, subject) of each round."""

    @property
    def ratio(self) -> float:
        """How often the baseline fits into the subject."""
        return self.subject / self.base

    @property
    def verdict(self) -> str:
        """Whether the bound, if there is one, is kept: "ok" or "over"."""
        if self.bound is None:
            return ""
        return "ok" if (self.subject if self.bound.unit else self.ratio) <= self.bound.most else "over"

    def cells(self) -> tuple[str, ...]:
        """Return the row as texts."""
        base, subject = f"{self.baseline} {_short(self.base)} {self.unit}", f"{_short(self.subject)} {self.unit}"
        bound = str(self.bound or "")
        size = f"{self.size:,}".replace(",", " ")
        return (
            self.question,
            self.shape,
            size,
            self.backend,
            base,
            subject,
            f"{_short(self.ratio)} x",
            bound,
            self.verdict,
        )


def _short(number: float) -> str:
    """Show three digits, and no exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


@attrs.define
class Ratio:
    """What a bench is given: measures, and puts its row into the table."""

    benchmark: BenchmarkFixture
    rows: list[Row]

    def __call__(
        self,
        question: str,
        baseline: tuple[str, Side],
        subject: Side,
        *,
        shape: str,
        size: int,
        backend: str = "",
        per: int = 1,
        unit: Unit = MICROSECONDS,
        bound: Bound | None = None,
        rounds: int = 5,
    ) -> Row:
        """Measure both sides `rounds` times and record the row; costs are divided by `per`."""
        pairs = self._pairs(baseline[1], subject, rounds)
        factor = unit.factor / per
        scaled = tuple((base * factor, cost * factor) for base, cost in pairs)
        base, cost = min(base for base, _ in scaled), min(cost for _, cost in scaled)
        row = Row(question, shape, size, backend, baseline[0], base, cost, unit.name, bound, scaled)
        self.benchmark.extra_info.update(base=base, subject=cost, ratio=row.ratio, unit=unit.name)
        return self.record(row)

    def record(self, row: Row) -> Row:
        """Put a row into the table, one that follows from what was measured."""
        assert row.base > 0, f"nothing was measured: {row}"
        assert row.subject > 0, f"nothing was measured: {row}"
        self.rows.append(row)
        return row

    def _pairs(self, baseline: Side, subject: Side, rounds: int) -> list[tuple[float, float]]:
        """Take turns: pytest-benchmark counts the rounds, and knows the baseline as what comes before each."""
        bases, costs = list[float](), list[float]()

        def before() -> None:
            gc.collect()
            bases.append(baseline())
            gc.collect()

        def work() -> None:
            costs.append(subject())

        self.benchmark.pedantic(work, setup=before, rounds=rounds)  # type: ignore[no-untyped-call]  # has no types
        return list(zip(bases, costs, strict=True))


def cpu(work: Callable[[], object]) -> Side:
    """Make a side of plain work: process time, all threads."""
    return _timed(work, time.process_time)


def wall(work: Callable[[], object]) -> Side:
    """Make a side of plain work: time as people see it pass."""
    return _timed(work, time.perf_counter)


def _timed(work: Callable[[], object], clock: Callable[[], float]) -> Side:
    def side() -> float:
        start = clock()
        result = work()  # kept until the time is taken: letting go of it is not part of the question
        end = clock()
        del result
        return end - start

    return side

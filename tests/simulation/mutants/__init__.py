"""Planted bugs: changes of the engine, each for the time of a simulation. One that no seed finds is a blind spot."""

from typing import NamedTuple

from tests.simulation.drive import simulate
from tests.simulation.generate import generate
from tests.simulation.invariants import violations
from tests.simulation.mutants import breakers, failing, record, slots, threads, timing, undoing, wiring
from tests.simulation.mutants.plant import MUTANTS, planted

__all__ = ("FAMILIES", "MUTANTS", "Kill", "first_kill", "table")

FAMILIES = (
    slots,
    wiring,
    record,
    failing,
    timing,
    breakers,
    undoing,
    threads,
)  # each adds its mutants when it is imported
MOST = 200


class Kill(NamedTuple):
    """Who found a mutant."""

    seed: int
    backend: str
    invariant: str
    what: str


def first_kill(name: str, backend: str, seeds: range = range(MOST)) -> Kill | None:
    """Run seed after seed with a mutant planted, until something does not hold that does without it."""
    for seed in seeds:
        with planted(MUTANTS[name]()):
            found = list(violations(simulate(generate(seed), backend)))
        if found and not list(violations(simulate(generate(seed), backend))):
            return Kill(seed, backend, *found[0])
    return None


def table(backends: list[str], seeds: range) -> int:
    """Print who found which mutant; 1 if one lives."""
    seeds, lives = seeds[:MOST], 0
    for name in MUTANTS:
        for backend in backends:
            kill = first_kill(name, backend, seeds)
            lives += kill is None
            found = "LIVES" if kill is None else f"seed {kill.seed:3}  {kill.invariant}: {kill.what[:100]}"
            print(f"{name:45} {backend:8} {found}", flush=True)  # noqa: T201 (printing is its job)
    return int(lives > 0)

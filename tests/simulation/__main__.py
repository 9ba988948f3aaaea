"""Run many seeds: `python -m tests.simulation`. Prints what does not hold, with the case that shows it.

* `--seeds 0:20000 --backend both --workers 2`: many of them
* `--seeds 4711:4712 --verbose`: one, with everything that happened
* `--seeds 0:1000 --digest`: a hash over all event logs
* `--mutants`: which seed finds which planted bug
* `--sweep`: a hundred cases, cancelled at every checkpoint
"""

# ruff: noqa: T201 (printing is its job)

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from typing import NamedTuple

from tests.simulation.drive import simulate
from tests.simulation.generate import FEATURES, generate
from tests.simulation.invariants import violations
from tests.simulation.log import digest, log
from tests.simulation.plans import Case, show
from tests.simulation.seen import Crash, Seen
from tests.simulation.watch import awake

CHUNK = 250


class Found(NamedTuple):
    """What does not hold in one run."""

    seed: int
    backend: str
    violations: list[tuple[str, str]]


def check(seeds: range, backends: Sequence[str], features: frozenset[str]) -> list[Found]:
    """Run some seeds on some backends, all that it takes for one after another."""
    cases = (generate(seed, features) for seed in seeds)
    with awake():
        found = [Found(case.seed, backend, _violations(case, backend)) for case in cases for backend in backends]
    return [each for each in found if each.violations]


def _violations(case: Case, backend: str) -> list[tuple[str, str]]:
    seen = simulate(case, backend)
    found = list(violations(seen))
    if isinstance(seen, Seen):
        seen.forget()
    return found


def main() -> int:
    """Do what the command line says; 1 if something does not hold."""
    options = _options()
    if options.workers == 1:
        _settle_down()
    first, _, last = options.seeds.partition(":")
    seeds = range(int(first), int(last or int(first) + 1))
    backends = ["asyncio", "trio"] if options.backend == "both" else [options.backend]
    if options.mutants:
        from tests.simulation.mutants import table  # noqa: PLC0415 (patches the engine)

        return table(backends, seeds)
    if options.sweep:
        from tests.simulation.sweep import report  # noqa: PLC0415 (not needed otherwise)

        return report(backends)
    features = FEATURES - set(options.without)
    if options.digest:
        for backend in backends:
            *_, last_one = digest(log(simulate(generate(seed, features), backend)) for seed in seeds)
            print(backend, last_one)
        return 0
    return _many(seeds, backends, features, workers=options.workers, verbose=options.verbose)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:1000", help="first:last, the last not included")
    parser.add_argument("--backend", choices=["asyncio", "trio", "both"], default="both")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--without", nargs="*", default=[], choices=sorted(FEATURES), help="features to leave out")
    parser.add_argument("--verbose", action="store_true", help="print every event and entry of what was run")
    parser.add_argument("--digest", action="store_true", help="print a hash over all event logs")
    parser.add_argument("--mutants", action="store_true", help="print which seed finds which planted bug")
    parser.add_argument("--sweep", action="store_true", help="cancel a hundred cases at every checkpoint")
    return parser.parse_args()


def _settle_down() -> None:
    """Stay on one core, for a turn that goes to a thread on another takes ten times as long; keep garbage longer."""
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})
    gc.freeze()  # what was imported stays
    gc.set_threshold(10_000)


def _many(seeds: range, backends: list[str], features: frozenset[str], *, workers: int, verbose: bool) -> int:
    began, wrong = time.perf_counter(), 0
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    work = partial(check, backends=backends, features=features)
    if workers > 1:
        with ProcessPoolExecutor(workers, initializer=_settle_down) as pool:
            outcomes = list(pool.map(work, chunks))
    else:
        outcomes = [work(chunk) for chunk in chunks]
    for found in chain.from_iterable(outcomes):
        wrong += 1
        _print(found, features)
    if verbose:
        for seed in seeds:
            for backend in backends:
                print("\n".join(_story(seed, backend, features)))
    took, runs = time.perf_counter() - began, len(seeds) * len(backends)
    rate = runs / took / max(workers, 1)
    print(f"{runs} runs in {took:.1f} s, {rate:.0f} a second and process, {wrong} with violations")
    return int(wrong > 0)


def _print(found: Found, features: frozenset[str]) -> None:
    print(f"== seed {found.seed} on {found.backend}")
    for name, what in found.violations:
        print(f"   {name}: {what}")
    print("\n".join(_story(found.seed, found.backend, features)))


def _story(seed: int, backend: str, features: frozenset[str]) -> Iterator[str]:
    seen = simulate(generate(seed, features), backend)
    yield show(seen.case)
    if isinstance(seen, Crash):
        yield f"   {seen.error!r}"
        return
    yield from (f"   {entry}" for entry in log(seen))


if __name__ == "__main__":
    sys.exit(main())

"""A few hundred seeds on each event loop; `python -m tests.simulation --seeds 0:20000` runs as many as you like."""

import attrs
import pytest

from tests.simulation.__main__ import check
from tests.simulation.drive import simulate
from tests.simulation.evaluate import evaluate
from tests.simulation.generate import FEATURES, generate
from tests.simulation.log import record
from tests.simulation.plans import Group, Step, leaves, show
from tests.simulation.seen import HANDED, Seen

pytestmark = pytest.mark.timeout(120)
both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@both
@pytest.mark.parametrize("first", range(0, 400, 100))
def test_what_must_hold_of_every_run_does(backend: str, first: int) -> None:
    assert check(range(first, first + 100), [backend], FEATURES) == []


@both
@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_any_feature_can_be_left_out(backend: str, feature: str) -> None:
    assert check(range(20_000, 20_020), [backend], FEATURES - {feature}) == []


def test_where_nobody_has_to_be_quicker_both_event_loops_come_to_the_same() -> None:
    compared = 0
    for seed in range(300):
        case = generate(seed)
        if evaluate(case, HANDED).determined:
            one, other = simulate(case, "asyncio"), simulate(case, "trio")
            assert isinstance(one, Seen)
            assert isinstance(other, Seen)
            assert record(one) == record(other), show(case)
            compared += 1
    assert compared > 30


@both
def test_who_listens_changes_nothing(backend: str) -> None:
    for seed in range(200):
        case = generate(seed, FEATURES - {"cancel"})
        if evaluate(case, HANDED).determined:
            alone, watched = (simulate(attrs.evolve(case, subscribers=by), backend) for by in ((), ("fast", "async")))
            assert isinstance(alone, Seen)
            assert isinstance(watched, Seen)
            assert record(alone) == record(watched), show(case)


def test_the_generator_makes_what_it_is_to_make() -> None:
    """Of everything that a case may have there is plenty among a thousand."""
    cases = [generate(seed) for seed in range(1000)]
    steps = [step for case in cases for step in leaves(case.root)]
    assert all(sum(bool(getattr(step, name)) for step in steps) > 50 for name in WANTED)
    assert {len(list(leaves(case.root))) for case in cases} >= set(range(7))
    assert sum(case.cancel is not None for case in cases) > 100
    assert {case.root.kind for case in cases if isinstance(case.root, Group)} == {"sequence", "parallel", "graph"}
    assert sum(isinstance(case.root, Step) for case in cases) > 10


WANTED = (
    *("plain", "checkpoints", "seconds", "hangs", "fails", "takes", "deps", "retry", "timeout"),
    *("breaker", "limiter", "undo", "undo_unknown"),
)


def test_a_seed_is_a_case() -> None:
    assert [generate(seed) for seed in range(50)] == [generate(seed) for seed in range(50)]
    assert "seed 3" in show(generate(3))

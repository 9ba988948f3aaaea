"""Edges that are not there, or ask for less."""

from typing import Any

import orch.plan._lower as lower
from tests.simulation.mutants.plant import Change, mutant

__all__ = ()


@mutant
def start_a_successor_before_its_predecessor() -> list[Change]:
    true: Any = lower.__dict__["Dag"]

    def forgetful(nodes: int, sources: Any, targets: Any, *kinds: Any) -> Any:
        return true(nodes, sources[:-1], targets[:-1], *(kind[:-1] for kind in kinds))

    return [(lower, "Dag", forgetful)]


@mutant
def let_data_edges_be_satisfied_by_failures() -> list[Change]:
    true: Any = lower.__dict__["Dag"]
    return [(lower, "Dag", lambda nodes, sources, targets, *_: true(nodes, sources, targets, b"\1" * len(sources)))]

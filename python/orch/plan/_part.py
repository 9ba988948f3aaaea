"""A part of a graph, as a definition: the steps that give what is asked for, and all that they need."""

from collections.abc import Iterable
from itertools import pairwise

import attrs

from orch._core import Dag
from orch.definition import Border, Graph, bordered
from orch.errors import DefinitionError, close_matches, combine, did_you_mean, expect
from orch.plan._draft import Draft

__all__ = ("part_of",)

_SHOWN = 20  # names in a message


def part_of(draft: Draft, dag: Dag, names: Iterable[str]) -> Graph:
    """Return a Graph like that of the plan, of some of its steps, whose value has nothing but what was selected.

    A DefinitionError says which names the graph does not give, or that the workflow is no graph.
    """
    root = draft.scopes[0]
    graph, wanted = root.group, set(names)
    if not isinstance(graph, Graph):
        raise DefinitionError(f"select: only a Graph has outputs to select; {graph.name!r} is a {root.kind}")
    given = [{step.name, *draft.given_by(each)} for step, each in zip(graph.steps, root.children, strict=True)]
    if unknown := wanted.difference(*given):
        raise combine(_unknown(name, set[str]().union(*given)) for name in sorted(unknown, key=str))
    spans = [range(before + 1, end + 1) for before, end in pairwise([-1, *map(draft.exit, root.children)])]
    owner = [k for k, span in enumerate(spans) for _ in span]
    chosen = [node for span, each in zip(spans, given, strict=True) if each & wanted for node in span]
    kept = sorted({owner[node] for node in dag.ancestors(chosen)})
    border = graph.border or Border()
    outer = {name: name for k in kept for name in draft.outputs_of(root.children[k])} | (border.gives or {})
    gives = {
        name: outer[name]
        for k in kept
        for name in draft.outputs_of(root.children[k])
        if graph.steps[k].name in wanted or outer[name] in wanted
    }
    steps = [graph.steps[k] for k in kept]
    return bordered(Graph, attrs.evolve(border, gives=gives), *steps, **graph.options)


def _unknown(name: str, known: set[str]) -> DefinitionError:
    expect("select", name, str)
    meant, gives = did_you_mean(close_matches(name, known), "; {}"), ", ".join(map(repr, sorted(known)[:_SHOWN]))
    return DefinitionError(f"select: the graph gives no {name!r}{meant}; it gives: {gives or 'nothing'}")

"""Workflows of trivial steps in four shapes, at any size, the same functions for the baseline and for the subject.

A shape is the list of what each node depends on; nodes are numbered in an order in which they can run. Node `k` is the
function `nk`, its parameters are named after its dependencies (`n3`), and it returns its number `k`: a no-op that gets
its values and can be told from all others. `echoes` returns its arguments too, to see that they are the right ones.
"""

import functools
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import FunctionType
from typing import Any, Final

import anyio
import attrs
import pytest

import orch

__all__ = ("SHAPES", "SIZES", "Case", "Deps", "case", "chain", "functions", "layered", "tree", "wide")

SIZES: Final = [
    1_000,
    10_000,
    100_000,
    pytest.param(1_000_000, marks=[pytest.mark.million, pytest.mark.timeout(3_600)]),
]

Deps = list[tuple[int, ...]]
Function = Callable[..., Any]

_MARK: Final = 1_234_567  # stands in the templates where the number of the node belongs
_MOST_ECHOES: Final = 10_000


def chain(size: int) -> Deps:
    """Each node takes the one before."""
    return [(), *((k,) for k in range(size - 1))]


def wide(size: int) -> Deps:
    """All nodes take the first."""
    return [(), *((0,) for _ in range(size - 1))]


def tree(size: int) -> Deps:
    """Each node is taken by two."""
    return [(), *(((k - 1) // 2,) for k in range(1, size))]


def layered(size: int) -> Deps:
    """Layers as wide as there are layers; a node takes two to four of the layer before, 2.7 on average."""
    rng = random.Random(size)
    width = max(4, round(size**0.5))
    starts = [*range(0, size, width), size]
    deps: Deps = [()] * starts[1]
    for low, high in pairwise(starts[:-1]):
        deps += [tuple(rng.sample(range(low, high), rng.choice((2, 3, 3, 3)))) for _ in range(min(width, size - high))]
    return deps


SHAPES: Final[dict[str, Callable[[int], Deps]]] = {"chain": chain, "wide": wide, "layered": layered, "tree": tree}


@attrs.frozen(eq=False)
class Case:
    """A shape with its functions, its definition and its plan."""

    deps: Deps
    functions: list[Function]
    graph: orch.Graph
    plan: orch.plan.Plan

    def check(self, values: Sequence[Any]) -> None:
        """Fail unless every node really ran and gave its value."""
        assert list(values) == list(range(len(self.deps))), "not every node gave its own value"

    def check_run(self, result: orch.RunResult) -> None:
        """Fail unless the run succeeded with every value."""
        assert result.state is orch.State.SUCCEEDED, result
        self.check(list(result.value.values()))


@functools.lru_cache(maxsize=1)  # backends ask for the same one after another; the biggest take 300 MB
def case(shape: str, size: int, kind: str = "async", *, thread: bool | None = None) -> Case:
    """Make a shape ready to run, of functions of a kind ("async" or "plain"), after a look at their arguments."""
    deps = SHAPES[shape](size)
    _check_arguments(deps[:_MOST_ECHOES], kind, thread=thread)
    return _case(deps, kind, "number", thread=thread)


def _case(deps: Deps, kind: str, gives: str, *, thread: bool | None) -> Case:
    steps = functions(deps, kind, gives)
    graph = orch.Graph([orch.Task(step, thread=thread) for step in steps])
    return Case(deps, steps, graph, orch.plan.compile(graph))


def _check_arguments(deps: Deps, kind: str, *, thread: bool | None) -> None:
    """Fail unless every node is given what its dependencies returned, each by its parameter."""
    plan = _case(deps, kind, "echo", thread=thread).plan
    echoes = list(anyio.run(orch.run, plan).value.values())
    assert len(echoes) == len(deps)
    for node, (number, *arguments) in enumerate(echoes):
        assert number == node
        assert all(got is echoes[dep] for got, dep in zip(arguments, deps[node], strict=True))


def functions(deps: Deps, kind: str = "async", gives: str = "number", *, wired: bool = True) -> list[Function]:
    """Make a function for each node: "async" or "plain", giving its "number" or "echo"; `wired` by parameters."""
    names = [f"n{node}" for node in range(len(deps))]
    steps = []
    for node, inputs in enumerate(deps):
        parameters = tuple(names[dep] for dep in inputs) if wired else ()
        steps.append(_function(kind, gives, node, parameters))
    return steps


def _function(kind: str, gives: str, number: int, parameters: tuple[str, ...]) -> Function:
    code = _template(kind, gives, len(parameters)).__code__
    name = f"n{number}"
    constants = tuple(number if each == _MARK else each for each in code.co_consts)
    code = code.replace(co_name=name, co_qualname=name, co_varnames=parameters, co_consts=constants)
    return FunctionType(code, {"__name__": __name__}, name)


@functools.cache
def _template(kind: str, gives: str, arity: int) -> FunctionType:
    """Compile a function of so many parameters once; the others are copies with other names in them."""
    parameters = ", ".join(f"p{k}" for k in range(arity))
    value = str(_MARK) if gives == "number" else f"[{_MARK}, {parameters}]"
    scope: dict[str, FunctionType] = {}
    exec(f"{'async ' if kind == 'async' else ''}def node({parameters}):\n    return {value}", scope)
    return scope["node"]

"""Which interrupts are meant by the names that callers use, for handlers and for answers."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from orch.definition._signature import signature_of
from orch.errors import DefinitionError, UnsupportedError, close_matches, did_you_mean, expect
from orch.event import State
from orch.event._text import brief
from orch.plan._plan import Plan
from orch.plan._tile import Tile

__all__ = ("asked_for", "handlers_for", "handlers_in", "named")

_SHOWN = 20  # names in a message


def named(plan: Plan, name: str, nodes: Collection[int]) -> list[int]:
    """Return those of the nodes that a name means: the one at this path, else all that are called so."""
    node = plan.at.get(name, -1)
    return [node] if node in nodes else [node for node in nodes if plan.name(node) == name]


Handlers = Mapping[str, Callable[[Any], Any]]


def handlers_for(plan: Plan, handlers: Handlers | None) -> dict[int, Callable[[Any], Any]]:
    """Return who answers which interrupt, given by path or by name.

    Raises:
        DefinitionError: There is no interrupt of such a name, nor in a map.
        UnsupportedError: An interrupt in a map has no handler: no run can pause in the middle of an item.
    """
    if handlers is None and not plan.bodies:
        return {}  # as it mostly is
    if handlers is not None:
        expect("handlers", handlers, Mapping)
    found = dict[int, Callable[[Any], Any]]()
    for name, handler in sorted((handlers or {}).items(), key=lambda item: item[0] in plan.paths.values()):
        expect("handlers", name, str)  # paths come last, and go before names
        if not _takes_one(handler):
            raise TypeError(f"handlers[{name!r}]: expected a function of the question, found {brief(handler)}")
        nodes = named(plan, name, plan.interrupts)
        if not nodes and not any(named(body, name, body.interrupts) for body in plan.bodies):
            raise DefinitionError(f"handlers: {_unknown(plan, name, plan.interrupts)}; {_asked(plan)}")
        found |= dict.fromkeys(nodes, handler)
    for body in plan.bodies:
        _check_answered(body, handlers or {})
    return found


def _takes_one(handler: object) -> bool:
    if not callable(handler):
        return False
    parameters = signature_of(handler).parameters
    needed = sum(each.required and (each.positional or each.keyword_only) for each in parameters)
    only = any(each.required and each.keyword_only for each in parameters)
    return needed <= 1 and not only and any(each.positional or each.var_positional for each in parameters)


def _check_answered(body: Plan, handlers: Handlers) -> None:
    for node in body.interrupts:
        if not {body.paths[node], body.name(node)} & handlers.keys():
            name = body.name(node)
            cure = f"give it one, handlers={{{name!r}: …}}, or ask outside of the map"
            raise UnsupportedError(f"the question {name!r} in the items of a map is answered by a handler only; {cure}")


def handlers_in(tile: Tile, handlers: Handlers) -> dict[int, Callable[[Any], Any]]:
    """Return who answers the interrupts in items of a map, by their paths in an item or by their names."""
    if not handlers:
        return {}
    body, found = tile.body, dict[int, Callable[[Any], Any]]()
    for node in tile.interrupts:
        path = body.paths[node % tile.stride]
        found[node] = handlers[path if path in handlers else tile.name(node)]
    return found


def asked_for(plan: Plan, pauses: Mapping[int, Any], answer: Any, state_of: Callable[[int], State]) -> dict[int, Any]:
    """Return which open questions are given which answers: the only one the answer, or each what a mapping has for it.

    Raises:
        LookupError: There is no such question, or it is not open.
        ValueError: It is answered already, or could be one of several.
    """
    if isinstance(answer, Mapping):
        given = {_open(plan, name, pauses, state_of): value for name, value in answer.items()}
        if len(given) < len(answer):
            raise ValueError(f"two answers to one question: {', '.join(map(repr, answer))}")
        return given
    if not pauses:
        raise LookupError(f"no question is open{_fates(plan, state_of)}")
    if len(pauses) > 1:
        cure = "say which one is answered, {name: answer}"
        raise ValueError(f"{len(pauses)} questions are open, {cure}: {_names(pauses)}")
    return dict.fromkeys(pauses, answer)


def _open(plan: Plan, name: Any, pauses: Mapping[int, Any], state_of: Callable[[int], State]) -> int:
    expect("name of a question", name, str)
    found = named(plan, name, pauses)
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{len(found)} open questions are called {name!r}, say which by its path: {_names(pauses)}")
    known = named(plan, name, plan.interrupts)
    states = {state_of(node) for node in known}
    if known and states <= {State.SUCCEEDED, State.COMPENSATED}:
        raise ValueError(f"the question {name!r} is answered already; open: {_names(pauses)}")
    fate = f"the question {name!r} {_fate(states)}" if known else _unknown(plan, name, pauses)
    raise LookupError(f"{fate}; open: {_names(pauses)}")


def _fate(states: Iterable[State]) -> str:
    is_over = all(state.is_final for state in states)
    said = {State.PAUSED: "is answered by its handler, or its run is over", State.PENDING: "is not asked yet"}
    return next((said[state] for state in states if state in said), "was given up" if is_over else "is not asked yet")


def _fates(plan: Plan, state_of: Callable[[int], State]) -> str:
    told = [f"{plan.paths[node]!r} is {state_of(node).value}" for node in plan.interrupts[:_SHOWN]]
    return f": {', '.join(told)}" if told else ": the workflow has no interrupt"


def _unknown(plan: Plan, name: str, nodes: Collection[int]) -> str:
    if named(plan, name, plan.nodes):
        return f"step {name!r} is no Interrupt"
    names = dict.fromkeys(each for node in nodes for each in (plan.name(node), plan.paths[node]))
    names |= dict.fromkeys(body.name(node) for body in plan.bodies for node in body.interrupts)
    return f"there is no question {name!r}{did_you_mean(close_matches(name, names), '; {}')}"


def _asked(plan: Plan) -> str:
    names = dict.fromkeys(each.name(node) for each in (plan, *plan.bodies) for node in each.interrupts)
    return f"there are: {', '.join(map(repr, list(names)[:_SHOWN]))}" if names else "the workflow has no interrupt"


def _names(pauses: Mapping[int, Any]) -> str:
    return ", ".join(repr(each.path) for each in list(pauses.values())[:_SHOWN]) or "none"

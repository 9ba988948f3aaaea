"""What a caller asks of a plan, checked before anything starts: a part of it, and a run with inputs and a Context."""

from collections.abc import Iterable, Mapping
from typing import Any

from orch.context import Context
from orch.errors import DefinitionError, InputError, close_matches, did_you_mean
from orch.plan._lower import compile  # noqa: A004 (the verb users know from re)
from orch.plan._plan import Plan

__all__ = ("check_meant", "select", "values_for")

_OF_RUNS = "context", "handlers", "inputs", "raise_on_failure", "run_id", "select", "subscribers"
_OF_RUNNERS = "cache", "clock", "grace", "limit", "rng", "sanitize", "threads"


def select(plan: Plan, names: Iterable[str]) -> Plan:
    """Return the plan of a part of a Graph: see `Plan.part`."""
    return compile(plan.part(names))


def check_meant(plan: Plan, inputs: Mapping[str, Any], taken: Iterable[str]) -> None:
    """Refuse options that the caller may have meant as inputs: the workflow has inputs of these names, not given."""
    known = plan.wiring.inputs
    if shadowed := [name for name in taken if name in known and name not in inputs]:
        both = "is an option here and an input of the workflow: give the input in a mapping, inputs={{{!r}: …}}"
        details = [f"{name!r} {both.format(name)}" for name in shadowed]
        details += ["or annotate the parameter with orch.Context"] * ("context" in shadowed)
        raise InputError([name for name in shadowed if known[name].required], (), (), plan.inputs, details)


def values_for(plan: Plan, inputs: Mapping[str, Any], context: Context[Any] | None) -> list[Any]:
    """Return the list of values a run starts with: one empty slot a node, then constants, defaults and inputs.

    An InputError says which inputs are missing, unknown, or bound already; a DefinitionError, who misses a Context.
    """
    known = plan.wiring.inputs
    missing = [name for name, each in known.items() if each.required and name not in inputs]
    unexpected = [name for name in inputs if name not in known]
    if missing or unexpected:
        meant = dict.fromkeys(each for name in unexpected[:100] for each in close_matches(str(name), known))
        details = [*_needed(plan, missing), *_bound(plan, unexpected), *_options(unexpected)]
        raise InputError(missing, unexpected, tuple(meant), plan.inputs, details)
    needy = [plan.path(node) for node in _needy(plan)] if context is None else []
    if needy:
        tasks, cure = ", ".join(map(repr, needy[:10])), "pass one: orch.run(workflow, orch.Context(data))"
        raise DefinitionError(f"{tasks}: a parameter takes the Context, and this run has none; {cure}")
    values = [None] * len(plan.draft.tasks) + plan.wiring.constants
    for name, value in inputs.items():
        for slot in known[name].slots:
            values[slot] = value
    return values


def _needy(plan: Plan) -> Iterable[int]:
    """Name the tasks that a run without a Context cannot call, or not compensate."""
    yield from (node for _, node, required in plan.wiring.contexts if required)
    yield from (node for node, rules in plan.rules.items() if rules.undo is not None and rules.undo.needs_context)
    yield from (node for node, uses in plan.wiring.uses.items() if any(each.needs_context for _, each in uses))


def _needed(plan: Plan, names: list[str]) -> list[str]:
    """Say which task asks for an input, and which step may have been meant: most often the name is misspelt."""
    asking = {slot: plan.path(node) for node in (plan.nodes if names else ()) for slot in plan.wiring.slots[node]}
    given = {name for node in (plan.nodes if names else ()) for name in plan.draft.task(node).outputs}
    asked = [
        (name, asking[plan.wiring.inputs[name].slots[0]], close_matches(name, given - {name})) for name in names[:20]
    ]  # a step may have a parameter of its own name, which then is an input
    return [f"{name!r} is asked for by task {task!r}{did_you_mean(meant, ': {}')}" for name, task, meant in asked]


def _options(names: list[str]) -> list[str]:
    """Say which option may have been meant by what is no input."""
    meant = [(name, close_matches(str(name), _OF_RUNS, 1)) for name in names[:20]]
    own = [f"{name!r} is an option of the runner, AsyncRunner({name}=…)" for name in names if name in _OF_RUNNERS]
    return own + [f"or did you mean the option {option!r}?" for _, found in meant for option in found]


def _bound(plan: Plan, names: list[str]) -> list[str]:
    """Say where a name is bound: what only bound parameters carry is no input of the workflow."""
    nodes, rows = (plan.nodes, plan.draft.scopes) if names else ((), ())
    bound = {name: f"task {plan.path(node)!r}" for node in nodes for name in plan.draft.task(node).bound}
    for scope, border in ((scope, row.border) for scope, row in enumerate(rows) if row.border is not None):
        path = plan.draft.scope_path(scope) or plan.workflow.name
        bound |= dict.fromkeys(border.bound, f"group {path!r}")
    said = [f"{name!r} is bound already in {bound[name]}" for name in names if name in bound]
    used = [(name, *plan.wiring.replaceable[name]) for name in names if name in plan.wiring.replaceable]
    cure = "to replace it, bind another value (.bind({}=…))"
    return said + [
        f"{name!r} of task {plan.path(node)!r} is filled with resource {resource.name!r}; {cure.format(name)}"
        for name, node, resource in used
    ]

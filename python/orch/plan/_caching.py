"""The variant of a plan for runs that have a cache: steps that are cached go through `attempt`, on the event loop."""

from __future__ import annotations

from typing import Any

import attrs

from orch.definition import Task
from orch.plan._identity import Identity
from orch.plan._lower import lane_of, lanes_by
from orch.plan._plan import Plan
from orch.plan._rules import Rules, is_plain

__all__ = ("caching", "why_uncached")

_NEVER = {"interrupt", "map"}  # forms with a value for this run alone; the items of a map are cached one by one


def caching(plan: Plan) -> Plan:
    """Return the variant, which is made once and kept with the plan; its cached steps are `plan.cached`."""
    kept = vars(plan)
    if "caching" not in kept:
        kept["caching"] = _made(plan)
    found: Plan = kept["caching"]
    return found


def _made(plan: Plan) -> Plan:
    if plan.like is not None:  # of which there are many, and it is one with all its tables
        like = caching(plan.like)
        made = attrs.evolve(plan, layout=like.layout, kinds=like.kinds, rules=like.rules, cached=like.cached)
        vars(made).update(caching=made, nodes=plan.nodes)
        return made
    rules, known = dict(plan.rules), dict[tuple[int, str], Identity]()
    cached = [node for node in plan.nodes if _is_cached(plan.draft.task(node), rules.get(node))]
    for node in cached:
        task, shape = plan.draft.task(node), plan.wiring.shapes[node]
        identity = known.setdefault((id(task), repr(shape)), Identity(task, shape))
        own = rules.get(node) or Rules(None, None, None, None, None, None, task.form, is_plain(task))
        rules[node] = attrs.evolve(own, identity=identity)
    lanes = [lane_of(task) for task in plan.draft.tasks]
    kinds, layout = lanes_by(rules, lanes, plan.draft, plan.wiring, plan.dag)
    made = attrs.evolve(plan, layout=layout, kinds=kinds, rules=rules, cached=tuple(cached))
    vars(made).update(caching=made, nodes=plan.nodes)
    return made


def _is_cached(task: Task[..., Any], rules: Rules | None) -> bool:
    """Say whether a task is cached, as far as it does not say so itself: not if there is more to it than its inputs."""
    if task.cache is not None or task.form in _NEVER:
        return bool(task.cache) and task.form not in _NEVER
    more = rules is not None and (rules.undo is not None or rules.resources)
    return not (more or any(each.context for each in task.signature.parameters))


def why_uncached(identity: Identity) -> str:
    """Say why a run does not look a task up, whatever is there; nothing if it does."""
    task = identity.task
    if task.form in _NEVER:
        return f"it is no function but {'a question' if task.form == 'interrupt' else 'a map'}, which is never cached"
    if task.cache is False:
        return "it says cache=False"
    if task.cache is None and (task.compensate is not None or identity.left_out):
        return "it takes a Context or resources, or has a compensation: cache=True on the task has it cached"
    return ""

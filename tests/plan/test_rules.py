"""Which steps go by rules, in which lane they are, and which groups have to be told."""

from typing import Any

import pytest

from orch import CircuitBreaker, FailureStrategy, Graph, Parallel, Retry, Sequence, Task, Workflow
from orch._core import Schedule
from orch.plan import COLLECT, IN_PLACE, RULES, Rules, compile, select  # noqa: A004 (the verb under test)

BREAKER = CircuitBreaker()
LOOP, THREAD = 0, 1  # lanes, as the core numbers them


async def step() -> int:
    return 1


def plain() -> int:
    return 1


def nothing() -> None: ...


async def nothing_async() -> None: ...


class Turnstile:
    async def acquire(self) -> None: ...

    def release(self) -> None: ...


class Lenient:
    def on_failure(self, _event: Any, _group: Any) -> FailureStrategy:
        return FailureStrategy.CONTINUE


TURNSTILE = Turnstile()
EVERY: list[dict[str, Any]] = [
    {"timeout": 1},
    {"retry": Retry()},
    {"breaker": BREAKER},
    {"limiter": TURNSTILE},
    {"compensate": nothing_async},
]


# -- tasks -------------------------------------------------------------------------------------------------------------


def test_without_policies_there_are_no_rules() -> None:
    plan = compile(Sequence(step, Parallel(plain, Task(plain, thread=False)), on_failure="continue", limit=2))

    assert (plan.rules, plan.guarded) == ({}, ())
    assert not any(kind & RULES for kind in plan.kinds)


@pytest.mark.parametrize("options", EVERY, ids=lambda it: next(iter(it)))
def test_every_policy_makes_rules(options: dict[str, Any]) -> None:
    plan = compile(Sequence(step, Task(step, **options)))

    assert list(plan.kinds) == [0, RULES]
    rules = plan.rules[1]
    given = {name: getattr(rules, name) for name in ("timeout", "retry", "breaker", "limiter")}
    assert given == {"timeout": None, "retry": None, "breaker": None, "limiter": None} | {
        name: value for name, value in options.items() if name in given
    }
    assert (rules.guard, rules.plain, rules.undo is not None) == (None, False, "compensate" in options)
    assert list(plan.rules) == [1]


def test_a_compensation_of_unknown_outcomes_is_asked_of_the_task() -> None:
    undo = compile(Task(step, compensate=nothing, compensate_unknown=True)).rules[0].undo

    assert undo is not None
    assert undo.task == Task(nothing)
    assert undo.done.compensate_unknown is True


# -- lanes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task,lane,kind,is_plain,threaded",
    [
        (Task(step), LOOP, 0, None, False),
        (Task(plain), THREAD, 0, None, True),
        (Task(plain, thread=False), LOOP, IN_PLACE, None, False),
        (Task(step, timeout=1), LOOP, RULES, False, False),
        (Task(plain, timeout=1), LOOP, RULES, True, True),
        (Task(plain, timeout=1, thread=False), LOOP, RULES | IN_PLACE, False, False),
        (Task(step, timeout=1, thread=False), LOOP, RULES, False, False),
        (Task(step, compensate=nothing), LOOP, RULES, False, True),
        (Task(step, compensate=Task(nothing, thread=False)), LOOP, RULES, False, False),
        (Task(step, compensate=nothing_async), LOOP, RULES, False, False),
        (Task(plain, thread=False, compensate=nothing), LOOP, RULES | IN_PLACE, False, True),
    ],
    ids=range(11),
)
def test_the_lane_of_a_step(task: Task[..., Any], lane: int, kind: int, is_plain: bool | None, threaded: bool) -> None:
    plan = compile(task)
    schedule = Schedule(plan.layout)

    assert [schedule.ready(each) for each in (LOOP, THREAD)] == [int(lane == LOOP), int(lane == THREAD)]
    assert list(plan.kinds) == [kind]
    assert plan.threaded is threaded
    assert [rules.plain for rules in plan.rules.values()] == ([] if is_plain is None else [is_plain])


def test_the_value_of_a_group_is_put_together_for_steps_with_rules_too() -> None:
    def total(inner: list[int]) -> int:
        return sum(inner)

    plan = compile(Graph(Parallel(step, name="inner"), Task(total, timeout=1)))

    assert plan.kinds[-1] == RULES | COLLECT


# -- groups ------------------------------------------------------------------------------------------------------------


def guards(workflow: Workflow) -> dict[str, tuple[str, ...]]:
    """Return by path of a task the names of the groups that guard it, the innermost first."""
    plan = compile(workflow)
    names = [row.group.name for row in plan.draft.scopes]
    return {plan.path(node): tuple(names[scope] for scope in rules.guard or ()) for node, rules in plan.rules.items()}


def scopes(rules: Rules) -> list[int]:
    return list(rules.guard or ())


def test_a_group_with_a_timeout_or_a_breaker_guards_the_tasks_in_it() -> None:
    for options in ({"timeout": 5}, {"breaker": BREAKER}):
        inner = Parallel(step, Sequence(plain, name="deep"), name="inner", **options)
        assert guards(Sequence(step, inner, step)) == {"inner/step": ("inner",), "inner/deep/plain": ("inner",)}


def test_guards_are_listed_from_the_innermost_on() -> None:
    inner = Parallel(step, Sequence(step, name="free"), name="inner", timeout=5)
    middle = Graph(inner, step, name="middle")
    outer = Sequence(middle, Task(step, name="last"), name="outer", breaker=BREAKER)

    assert guards(Sequence(outer, Task(step, name="beside"), Sequence(step, name="other", timeout=1))) == {
        "outer/middle/inner/step": ("inner", "outer"),
        "outer/middle/inner/free/step": ("inner", "outer"),
        "outer/middle/step": ("outer",),
        "outer/last": ("outer",),
        "other/step": ("other",),
    }


def test_guards_and_policies_of_its_own() -> None:
    plan = compile(Sequence(Task(plain, timeout=1), timeout=2))

    assert scopes(plan.rules[0]) == [0]
    assert (plan.rules[0].timeout, plan.rules[0].plain) == (1.0, True)


def test_the_timeout_of_a_lone_task_is_its_own() -> None:
    plan = compile(Task(step, timeout=1, breaker=BREAKER))

    assert plan.rules[0].guard is None
    assert plan.guarded == ()


def test_tasks_of_one_group_share_their_guards() -> None:
    rules = compile(Parallel(*(Task(step, name=f"s{k}") for k in range(3)), timeout=1)).rules

    assert rules[0].guard is rules[1].guard is rules[2].guard


def test_timeouts_at_any_depth() -> None:
    nested: Workflow = Task(step)
    for _ in range(25_000):
        nested = Sequence(nested, step, timeout=1)

    rules = compile(nested).rules  # a list of guards for each step would hold a third of a billion
    assert len(scopes(rules[0])) == 25_000
    assert repr(rules[0].guard) == "Guard(scope=24999)"


def test_groups_that_must_be_told_when_they_settle() -> None:
    groups = [
        Sequence(step),
        Sequence(step, timeout=1),
        Sequence(step, on_failure="continue"),
        Sequence(step, breaker=BREAKER),
        Parallel(step, on_failure="compensate"),
        Graph(step, on_failure=Lenient()),
    ]
    plan = compile(Sequence(*groups))

    assert plan.guarded == (4, 5, 6)
    assert compile(Sequence(step, on_failure="compensate")).guarded == (0,)
    assert all(isinstance(each, Rules) for each in plan.rules.values())
    assert sorted(map(scopes, plan.rules.values())) == [[2], [4]]


def test_a_part_of_a_graph_keeps_the_policies_of_the_graph() -> None:
    graph = Graph(step, plain, name="g", timeout=5, breaker=BREAKER, limit=3, on_failure="compensate")

    part = select(compile(graph), ["plain"])

    assert isinstance(part.workflow, Graph)
    assert part.workflow.options == graph.options
    assert (part.guarded, scopes(part.rules[0])) == ((0,), [0])

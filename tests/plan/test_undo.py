"""What a compensation is called with: its parameters one by one, and what is said of those that nothing fills."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import orch
from orch import Context, DefinitionError, Graph, Sequence, Task, task
from orch.plan import compile, values_for  # noqa: A004 (the verb under test)

ERROR = ValueError("no")
Call = tuple[tuple[Any, ...], dict[str, Any]]


def charge(order: int, amount: float = 2.5, *, currency: str = "EUR") -> str:
    return "receipt"


def called(workflow: Any, node: int = 0, context: Context[Any] | None = None, **inputs: Any) -> Call:
    """Return what the compensation of a step is called with, had the step returned "receipt" and then ERROR come."""
    plan = compile(workflow)
    values = values_for(plan, inputs, context)
    undo = plan.rules[node].undo
    assert undo is not None
    args, kwargs = undo.arguments([values[slot] for slot in plan.wiring.slots[node]], "receipt", ERROR, context)
    return tuple(args), kwargs


# -- each parameter by itself ------------------------------------------------------------------------------------------


class Till:
    def refund(self, value: str) -> None: ...


class Refund:
    def __call__(self, order: int, value: str) -> None: ...


def two(value: str, amount: float) -> None: ...


FILLED: list[tuple[Callable[..., Any], Call]] = [
    (lambda: None, ((), {})),
    (lambda value: None, (("receipt",), {})),
    (lambda error: None, ((ERROR,), {})),
    (lambda order: None, ((7,), {})),
    (lambda amount, order: None, ((2.5, 7), {})),
    (lambda currency: None, (("EUR",), {})),
    (lambda error, value, order: None, ((ERROR, "receipt", 7), {})),
    (lambda receipt: None, (("receipt",), {})),
    (lambda receipt, order: None, (("receipt", 7), {})),
    (lambda order, receipt, error: None, ((7, "receipt", ERROR), {})),
    (lambda receipt, /: None, (("receipt",), {})),
    (lambda receipt, retries=3: None, (("receipt", 3), {})),
    (lambda order, value="default": None, ((7, "receipt"), {})),
    (lambda *, value: None, ((), {"value": "receipt"})),
    (lambda *, order, error=None: None, ((), {"order": 7, "error": ERROR})),
    (lambda receipt, *, order: None, (("receipt",), {"order": 7})),
    (lambda *args, **kwargs: None, ((), {})),
    (lambda value, *args, order, **kwargs: None, (("receipt",), {"order": 7})),
    (Till().refund, (("receipt",), {})),
    (Refund(), ((7, "receipt"), {})),
    (functools.partial(two, amount=1.0), (("receipt",), {"amount": 2.5})),
    (functools.partial(two, "bound already"), ((2.5,), {})),
    (task(two), (("receipt", 2.5), {})),
    (Task(two, amount=1.0), (("receipt", 1.0), {})),
    (Task(two, value="bound"), (("bound", 2.5), {})),
    (Task(lambda a, b: None, 1), ((1, "receipt"), {})),
    (Task(lambda a, *rest: None, 1, 2, 3), ((1, 2, 3), {})),
    (Task(lambda value, **rest: None, reason="storno"), (("receipt",), {"reason": "storno"})),
    (print, ((), {})),
]


@pytest.mark.parametrize("undo,expected", FILLED, ids=map(str, range(len(FILLED))))
def test_a_compensation_gets_what_it_asks_for(undo: Callable[..., Any], expected: Call) -> None:
    assert called(Task(charge, compensate=undo), order=7) == expected


async def test_a_compensation_may_be_async() -> None:
    async def undo(value: str, order: int) -> tuple[str, int]:
        return value, order

    step = Task(charge, compensate=undo)
    args, kwargs = called(step, order=7)

    assert step.compensate is not None
    assert await step.compensate.fn(*args, **kwargs) == ("receipt", 7)


def test_what_came_of_the_task_wins_over_its_parameters_of_that_name() -> None:
    def step(value: int, error: int) -> None: ...

    assert called(Task(step, compensate=lambda value, error: None), value=1, error=2) == (("receipt", ERROR), {})


# -- where the task has its own values from ----------------------------------------------------------------------------


def test_values_are_those_the_task_was_called_with() -> None:
    undo = Task(lambda order, amount, currency: None)

    assert called(Task(charge, 1, 2.0, currency="USD", compensate=undo)) == ((1, 2.0, "USD"), {})
    assert called(Task(charge, currency="USD", compensate=undo), order=3, amount=4.0) == ((3, 4.0, "USD"), {})
    assert called(Task(charge, compensate=Task(undo.fn, 9)), order=3) == ((9, 2.5, "EUR"), {})


def test_values_bound_for_its_keywords_have_names_too() -> None:
    def step(**rest: int) -> None: ...

    assert called(Task(step, tries=3, compensate=lambda tries: None)) == ((3,), {})


def test_one_of_several_outputs_of_the_step_before() -> None:
    split = Task(lambda: (1, 2), name="split", output=("left", "right"))

    def step(right: int) -> None: ...

    plan = compile(Graph(split, Task(step, compensate=lambda right, value: None)))
    undo = plan.rules[1].undo
    assert undo is not None
    assert undo.arguments([(1, 2)], "done", None, None) == ([2, "done"], {})


def test_what_the_task_had_from_upstream() -> None:
    def step(upstream: Mapping[str, int]) -> None: ...

    graph = Graph(Task(lambda: 1, name="one"), Task(step, deps=["one"], compensate=lambda upstream: None))
    undo = compile(graph).rules[1].undo
    assert undo is not None
    assert undo.arguments([None, 5], "done", None, None) == ([{"one": 5}], {})


def test_a_piped_value() -> None:
    undo = compile(Sequence(len, Task(charge, compensate=lambda order: None))).rules[1].undo
    assert undo is not None
    assert undo.arguments([4, 2.5, "EUR"], "done", None, None) == ([4], {})


# -- Context -----------------------------------------------------------------------------------------------------------


def with_context(value: str, ctx: Context[Any]) -> None: ...


def perhaps_context(value: str, *, ctx: Context[Any] | None = None) -> None: ...


def test_a_context_is_found_by_its_annotation() -> None:
    context = Context({"user": "ada"})

    assert called(Task(charge, compensate=with_context), context=context, order=7) == (("receipt", context), {})
    assert called(Task(charge, compensate=perhaps_context), context=context, order=7)[1] == {"ctx": context}


def test_a_context_that_is_optional_may_be_missing() -> None:
    assert called(Task(charge, compensate=perhaps_context), order=7) == (("receipt",), {})


def test_a_context_that_only_a_compensation_needs_is_missed_before_anything_runs() -> None:
    ran: list[int] = []
    workflow = Sequence(lambda: ran.append(1), Task(lambda: ran.append(2), name="step", compensate=with_context))

    with pytest.raises(DefinitionError, match=r"'step': a parameter takes the Context, and this run has none"):
        orch.Runner().run(workflow)
    assert ran == []


def test_the_context_of_the_task_itself_is_one_of_its_values() -> None:
    def step(ctx: Context[Any]) -> None: ...

    context = Context(1)
    undo = compile(Task(step, compensate=lambda ctx: None)).rules[0].undo
    assert undo is not None
    assert undo.arguments([context], None, None, None) == ([context], {})


# -- what nothing fills ------------------------------------------------------------------------------------------------

UNFILLED: list[tuple[Callable[..., Any], str]] = [
    (
        lambda a, b: None,
        "nothing fills 'a', 'b' of its compensation 'lambda'; it may ask for 'value', 'error', 'order'",
    ),
    (lambda value, amuont: None, "nothing fills 'amuont' of its compensation 'lambda'; did you mean 'amount'?"),
    (lambda *, receipt: None, "nothing fills 'receipt' of its compensation 'lambda'; it may ask for 'value', 'error',"),
    (lambda a, *, b: None, "nothing fills 'a', 'b' of its compensation 'lambda'; it may ask for"),
    (lambda ordr, errro: None, "nothing fills 'ordr', 'errro' of its compensation 'lambda'; did you mean 'order' or "),
    (Task(lambda a, b, c: None, 1, name="n"), "nothing fills 'b', 'c' of its compensation 'n'; it may ask for 'value'"),
]


@pytest.mark.parametrize("undo,message", UNFILLED, ids=map(str, range(len(UNFILLED))))
def test_a_parameter_that_nothing_fills_is_a_mistake_of_the_definition(undo: Callable[..., Any], message: str) -> None:
    step = Task(charge, compensate=undo)

    with pytest.raises(DefinitionError) as caught:
        compile(step)

    assert str(caught.value).startswith(f"task 'charge': {message}")


def test_problems_of_compensations_are_told_with_all_others() -> None:
    wrong = Task(charge, compensate=lambda a, b: None, deps=["nobody"])

    with pytest.raises(DefinitionError) as caught:
        compile(Graph(wrong, wrong.evolve(name="two")))

    told = [str(each).split(";")[0].split(":")[0] for each in caught.value.problems]
    assert told == [
        "task 'charge' depends on 'nobody', which is no step here",
        "task 'two' depends on 'nobody', which is no step here",
        "task 'charge'",
        "task 'two'",
    ]

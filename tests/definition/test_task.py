"""Tasks: what they accept, what they refuse, and that they are values."""

import copy
import functools
import gc
import inspect
import pickle
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch import Context, Graph, Interrupt, Map, Runner, Sequence, Task, task
from orch.definition._task import TaskOptions
from orch.plan import compile  # noqa: A004 (the verb under test)


def fetch(url: str, timeout: float = 1.0, *, tries: int = 3) -> str:
    return f"{url} {timeout} {tries}"


@task
def decorated(a: int, b: int = 2) -> int:
    return a + b


@task(name="other", output=("x", "y"), deps=["decorated"], retain=False, thread=False, description="two")
async def with_options(a: int) -> tuple[int, int]:
    return a, a


class Holder:
    @staticmethod
    @task
    def inside(a: int) -> int:
        return a


class Called:
    def __call__(self) -> None: ...

    def method(self) -> None: ...


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fn,name",
    [
        (fetch, "fetch"),
        (lambda: None, "lambda"),
        (functools.partial(fetch, "u"), "fetch"),
        (functools.partial(functools.partial(fetch, "u"), 2), "fetch"),
        (functools.partial(decorated, 1), "decorated"),
        (Called(), "Called"),
        (Called().method, "method"),
        (Called, "Called"),
        (len, "len"),
    ],
    ids=range(9),
)
def test_a_usable_name_is_derived(fn: Callable[..., Any], name: str) -> None:
    assert Task(fn).name == name
    assert Task(fn, name=None).name == name


@given(st.text(min_size=1, max_size=1000).filter(lambda text: "\0" not in text))
def test_any_text_is_a_name_and_its_repr_is_one_line(name: str) -> None:
    step = Task(fetch, name=name)

    assert (step.name, step.outputs) == (name, (name,))
    assert len(repr(step).splitlines()) == 1
    assert repr(step).isprintable()
    assert pickle.loads(pickle.dumps(step)).name == name


@pytest.mark.parametrize("name", ["", "\0", "a\0b", "x" * 1001], ids=["empty", "NUL", "NUL inside", "long"])
@pytest.mark.parametrize("field", ["name", "output", "deps"])
def test_names_that_are_none(field: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: expected a text of 1 to 1000 characters without NUL, found "):
        Task(fetch, **{field: [name] if field == "deps" else name})  # type: ignore[arg-type]


# -- wrong arguments ---------------------------------------------------------------------------------------------------

WRONG_TYPES: list[tuple[str, Any]] = [
    ("name", 1),
    ("name", b"bytes"),
    ("output", 1),
    ("output", [1]),
    ("output", {"a"}),
    ("deps", 1),
    ("deps", "fetch"),
    ("deps", decorated),
    ("deps", [1]),
    ("deps", [None]),
    ("thread", 1),
    ("thread", "yes"),
    ("retain", 1),
    ("retain", None),
    ("description", 1),
]


@pytest.mark.parametrize("field,value", WRONG_TYPES, ids=map(str, range(len(WRONG_TYPES))))
def test_a_wrong_type_is_refused_wherever_it_is_given(field: str, value: Any) -> None:
    options: dict[str, Any] = {field: value}
    makes: list[Callable[[], Any]] = [
        lambda: Task(fetch, **options),
        lambda: task(**options)(fetch),
        lambda: task(fetch, **options),
        lambda: Task(fetch).evolve(**options),
    ]
    for make in makes:
        with pytest.raises(TypeError, match="expected"):
            make()


@pytest.mark.parametrize("output", [[], (), ["a", "a"]], ids=repr)
def test_outputs_are_some_and_none_twice(output: Any) -> None:
    with pytest.raises(ValueError, match="output: expected at least one name and none twice"):
        Task(fetch, output=output)


@pytest.mark.parametrize("step", [1, None, "fetch", [fetch], 1.5], ids=range(5))
def test_what_is_not_callable_is_no_step(step: Any) -> None:
    with pytest.raises(TypeError, match="expected a callable or a workflow as a step, found"):
        Task(step)


def test_a_workflow_is_no_function() -> None:
    with pytest.raises(TypeError, match=r"is a workflow already: .* \.evolve"):
        Task(decorated)  # type: ignore[call-overload,unused-ignore]
    with pytest.raises(TypeError, match="is a workflow already"):
        Task(Sequence())  # type: ignore[arg-type]


def test_a_coroutine_is_refused_and_closed() -> None:
    async def download() -> None: ...

    coroutine = download()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError, match=r"pass the function, not the call: download, not download\(…\)"):
            Task(coroutine)  # type: ignore[arg-type]

        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
        del coroutine
        gc.collect()


# -- outputs, deps, place ----------------------------------------------------------------------------------------------


def test_outputs_are_normalised() -> None:
    steps = [Task(fetch), Task(fetch, output="page"), Task(fetch, output=["a", "b"]), Task(fetch, output=("a",))]

    assert [step.output for step in steps] == [None, "page", ("a", "b"), ("a",)]
    assert [step.outputs for step in steps] == [("fetch",), ("page",), ("a", "b"), ("a",)]
    assert [step.unpacks for step in steps] == [False, False, True, True]


def test_deps_keep_names_and_workflows_and_make_tasks_of_functions() -> None:
    group = Sequence()

    assert Task(fetch, deps=["a", decorated, group, len]).deps == ("a", decorated, group, Task(len))
    assert Task(fetch, deps=(name for name in "ab")).deps == ("a", "b")


def test_the_place_is_where_the_function_is() -> None:
    line = inspect.getsourcelines(fetch)[1]

    assert Task(fetch).place == f"{__file__}:{line}"
    assert Task(functools.partial(fetch, "u")).place == f"{__file__}:{line}"
    assert Task(len).place == "builtins.len"
    assert Task(Called).place.endswith(".Called")


# -- bound values ------------------------------------------------------------------------------------------------------


def test_values_are_bound_by_position_and_by_name() -> None:
    step: Task[..., str] = Task(fetch, "u", tries=5)

    assert dict(step.bound) == {"url": "u", "tries": 5}
    assert step.extra == ()
    assert step() == "u 1.0 5"
    assert step(2.0) == "u 2.0 5"  # positions count what is not bound
    assert step(url="v", tries=1) == "v 1.0 1"


def test_options_win_over_parameters_of_their_name() -> None:
    def greet(name: str) -> str:
        return f"hello {name}"

    assert Task(greet, name="x").name == "x"
    assert not Task(greet, name="x").bound
    assert Task(greet).bind(name="ada")() == "hello ada"


def test_what_a_run_fills_is_not_bound_by_position() -> None:
    def step(ctx: Context[int], upstream: dict[str, int], a: int, *rest: int) -> None: ...

    bound = Task(step, 1, 2, 3)

    assert dict(bound.bound) == {"a": 1}
    assert bound.extra == (2, 3)


def test_values_go_into_variadic_parameters() -> None:
    def collect(a: int, *args: int, **kwargs: int) -> tuple[Any, ...]:
        return a, args, kwargs

    step: Task[..., Any] = Task(collect, 1, 2, 3, x=4)

    assert (dict(step.bound), step.extra) == ({"a": 1, "x": 4}, (2, 3))
    assert step(5, y=6) == (1, (2, 3, 5), {"x": 4, "y": 6})


def test_positional_only_parameters_are_bound_by_name_too() -> None:
    def halve(a: float, by: float = 2, /) -> float:
        return a / by

    whole: Task[..., float] = Task(halve, a=9)

    assert whole() == 4.5
    assert Task(halve, by=3)(9) == 3


def misspelled() -> object:
    return Task(fetch).evolve(nam="x")  # type: ignore[call-arg]


def upper(retro: int) -> int:
    return retro


def with_filled(a: int, upstream: dict[str, int], ctx: Context[int] | None = None, **rest: int) -> None: ...


def test_a_keyword_that_is_only_named_like_what_a_run_fills_is_bound() -> None:
    def step(**upstream: int) -> dict[str, int]:
        return upstream

    assert Task(step, upstream=1)() == {"upstream": 1}
    assert Task(lambda ctx=2: ctx, ctx=1)() == 1


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: Task(fetch, ulr="u"), "fetch has no parameter 'ulr'; did you mean 'url'?"),
        (lambda: Task(fetch).bind(quux=1), "fetch has no parameter 'quux'; expected one of: url, timeout, tries"),
        (
            lambda: Task(misspelled, timout=1),
            "misspelled has no parameter 'timout'; expected one of: nothing; or did you mean the option 'timeout'?",
        ),
        (
            lambda: Task(upper, retri=1),
            "upper has no parameter 'retri'; did you mean 'retro'?; or did you mean the option 'retry'?",
        ),
        (lambda: Task(lambda: 1, x=1), "lambda has no parameter 'x'; expected one of: nothing"),
        (lambda: Task(fetch, 1, 2, 3), "fetch: expected at most 2 values by position, found 3"),
        (lambda: Task(fetch, "u", url="v"), "fetch: bound by position and by name: 'url'"),
        (lambda: Task(fetch, "u").bind()("x", "y", timeout=3), "fetch() got multiple values for 'timeout'"),
        (
            lambda: Task(with_filled).bind(ctx=Context(1)),
            "with_filled: every run fills 'ctx' by itself, so it cannot be bound; pass the Context to the run, orch.ru",
        ),
        (
            lambda: Task(with_filled, upstream={}),
            "with_filled: every run fills 'upstream' by itself, so it cannot be bound; name in deps= what it is to ha",
        ),
        (misspelled, "Task.evolve has no parameter 'nam'; did you mean 'name'?"),
    ],
)
def test_wrong_bindings_name_the_cure(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()

    assert str(caught.value).startswith(message)


def test_bind_and_evolve_give_new_tasks() -> None:
    step: Task[..., str] = Task(fetch, "u", name="page")
    bound, evolved = step.bind(url="v", tries=1), step.evolve(output="html")

    assert (dict(step.bound), step.output, step.name) == ({"url": "u"}, None, "page")
    assert (dict(bound.bound), bound.name) == ({"url": "v", "tries": 1}, "page")
    assert (evolved.output, evolved.name, evolved()) == ("html", "page", "u 1.0 3")
    assert step.evolve(name=None).name == "fetch"
    assert Task(int, "12").evolve(name="n")() == 12


# -- calling -----------------------------------------------------------------------------------------------------------


def test_a_decorated_function_is_called_as_it_is() -> None:
    assert decorated(1) == 3
    assert decorated(1, b=5) == 6
    assert decorated.__name__ == "decorated"
    assert inspect.signature(decorated) == inspect.signature(decorated.fn)
    coroutine = with_options(1)
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value == (1, 1)


def test_the_decorator_takes_options() -> None:
    assert with_options.name == "other"
    assert with_options.outputs == ("x", "y")
    assert (with_options.deps, with_options.retain, with_options.thread) == (("decorated",), False, False)
    assert with_options.description == "two"
    with pytest.raises(TypeError, match="unexpected keyword argument 'retries'"):
        task(retries=1)  # type: ignore[call-overload]


def test_the_decorator_says_what_options_it_takes() -> None:
    shown = str(inspect.signature(task))

    assert shown.startswith("(fn: 'Callable[P, R] | None' = None, /, *, name: 'str | None' = None, output:")
    assert set(TaskOptions.__annotations__) == inspect.signature(task).parameters.keys() - {"fn"}
    assert "timeout: 'Seconds | None' = None, retry: 'Retry | None' = None" in shown


# -- methods -----------------------------------------------------------------------------------------------------------


class Shop:
    rate = 2

    def refund(self, value: int) -> tuple[object, int]:
        return self, value

    @task(name="sale", compensate=refund)
    def sell(self, price: int) -> int:
        return price * self.rate

    @task
    async def ship(self, /, *goods: int) -> int:
        return self.rate + sum(goods)

    @classmethod
    @task
    def count(cls, more: int) -> int:
        return cls.rate + more

    @staticmethod
    @task
    def close(hour: int) -> int:
        return hour

    @task
    def nothing(*args: int) -> int:
        return len(args)

    again = Task(lambda self, x: (self, x), name="again")
    size = Task(len)
    foreign = Task(fetch)


def test_a_task_of_a_method_is_bound_to_its_object() -> None:
    shop = Shop()

    assert shop.sell(3) == shop.sell(price=3) == Shop.sell(shop, 3) == 6
    assert isinstance(shop.sell, Task)
    assert dict(shop.sell.bound) == {"self": shop}
    assert (shop.sell.name, Shop.sell.name) == ("sale", "sale")
    assert shop.again(1) == (shop, 1)
    with pytest.raises(StopIteration) as stopped:
        shop.ship(1, 2).send(None)
    assert stopped.value.value == 5


def test_a_task_of_what_is_no_method_stays_as_it_is() -> None:
    shop = Shop()

    assert Shop.sell is Shop.__dict__["sell"]
    assert shop.size is Shop.size
    assert shop.foreign is Shop.foreign
    assert shop.nothing is Shop.nothing
    assert shop.close is Shop.close
    assert (shop.close(5), shop.size([1])) == (5, 1)
    counts: Any = Shop.count, shop.count
    assert [count(1) for count in counts] == [3, 3]


def test_methods_of_one_object_are_equal_and_survive_pickling() -> None:
    shop = Shop()

    assert shop.sell == shop.sell
    assert hash(shop.sell) == hash(shop.sell)
    assert shop.sell != Shop().sell
    assert pickle.loads(pickle.dumps(shop.sell))(4) == 8


def test_methods_are_steps_and_their_compensations_have_the_same_object() -> None:
    shop = Shop()
    plan = compile(Graph(shop.sell, Task(lambda: 1, name="after", deps=[shop.sell])))
    undo = plan.rules[0].undo

    assert plan.inputs == ("price",)
    assert Runner().run(plan, price=2)["sale"] == 4
    assert undo is not None
    assert undo.arguments([shop, 2], "sold", None, None) == ([shop, "sold"], {})


# -- values ------------------------------------------------------------------------------------------------------------


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable) and self.value == other.value

    def __call__(self, *args: Any) -> None: ...


class Undecided:
    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


ODD = [1, True, 1.0, "1", b"1", None, [1], {"a": [1]}, {1}, frozenset({1}), (1, [2]), Unhashable(1)]


def test_equal_tasks_are_those_of_equal_parts() -> None:
    for i, one in enumerate(ODD):
        for j, two in enumerate(copy.deepcopy(ODD)):
            same = Task(fetch, one) == Task(fetch, two)

            assert same is (i == j), (one, two)
            assert not same or hash(Task(fetch, one)) == hash(Task(fetch, two))


@pytest.mark.parametrize(
    "field,value",
    [
        ("name", "n"),
        ("output", "o"),
        ("output", ["fetch"]),
        ("deps", ["d"]),
        ("deps", [len]),
        ("thread", False),
        ("retain", False),
        ("description", "d"),
    ],
)
def test_every_option_is_part_of_the_value(field: str, value: Any) -> None:
    options: dict[str, Any] = {field: value}

    assert Task(fetch, **options) == Task(fetch, **options) != Task(fetch)
    assert hash(Task(fetch, **options)) == hash(Task(fetch, **options))


def test_values_that_cannot_be_compared_or_hashed_do_no_harm() -> None:
    odd = Undecided()

    assert Task(fetch, odd) == Task(fetch, odd)
    assert Task(fetch, odd) != Task(fetch, Undecided())
    assert hash(Task(fetch, odd)) == hash(Task(fetch, Undecided()))
    assert Task(Unhashable(1), 1) == Task(Unhashable(1), 1)
    assert len({Task(Unhashable(1), [1]), Task(Unhashable(1), [1])}) == 1
    assert Task(fetch) != fetch
    assert (Task(fetch) == 3) is False


def test_tasks_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        decorated.name = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Task(fetch, "u").bound["url"] = 1  # type: ignore[index]
    assert weakref.ref(decorated)() is decorated


def test_the_plan_is_no_part_of_the_value() -> None:
    step = Task(fetch)
    object.__setattr__(step, "_plan", object())

    assert step == Task(fetch)
    assert hash(step) == hash(Task(fetch))
    assert pickle.loads(pickle.dumps(step))._plan is None
    assert step.evolve(name="x")._plan is None


@pytest.mark.parametrize(
    "step",
    [
        Task(fetch),
        Task(fetch, "u", name="n", output=["a", "b"], deps=["d", decorated], thread=False, retain=False),
        Task(functools.partial(fetch, "u"), tries=2).evolve(name="p"),
        decorated,
        decorated.bind(b=5).evolve(name="bound"),
        with_options,
        with_options.evolve(name="third"),
        Holder.inside,
        Task(int, "12"),
    ],
    ids=repr,
)
def test_tasks_survive_pickling_and_copying(step: Task[..., Any]) -> None:
    assert copy.copy(step) is step
    if not isinstance(step.fn, functools.partial):  # partials compare by identity
        assert pickle.loads(pickle.dumps(step)) == step
        assert copy.deepcopy(step) == step
    assert repr(pickle.loads(pickle.dumps(step))) == repr(step)
    assert pickle.loads(pickle.dumps(step)).signature == step.signature


def test_a_chain_of_tasks_by_deps_is_no_recursion() -> None:
    def chain() -> Task[..., Any]:
        step = Task(fetch)
        for _ in range(100_000):
            step = Task(fetch, deps=[step])
        return step

    one, two = chain(), chain()

    assert one == two
    assert hash(one) == hash(two)
    assert one.evolve(name="x") != two


@pytest.mark.parametrize("kind", [Task, Map, Interrupt])
def test_what_definitions_take_can_be_asked_of_their_classes(kind: Any) -> None:
    own = list(inspect.signature(kind.__init__).parameters)[1:]
    assert list(inspect.signature(kind).parameters) == own
    assert inspect.signature(Task(len)) == inspect.signature(len)

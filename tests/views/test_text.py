import pickle
from collections.abc import AsyncIterator, Iterator

from hypothesis import given
from hypothesis import strategies as st

import orch
from orch import Graph, Parallel, Sequence, Task, plan
from orch.views import to_text
from tests.views.hostile import names


async def one() -> int:
    return 1


async def two(one: int) -> int:
    return one + 1


async def both(one: int, two: int) -> int:
    return one + two


async def boom(two: int) -> None:
    raise ValueError("no\nway")


async def never(boom: None) -> None: ...


def lines(workflow: object) -> list[str]:
    return to_text(workflow).split("\n")  # type: ignore[arg-type]


def test_a_graph_shows_whose_values_each_step_needs() -> None:
    assert lines(Graph(one, two, both, name="etl")) == [
        "etl (graph)",
        "├─ one",
        "├─ two ← one",
        "└─ both ← one, two",
    ]


def test_dependencies_are_shown_in_whatever_order_steps_are_defined() -> None:
    graph = Graph(Task(one, name="late", deps=["early"]), Task(one, name="early"))
    assert lines(graph)[1:] == ["├─ late ← early", "└─ early"]


def test_groups_show_what_is_not_as_everybody_expects() -> None:
    inner = Parallel(one, limit=3, on_failure="continue", name="fan")
    assert lines(Sequence(inner)) == ["sequence", "└─ fan (parallel, limit 3, on_failure continue)", "   └─ one"]


def test_a_strategy_of_ones_own_is_shown_by_its_type() -> None:
    class Lenient:
        def on_failure(self, _event: object, _group: object) -> orch.FailureStrategy:
            return orch.FailureStrategy.CONTINUE

    assert lines(Parallel(one, on_failure=Lenient()))[0] == "parallel (on_failure Lenient)"


def test_tasks_show_their_policies() -> None:
    def refund() -> None: ...

    breaker, limiter = orch.CircuitBreaker("x"), orch.RateLimit(5)
    every = Task(one, timeout=5, retry=orch.Retry(), breaker=breaker, limiter=limiter, compensate=refund)
    few = Task(one, output="o", timeout=0.25, breaker=orch.CircuitBreaker(), compensate=Task(refund, name="undo"))

    assert lines(every) == ["one (timeout 5 s, breaker 'x', max_attempts 3, limiter, compensate refund)"]
    assert lines(few) == ["one (gives o, timeout 0.25 s, breaker, compensate undo)"]
    assert lines(Task(one, timeout=1_000_000.5)) == ["one (timeout 1000000.5 s)"]


def test_groups_show_their_policies() -> None:
    group = Parallel(one, limit=3, timeout=10, breaker=orch.CircuitBreaker("db"), on_failure="compensate", name="fan")
    assert lines(group)[0] == "fan (parallel, limit 3, timeout 10 s, breaker 'db', on_failure compensate)"
    assert lines(Sequence(timeout=10)) == ["sequence (timeout 10 s)"]


async def test_a_result_shows_policies_too() -> None:
    result = await orch.run(Sequence(Task(one, compensate=one)))
    assert lines(result)[1].startswith("└─ one (compensate one): succeeded")


def test_branches_go_on_beside_nested_steps() -> None:
    nested = Sequence(Parallel(Task(one, name="a"), Task(one, name="b")), Sequence(Task(one, name="c")), name="outer")
    assert lines(nested) == [
        "outer (sequence)",
        "├─ parallel",
        "│  ├─ a",
        "│  └─ b",
        "└─ sequence",
        "   └─ c",
    ]


def test_an_object_that_occurs_again_is_marked() -> None:
    step = Task(one)
    pair = Parallel(step, name="pair")
    shown = lines(Parallel(pair, pair, Task(one, name="other")))
    assert [line for line in shown if line.endswith("[shared]")] == [
        "├─ pair#2 (parallel) [shared]",
        "│  └─ one [shared]",
    ]


def test_outputs_and_repeated_names_are_those_to_ask_a_result_for() -> None:
    parts = Task(lambda: (1, 2), name="split", output=("left", "right"))
    assert lines(Parallel(parts, one, one))[1:] == ["├─ split (gives left, right)", "├─ one", "└─ one#2"]


def test_a_step_further_out_is_named_as_one_beside() -> None:
    outer = Graph(Task(one), Parallel(Task(two), name="inner"))
    assert lines(outer)[-1] == "   └─ two ← one"
    deep = Sequence(Sequence(Parallel(Task(one), name="first"), name="outer"), Task(two, deps=["outer"]))
    assert lines(deep)[-1] == "└─ two ← outer"


def test_many_dependencies_are_cut() -> None:
    sources = [Task(one, name=f"s{k}") for k in range(1000)]
    shown = lines(Graph(*sources, Task(one, name="sink", deps=sources)))[-1]
    assert shown.startswith("└─ sink ← s0, s1, ")
    assert shown.endswith("…")
    assert len(shown) < 220


def test_a_plan_and_a_function_are_workflows_too() -> None:
    assert lines(plan.compile(Sequence(one))) == ["sequence", "└─ one"]
    assert lines(one) == ["one"]


def test_an_empty_group_is_one_line() -> None:
    assert lines(Sequence(Parallel(), one)) == ["sequence", "├─ parallel", "└─ one"]


def test_any_depth_of_nesting_is_drawn_in_bounded_width() -> None:
    deep = Task(one)
    for _ in range(10_000):
        deep = Sequence(deep)  # type: ignore[assignment]
    shown = lines(deep)
    assert len(shown) == 10_001
    assert shown[-1].strip() == "└─ (level 10000) one"
    assert max(map(len, shown)) < 120


@given(st.lists(names, min_size=1, max_size=6))
def test_whatever_the_names_a_step_is_one_printable_line(given_names: list[str]) -> None:
    group = Parallel(*(Task(one, name=name, output=name) for name in given_names), name=given_names[0])
    shown = lines(group)
    assert len(shown) == 1 + len(given_names)
    assert all(line.isprintable() for line in shown)


@given(names)
def test_whatever_breakers_and_compensations_are_called_a_step_is_one_printable_line(name: str) -> None:
    breaker, undo = orch.CircuitBreaker(name), Task(one, name=name)
    group = Parallel(Task(one, output=name, breaker=breaker, compensate=undo), name=name, breaker=breaker)
    shown = lines(group)
    assert len(shown) == 2
    assert all(line.isprintable() for line in shown)
    assert plan.compile(group).describe()["name"] == name


async def failed() -> orch.RunResult:
    workflow = Graph(one, two, boom, never, name="job", on_failure="continue")
    return await orch.run(workflow, raise_on_failure=False)


async def test_a_result_shows_what_became_of_each_step() -> None:
    shown = lines(await failed())
    assert [line.split(", 0.")[0] for line in shown] == [
        "job (graph, on_failure continue): failed",
        "├─ one: succeeded",
        "├─ two ← one: succeeded",
        "├─ boom ← two: failed",
        "└─ never ← boom: skipped, upstream_failed by boom",
    ]
    assert " s, 'ValueError: no\\nway'" in shown[3]


async def test_groups_within_a_result_have_states_too() -> None:
    result = await orch.run(Sequence(Parallel(one, name="fan"), name="all"))
    assert [line.split(",")[0] for line in lines(result)] == [
        "all (sequence): succeeded",
        "└─ fan (parallel): succeeded",
        "   └─ one: succeeded",
    ]


async def test_a_long_error_is_cut() -> None:
    async def shout() -> None:
        raise ValueError("x" * 5000)

    result = await orch.run(shout, raise_on_failure=False)
    assert len(to_text(result)) < 300


async def test_a_pickled_result_has_no_definition_and_lists_its_tasks_by_path() -> None:
    result = await orch.run(Sequence(Parallel(one, name="fan"), two, name="all"))
    shown = lines(pickle.loads(pickle.dumps(result)))
    assert [line.split(": ")[0] for line in shown] == ["all", "- fan/one", "- two"]
    assert "succeeded" in shown[-1]


def test_steps_show_what_they_are_more_than_a_call() -> None:
    async def tick(n: int) -> AsyncIterator[int]:
        yield n

    each = orch.Map(two, over="one", name="pairs", mode="product", limit=2, on_error="collect", output="many")
    graph = Graph(each, Task(tick, cache=True), orch.Interrupt("sure", "go on?"), Task(one, cache=False))
    assert lines(graph)[1:] == [
        "├─ pairs (two for each one, product, limit 2, on_error collect, gives many) ← one",
        "├─ tick (streams, cached)",
        "├─ sure (asks)",
        "└─ one (never cached)",
    ]


def test_a_group_shows_what_its_names_are_outside() -> None:
    inner = Graph(both, Task(boom, name="last")).as_task("sub", inputs={"first": "one"}, outputs={"both": "sum"})
    [_, shown, *_] = lines(Graph(inner.bind(two=2)))
    assert shown == "└─ sub (graph, takes first as one, gives both as sum, has two)"


def test_steps_show_the_resources_that_are_not_bound() -> None:
    @orch.resource
    def database() -> Iterator[str]:
        yield "db"

    def load(db: str = orch.use(database), other: str = orch.use(database)) -> str:
        return db + other

    assert lines(Task(load, other="x")) == ["load (uses database)"]


def test_results_show_what_has_not_run_but_was_known() -> None:
    runner = orch.Runner(cache=orch.MemoryCache())
    runner.run(one)
    result = runner.run(Graph(one, orch.Interrupt("sure")), raise_on_failure=False)
    resumed = runner.resume(result, Graph(one, orch.Interrupt("sure")), answers={"sure": True})
    assert lines(result)[1] == "├─ one: succeeded, cached"
    assert lines(resumed)[1] == "├─ one: succeeded, restored"

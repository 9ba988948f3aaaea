"""Checks 27 to 32: the scheduling of graphs, what is selected, what is let go, and what size costs."""

import gc
import time
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio.testing

import orch
from orch import AsyncRunner, DefinitionError, Graph, Parallel, Sequence, State, Task, TaskRecord, Workflow
from orch.errors import InputError
from tests.runners.truth import PATIENCE, check, settle, started, states, told

VIRTUAL = [pytest.param(("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}), id="trio, virtual time")]


async def free() -> None: ...


# -- 27 and 28 ---------------------------------------------------------------------------------------------------------


async def test_check_27_a_step_starts_as_soon_as_what_it_needs_is_there() -> None:
    """C ends only after B has: were there supersteps, both would wait for ever."""
    b_ended = anyio.Event()

    async def a() -> None:
        await anyio.lowlevel.checkpoint()

    async def b(a: None) -> None:
        b_ended.set()

    async def c() -> None:
        await b_ended.wait()

    result = await settle(Graph(a, b, c))
    assert told(result.trace).index("b succeeded") < told(result.trace).index("c succeeded")


@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_check_27_in_numbers() -> None:
    async def a() -> float:
        await anyio.sleep(0.1)
        return anyio.current_time()

    async def b(a: float) -> float:
        return anyio.current_time()

    async def c() -> float:
        await anyio.sleep(0.5)
        return anyio.current_time()

    begin = anyio.current_time()
    value = (await settle(Graph(a, b, c))).value
    assert {name: round(at - begin, 6) for name, at in value.items()} == {"a": 0.1, "b": 0.1, "c": 0.5}


@pytest.mark.parametrize("anyio_backend", VIRTUAL)
async def test_check_27_each_branch_goes_on_by_itself() -> None:
    def branch(k: int) -> Sequence:
        async def step() -> None:
            await anyio.sleep(k)

        return Sequence(*[step] * 3, name=f"b{k}")

    begin = anyio.current_time()
    with anyio.fail_after(1_000):
        result = await orch.run(Parallel(*(branch(k) for k in (3, 1, 2))))
    ends = [path for path in told(result.trace) if path.endswith("step#3 succeeded")]
    assert ends == ["b1/step#3 succeeded", "b2/step#3 succeeded", "b3/step#3 succeeded"]
    assert round(anyio.current_time() - begin, 6) == 9


async def test_check_28_the_join_of_a_diamond_runs_once_with_both_results() -> None:
    calls: list[tuple[int, int]] = []

    async def top() -> int:
        return 1

    async def left(top: int) -> int:
        await anyio.lowlevel.checkpoint()
        return top + 1

    async def right(top: int) -> int:
        return top + 2

    async def bottom(left: int, right: int) -> int:
        calls.append((left, right))
        return left + right

    result = await settle(Graph(bottom, right, left, top))
    assert (calls, result["bottom"]) == ([(2, 3)], 5)
    assert started(result.trace)[-1] == "bottom"


async def test_check_28_a_value_is_the_same_object_for_all_readers() -> None:
    async def source() -> list[int]:
        return []

    async def one(source: list[int]) -> int:
        return id(source)

    def two(source: list[int]) -> int:
        return id(source)

    result = await settle(Graph(source, one, two))
    assert result["one"] == result["two"] == id(result["source"])


# -- 29 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("kind", [Parallel, Graph])
async def test_check_29_equal_steps_start_in_order_of_declaration(kind: Any, limit: int) -> None:
    names = ["c", "a", "d", "b", "f", "e"]

    async def step() -> None:
        await anyio.lowlevel.checkpoint()

    result = await settle(kind(*(Task(step, name=name) for name in names), limit=limit))
    assert started(result.trace) == names


async def test_check_29_groups_are_no_reason_to_overtake() -> None:
    workflow = Parallel(
        Task(free, name="a"), Sequence(Task(free, name="b")), Task(free, name="c"),
        Parallel(Graph(Task(free, name="d"))), Task(free, name="e"), limit=1,
    )  # fmt: skip

    assert [path[-1] for path in started((await settle(workflow)).trace)] == list("abcde")


async def test_check_29_the_longest_way_to_the_end_comes_first() -> None:
    """Two chains of lengths 1 and 3 and a limit of 1: the long chain is begun first, though declared last."""
    graph = Graph(
        Task(free, name="short"),
        Task(free, name="z", deps=["y"]),
        Task(free, name="y", deps=["x"]),
        Task(free, name="x"),
        limit=1,
    )

    assert started((await settle(graph)).trace) == ["x", "y", "short", "z"]


async def test_check_29_the_order_is_the_same_on_every_run() -> None:
    async def step() -> None:
        await anyio.lowlevel.checkpoint()

    graph = Graph(*(Task(step, name=f"s{k}", deps=[f"s{k - 7}"] if k >= 7 else []) for k in range(40)), limit=3)
    first = started((await settle(graph)).trace)
    for _ in range(3):
        assert started((await settle(graph)).trace) == first


# -- 30 ----------------------------------------------------------------------------------------------------------------


async def test_check_30_select_runs_the_named_and_its_ancestors_and_nothing_else() -> None:
    ran: list[str] = []

    async def a(url: str) -> str:
        ran.append("a")
        return url

    async def b(a: str, rows: int = 1) -> str:
        ran.append("b")
        return a * rows

    async def other(secret: str) -> None:
        ran.append("other")

    async def after(b: str) -> None:
        ran.append("after")

    graph = Graph(after, b, other, a, name="g")
    result = await settle(graph, select=["b"], url="u")
    assert (sorted(ran), list(result.tasks), result.value) == (["a", "b"], ["b", "a"], {"b": "u"})
    assert "other" not in result
    with pytest.raises(KeyError, match="after"):
        result.tasks["after"]
    with pytest.raises(InputError, match="missing input: 'url'"):
        await orch.run(graph, select="b")
    with pytest.raises(InputError, match="unexpected input: 'secret'"):
        await orch.run(graph, select="b", url="u", secret="s")
    with pytest.raises(DefinitionError, match=r"'aftr'.*did you mean 'after'\?"):
        await orch.run(graph, select=["b", "aftr"], url="u")
    assert len(ran) == 2


# -- 31 ----------------------------------------------------------------------------------------------------------------


class Heavy:
    """Something that can be seen to be gone."""


def gone(reference: "weakref.ref[Heavy]") -> bool:
    gc.collect()
    return reference() is None


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_check_31_a_value_is_let_go_when_its_consumers_have_finished(kind: str) -> None:
    made: list[weakref.ref[Heavy]] = []
    read: list[type] = []

    async def heavy() -> Heavy:
        value = Heavy()
        made.append(weakref.ref(value))
        return value

    async def one(heavy: Heavy) -> int:
        read.append(type(heavy))
        return 1

    def two(heavy: Heavy) -> int:
        read.append(type(heavy))
        return 2

    async def end(one: int, two: int) -> bool:
        return gone(made[0])

    reader = two if kind == "thread" else Task(two, thread=False)
    result = await settle(Graph(Task(heavy, retain=False), one, reader, end))
    assert result["end"] is True
    assert read == [Heavy, Heavy]
    assert gone(made[0])
    record = result.tasks["heavy"]
    assert (record.state, record.value) == (State.SUCCEEDED, None)
    with pytest.raises(KeyError, match="task 'heavy' has no value: it was not kept"):
        result["heavy"]
    assert "heavy" not in result.outputs
    assert "heavy" not in result
    assert (result["one"], result["two"]) == (1, 2)


async def test_check_31_a_value_is_kept_until_the_last_consumer_has_it() -> None:
    made: list[weakref.ref[Heavy]] = []

    async def heavy() -> Heavy:
        value = Heavy()
        made.append(weakref.ref(value))
        return value

    async def early(heavy: Heavy) -> None: ...

    async def late(heavy: Heavy, early: None) -> str:
        return type(heavy).__name__

    assert (await settle(Graph(Task(heavy, retain=False), early, late)))["late"] == "Heavy"


async def test_check_31_in_a_sequence() -> None:
    made: list[weakref.ref[Heavy]] = []

    async def heavy() -> Heavy:
        value = Heavy()
        made.append(weakref.ref(value))
        return value

    async def reads(value: Heavy) -> str:
        return type(value).__name__

    async def end() -> bool:
        return gone(made[0])

    result = await settle(Sequence(Task(heavy, retain=False), reads, end))
    assert result.value == [None, "Heavy", True]


async def test_check_31_consumers_that_fail_or_are_skipped_let_it_go_too() -> None:
    made: list[weakref.ref[Heavy]] = []

    async def heavy() -> Heavy:
        value = Heavy()
        made.append(weakref.ref(value))
        return value

    async def fails(heavy: Heavy) -> None:
        raise ValueError

    async def skipped(fails: None, heavy: Heavy) -> None: ...

    result = await settle(Graph(Task(heavy, retain=False), fails, skipped, on_failure="continue"))
    result.errors[0].__traceback__ = None  # it holds the frames, and they the value
    assert states(result) == {"heavy": "succeeded", "fails": "failed", "skipped": "skipped"}
    assert gone(made[0])


async def test_check_31_a_group_that_is_read_as_one_keeps_its_values() -> None:
    async def reads(group: list[Any]) -> int:
        return len([each for each in group if isinstance(each, Heavy)])

    async def heavy() -> Heavy:
        return Heavy()

    step = Task(heavy, retain=False)
    result = await settle(Graph(Parallel(step, Sequence(step), name="group"), reads))
    assert result["reads"] == 1
    assert (await settle(Sequence(Parallel(step, step), reads)))["reads"] == 2


async def test_check_31_the_events_do_not_hold_it_either() -> None:
    made: list[weakref.ref[Heavy]] = []
    held: list[TaskRecord] = []

    async def heavy() -> Heavy:
        value = Heavy()
        made.append(weakref.ref(value))
        return value

    async def reads(heavy: Heavy) -> int:
        await anyio.lowlevel.checkpoint()
        return 1

    result = await settle(Graph(Task(heavy, retain=False), reads))
    held.extend(result.tasks.values())
    assert len(result.trace) == 6
    assert gone(made[0])


async def test_check_31_a_value_that_nobody_reads_is_kept() -> None:
    async def heavy() -> Heavy:
        return Heavy()

    step = Task(heavy, retain=False)
    assert isinstance((await settle(step)).value, Heavy)
    assert isinstance((await settle(Graph(step)))["heavy"], Heavy)
    assert isinstance((await settle(Sequence(step, free))).value[0], Heavy)


async def test_check_31_values_are_kept_unless_told_otherwise() -> None:
    async def heavy() -> Heavy:
        return Heavy()

    async def reads(heavy: Heavy) -> None: ...

    result = await settle(Graph(heavy, reads))
    assert isinstance(result["heavy"], Heavy)


async def test_check_31_none_is_a_value() -> None:
    async def nothing() -> None: ...

    async def reads(nothing: None) -> str:
        return repr(nothing)

    result = await settle(Graph(nothing, reads))
    assert (result["nothing"], "nothing" in result, result.value) == (None, True, {"nothing": None, "reads": "None"})


# -- 32 ----------------------------------------------------------------------------------------------------------------


def chain(size: int) -> Graph:
    return Graph(*(Task(free, name=f"s{k}", deps=[f"s{k - 1}"] if k else []) for k in range(size)))


SHAPES: dict[str, Callable[[int], Workflow]] = {
    "independent": lambda size: Parallel(*[Task(free)] * size),
    "independent graph": lambda size: Graph(*(Task(free, name=f"s{k}") for k in range(size))),
    "chain": chain,
    "sequence": lambda size: Sequence(*[Task(free)] * size),
    "chain of groups": lambda size: Sequence(*[Parallel(free)] * size),
    "fan out and in": lambda size: Sequence(
        Parallel(*[Task(free)] * (size // 2)), Parallel(*[Task(free)] * (size // 2))
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_check_32_five_thousand_steps(shape: str) -> None:
    with anyio.fail_after(PATIENCE):
        result = await orch.run(SHAPES[shape](5_000))
    check(result)  # without the plan: that lists 2 500 x 2 500 dependencies of the last shape

    assert (result.state, len(result.tasks)) == (State.SUCCEEDED, 5_000)
    assert len(result.trace) == 2 + 2 * 5_000


async def test_check_32_five_thousand_that_suspend_are_all_asleep_at_once() -> None:
    asleep = 0
    awake = anyio.Event()

    async def step() -> None:
        nonlocal asleep
        asleep += 1
        if asleep == 5_000:
            awake.set()
        await awake.wait()

    result = await settle(Parallel(*[Task(step)] * 5_000))
    assert result.state is State.SUCCEEDED


async def test_check_32_a_chain_of_five_thousand_plain_functions() -> None:
    def add(x: int) -> int:
        return x + 1

    assert (await settle(Sequence(*[Task(add, thread=False)] * 5_000), x=0)).value[-1] == 5_000
    assert (await settle(Sequence(*[Task(add)] * 500), x=0)).value[-1] == 500


@pytest.mark.parametrize("shape", SHAPES)
async def test_check_32_time_grows_with_the_number_of_steps_and_not_faster(shape: str) -> None:
    """Eight times the steps in less than thirty times the time: a quadratic run would need sixty-four."""
    small, large = [orch.plan.compile(SHAPES[shape](size)) for size in (1_000, 8_000)]
    runner = AsyncRunner()

    async def seconds(plan: orch.plan.Plan) -> float:
        best = float("inf")
        for _ in range(3):
            begin = time.thread_time()  # what neighbours do on the machine is no cost of ours
            with anyio.fail_after(PATIENCE):
                await runner.run(plan)
            best = min(best, time.thread_time() - begin)
        return best

    assert await seconds(large) < 30 * await seconds(small) + 0.01

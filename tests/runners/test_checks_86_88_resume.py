"""`resume`: going on with a run from its result. Checks 86 to 88 in memory, 90, 100."""

import copy
import pickle
import threading
from collections.abc import Iterable
from typing import Any

import anyio
import pytest

import orch
from orch import (
    AsyncRunner,
    Context,
    Event,
    Graph,
    Interrupt,
    Parallel,
    RunResult,
    State,
    Task,
    WorkflowError,
)
from orch import Sequence as Row
from orch.errors import DefinitionError, DefinitionMismatchError, UnsupportedError
from orch.event import InterruptEvent, RunEvent, TaskEvent

CALLS: list[str] = []
BROKEN: set[str] = set()


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    CALLS.clear()
    BROKEN.clear()


def called(name: str) -> None:
    CALLS.append(name)
    if name in BROKEN:
        raise ValueError(name)


async def a(start: int = 1) -> int:
    called("a")
    return start


async def b(a: int) -> int:
    called("b")
    return a + 1


async def c(b: int) -> int:
    called("c")
    return b + 1


async def d(a: int) -> int:
    called("d")
    return -a


def ask(a: int) -> str:
    called("ask")
    return f"{a}?"


async def told(ok: Any, d: int) -> tuple[Any, int]:
    called("told")
    return ok, d


CHAIN = Graph(a, b, c, d)
PAPER = Graph(a, Interrupt("ok", ask, type=bool), d, told)


async def run(workflow: Any, /, *given: Any, **options: Any) -> RunResult:
    with anyio.fail_after(10):
        return await orch.run(workflow, *given, raise_on_failure=False, **options)


async def resume(result: RunResult, workflow: Any, /, **options: Any) -> RunResult:
    heard = list[Event]()
    with anyio.fail_after(10):
        again = await AsyncRunner().resume(
            result, workflow, raise_on_failure=False, subscribers=[heard.append], **options
        )
    assert [event.seq for event in again.trace] == list(range(1, len(again.trace) + 1))
    assert [(type(one), one.seq) for one in again.trace] == [(type(one), one.seq) for one in heard]
    return again


def restored(result: RunResult) -> list[str]:
    found = [path for path, record in result.tasks.items() if record.restored]
    assert all(result.tasks[path].attempts == 0 for path in found)
    events = [each for each in result.trace if isinstance(each, TaskEvent) and each.restored]
    assert sorted(each.path for each in events) == sorted(found)
    assert all(each.state is State.SUCCEEDED and each.attempt == 0 and not each.cached for each in events)
    return found


def forms(result: RunResult) -> Iterable[RunResult]:
    """A result as it is, copied and pickled."""
    return result, copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))


# -- what is done again ------------------------------------------------------------------------------------------------


async def test_check_86_a_failed_run_is_resumed_as_a_new_one() -> None:
    BROKEN.add("b")
    failed = await run(CHAIN, start=5)
    assert (failed.state, failed.tasks["a"].state) == (State.FAILED, State.SUCCEEDED)
    BROKEN.clear()
    for each in forms(failed):
        CALLS.clear()
        again = await resume(each, CHAIN)
        assert again.state is State.SUCCEEDED
        assert again.value == {"a": 5, "b": 6, "c": 7, "d": -5}
        assert again.run_id != failed.run_id
        assert again.parent == failed.run_id
        assert restored(again) == [path for path, record in failed.tasks.items() if record.state is State.SUCCEEDED]
        assert sorted(CALLS) == sorted({"a", "b", "c", "d"}.difference(restored(again)))


async def test_check_86_it_may_fail_again_and_be_resumed_as_often_as_asked() -> None:
    BROKEN.update("bc")
    first = await run(CHAIN)
    BROKEN.remove("b")
    second = await resume(first, CHAIN)
    assert (second.state, second.tasks["c"].error.args) == (State.FAILED, ("c",))  # type: ignore[union-attr]
    BROKEN.clear()
    CALLS.clear()
    third = await resume(second, CHAIN)
    fourth = await resume(second, CHAIN)
    assert (third.value, fourth.value) == ({"a": 1, "b": 2, "c": 3, "d": -1},) * 2
    assert (third.parent, fourth.parent) == (second.run_id,) * 2
    assert set(CALLS) <= {"c", "d"}


async def test_a_resumed_run_raises_like_any_other() -> None:
    BROKEN.add("b")
    failed = await run(CHAIN)
    with pytest.raises(WorkflowError) as caught:
        await AsyncRunner().resume(failed, CHAIN)
    assert caught.value.result.parent == failed.run_id


async def test_check_86_a_cancelled_run_is_resumed() -> None:
    go = anyio.Event()

    async def waits(a: int) -> int:
        await go.wait()
        return a

    graph = Graph(a, waits)
    async with AsyncRunner().iter(graph) as running:
        async for event in running:
            if isinstance(event, TaskEvent) and event.path == "waits":
                running.cancel()
    go.set()
    again = await resume(running.result, graph)
    assert (again.value, again.parent, restored(again)) == ({"a": 1, "waits": 1}, running.run_id, ["a"])


async def test_check_86_a_paused_run_goes_on_under_its_own_id() -> None:
    paused = await run(PAPER, start=3)
    for each in forms(paused):
        CALLS.clear()
        again = await resume(each, PAPER, answers={"ok": True})
        assert (again.run_id, again.parent, again.pauses) == (paused.run_id, None, ())
        assert (again["told"], CALLS) == ((True, -3), ["told"])
        assert restored(again) == ["a", "ok", "d"]


async def test_check_100_d17_the_question_is_not_made_again() -> None:
    paused = await run(PAPER)
    assert CALLS.count("ask") == 1
    still = await resume(paused, PAPER)
    assert (still.state, still.run_id, still.pauses) == (State.PAUSED, paused.run_id, paused.pauses)
    assert [each.question for each in still.trace if isinstance(each, InterruptEvent)] == ["1?"]
    assert (still.tasks["ok"].attempts, CALLS.count("ask")) == (1, 1)
    done = await resume(still, PAPER, handlers={"ok": lambda question: question == "1?"})
    assert (done["told"], CALLS.count("ask")) == ((True, -1), 1)


async def test_a_resumed_run_may_pause_at_the_next_question() -> None:
    steps = Row(Interrupt("one", "1?"), Interrupt("two", lambda one: f"{one}, 2?"), Interrupt("three"))
    first = await run(steps)
    second = await resume(first, steps, answers={"one": "yes"})
    assert [(each.name, each.question) for each in second.pauses] == [("two", "yes, 2?")]
    third = await resume(pickle.loads(pickle.dumps(second)), steps, answers={"two": "no"})
    assert [each.name for each in third.pauses] == ["three"]
    last = await resume(third, steps, answers={"three": 3})
    assert (last.value, {first.run_id, second.run_id, third.run_id}) == (["yes", "no", 3], {last.run_id})


async def test_several_answers_by_name_and_by_path() -> None:
    two = Parallel(Parallel(Interrupt("x"), name="in"), Interrupt("y"))
    paused = await run(two)
    assert (await resume(paused, two, answers={"in/x": 1, "y": 2})).value == [[1], 2]
    assert (await resume(paused, two, answers={"x": 1})).pauses == paused.pauses[1:]


async def test_what_failed_beside_a_question_is_tried_again() -> None:
    group = Parallel(Interrupt("q"), Task(a), on_failure="continue")
    BROKEN.add("a")
    paused = await run(group)
    assert (paused.state, len(paused.errors)) == (State.PAUSED, 1)
    BROKEN.clear()
    done = await resume(paused, group, answers={"q": 0})
    assert (done.state, done.value, done.run_id, done.errors) == (State.SUCCEEDED, [0, 1], paused.run_id, ())


async def test_a_succeeded_run_is_restored_as_a_whole() -> None:
    done = await run(CHAIN)
    CALLS.clear()
    again = await resume(done, CHAIN)
    assert (again.state, again.value, again.parent, CALLS) == (State.SUCCEEDED, done.value, done.run_id, [])
    assert isinstance(again.trace[-1], RunEvent)


async def test_order_of_restored_steps_is_that_of_their_ends() -> None:
    slow = anyio.Event()

    async def late() -> None:
        await slow.wait()

    async def early() -> None:
        slow.set()

    both = Row(Parallel(late, early), Interrupt("q"))
    again = await resume(await run(both), both)
    events = [each.path for each in again.trace if isinstance(each, TaskEvent) and each.restored]
    assert events == ["parallel/early", "parallel/late"]


# -- from a step on ----------------------------------------------------------------------------------------------------


async def test_check_87_a_step_and_all_behind_it_run_again() -> None:
    done = await run(CHAIN)
    for from_ in ("b", ["b"], ("b", "c")):
        CALLS.clear()
        again = await resume(done, CHAIN, from_=from_)
        assert (CALLS, again.value, restored(again)) == (["b", "c"], done.value, ["a", "d"])


async def test_check_87_all_that_comes_later_in_a_sequence_is_behind_it() -> None:
    row = Row(
        Task(called, "one", name="one"), Parallel(Task(called, "two", name="two"), name="in"), on_failure="continue"
    )
    done = await run(row)
    CALLS.clear()
    await resume(done, row, from_="one")
    assert CALLS == ["one", "two"]
    CALLS.clear()
    for name in ("in", "in/two", "two"):
        await resume(done, row, from_=[name])
    assert CALLS == ["two"] * 3


async def test_check_87_unknown_names_are_refused() -> None:
    done = await run(CHAIN)
    CALLS.clear()
    for from_, error, words in (
        ("bb", DefinitionError, "from_: there is no step 'bb'; did you mean 'b'"),
        (["zzzzz"], DefinitionError, "there are: 'a', 'b', 'c', 'd'"),
        ([b], TypeError, "from_: expected str, found function"),
    ):
        with pytest.raises(error, match="from_") as caught:
            await resume(done, CHAIN, from_=from_)
        assert words in str(caught.value)
    assert CALLS == []


async def test_an_open_question_behind_it_is_made_again() -> None:
    paused = await run(PAPER)
    again = await resume(paused, PAPER, from_="a")
    assert (again.state, CALLS.count("ask")) == (State.PAUSED, 2)
    with pytest.raises(LookupError, match="'ok' is not asked yet"):
        await resume(paused, PAPER, from_="a", answers={"ok": True})


async def test_an_answered_question_is_asked_again() -> None:
    paused = await run(PAPER)
    done = await resume(paused, PAPER, answers={"ok": True})
    again = await resume(done, PAPER, from_="ok")
    assert (again.state, again.parent, [each.name for each in again.pauses]) == (State.PAUSED, done.run_id, ["ok"])


# -- values that were let go -------------------------------------------------------------------------------------------


async def test_check_88_the_producer_of_a_released_value_runs_again() -> None:
    graph = Graph(a, Task(b, retain=False), c, d)
    done = await run(graph)
    assert "b" not in done.value
    for each in forms(done):
        CALLS.clear()
        again = await resume(each, graph, from_="c")
        assert (CALLS, again["c"], restored(again)) == (["b", "c"], 3, ["a", "d"])


async def test_check_88_and_the_producers_of_what_it_needs() -> None:
    graph = Graph(Task(a, retain=False), Task(b, retain=False), c)
    done = await run(graph, start=4)
    CALLS.clear()
    again = await resume(done, graph, from_="c")
    assert (CALLS, again["c"]) == (["a", "b", "c"], 6)
    CALLS.clear()
    kept = await resume(done, graph)
    assert (CALLS, kept.value, "a" in kept, "b" in kept) == ([], {"c": 6}, False, False)
    assert kept.tasks["a"].value is None


async def test_check_88_nobody_runs_for_a_question_that_is_kept() -> None:
    graph = Graph(Task(a, retain=False), Interrupt("ok", ask), lambda ok: ok)
    paused = await run(graph)
    CALLS.clear()
    done = await resume(paused, graph, answers={"ok": 1})
    assert (CALLS, done["ok"]) == ([], 1)
    assert (await resume(paused, graph)).state is State.PAUSED
    assert CALLS == []


# -- what must not be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        ({"ok": "yes"}, TypeError, "the answer to 'ok' ('1?'): expected bool, found str ('yes')"),
        ({"okk": True}, LookupError, "there is no question 'okk'; did you mean 'ok'?; open: 'ok'"),
        ({"a": True}, LookupError, "step 'a' is no Interrupt; open: 'ok'"),
        ({"ok": True, "later": 1}, LookupError, "the question 'later' is not asked yet; open: 'ok'"),
        ({"before": 1}, ValueError, "the question 'before' is answered already; open: 'ok'"),
        ([True], TypeError, "answers: expected Mapping"),
        ({1: True}, TypeError, "expected str"),
    ],
)
async def test_wrong_answers_are_refused_before_anything_runs(answers: Any, error: type, words: str) -> None:
    later = Interrupt("later", deps=["told"])
    graph = Graph(a, Interrupt("before"), Interrupt("ok", ask, type=bool, deps=["before"]), d, told, later)
    paused = await run(graph, handlers={"before": lambda _: None})
    CALLS.clear()
    with pytest.raises(error) as caught:
        await resume(paused, graph, answers=answers)
    assert words in str(caught.value)
    assert CALLS == []


async def test_check_90_a_changed_definition_is_refused_with_what_changed() -> None:
    done = await run(CHAIN)
    for changed, fields in (
        (Graph(a, b, c), {"removed": ("d",)}),
        (Graph(a, b, c, d, Interrupt("e")), {"added": ("e",)}),
        (Graph(a, b, Task(c, deps=["d"]), d), {"changed": ("c",)}),
        (Graph(a, b, Interrupt("c", lambda b: b), d), {"changed": ("c",)}),
        (Graph(a, b, Row(c, name="c"), d), {"added": ("c", "c/c"), "removed": ("c",)}),
        (
            Graph(Task(a, name="first", output="a"), b, c, d),
            {"added": ("first",), "removed": ("a",), "changed": ("b", "d")},
        ),
    ):
        with pytest.raises(DefinitionMismatchError) as caught:
            await resume(done, changed)
        error = caught.value
        expected = {"added": (), "removed": (), "changed": ()} | fields
        assert {"added": error.added, "removed": error.removed, "changed": error.changed} == expected
        assert error.run_id == done.run_id
    same = Graph(a, b, c, Task(d, timeout=5, retry=orch.Retry(2)))
    assert (await resume(done, orch.plan.compile(same))).value == done.value


async def test_ids_need_a_store_and_other_things_are_no_runs() -> None:
    with pytest.raises(UnsupportedError, match="run 'r1': runs are found by their id in a store, and there is none"):
        await AsyncRunner().resume("r1", CHAIN)
    with pytest.raises(TypeError, match="run: expected RunResult, found dict"):
        await AsyncRunner().resume({}, CHAIN)  # type: ignore[arg-type]


async def test_inputs_that_cannot_be_pickled_are_missed_when_resumed() -> None:
    lock = threading.Lock()

    async def holds(lock: Any) -> str:
        called("holds")
        return type(lock).__name__

    done = await run(holds, lock=lock)
    assert (await resume(done, holds, from_="holds")).value == "lock"
    travelled = pickle.loads(pickle.dumps(done))
    assert travelled.value == "lock"
    with pytest.raises(UnsupportedError, match="could not be pickled with its result"):
        await resume(travelled, holds, from_="holds")


# -- inputs, context, selection, runner --------------------------------------------------------------------------------


async def test_inputs_are_those_of_the_run_and_defaults_stay_defaults() -> None:
    def first(start: int = 1) -> int:
        return start

    def second(start: int = 2) -> int:
        return start

    graph = Graph(first, second, Interrupt("q"))
    assert (await resume(await run(graph), graph, answers={"q": 0})).value == {"first": 1, "second": 2, "q": 0}
    paused = await run(graph, start=3)
    assert (await resume(paused, graph, from_=["first"], answers={"q": 0}))["first"] == 3


async def test_the_context_is_that_of_the_run_unless_another_is_given() -> None:
    def step(q: int, context: Context[list[int]]) -> tuple[list[int], str | None, bool]:
        context.data.append(q)
        return context.data, context.run_id, "q" in context.completed_steps

    graph, data = Graph(Interrupt("q"), step), list[int]()
    paused = await run(graph, Context(data))
    done = await resume(paused, graph, answers={"q": 1})
    assert done["step"] == ([1], paused.run_id, True)
    assert done["step"][0] is data is done.context.data
    assert (await resume(paused, graph, answers={"q": 2}, context=Context([0])))["step"][0] == [0, 2]
    assert (await resume(pickle.loads(pickle.dumps(paused)), graph, answers={"q": 3}))["step"][0] == [1, 3]


async def test_a_selection_stays_the_selection() -> None:
    graph = Graph(a, Interrupt("ok", ask), Interrupt("other"), told, d)
    paused = await run(graph, select=["told"])
    assert [each.name for each in paused.pauses] == ["ok"]
    for each in forms(paused):
        done = await resume(each, graph, answers={"ok": 1})
        assert (done.value, "other" in done.tasks) == ({"told": (1, -1)}, False)
    again = await resume(await resume(paused, graph, answers={"ok": 1}), graph, from_="told")
    assert again.value == {"told": (1, -1)}


async def test_handlers_answer_later_questions() -> None:
    row = Row(Interrupt("one"), Interrupt("two"))
    done = await resume(await run(row), row, answers={"one": 1}, handlers={"two": lambda _: 2})
    assert done.value == [1, 2]
    with pytest.raises(DefinitionError, match="no question 'three'"):
        await resume(await run(row), row, handlers={"three": str})


# -- groups ------------------------------------------------------------------------------------------------------------


def undoable(name: str, undone: list[Any], *deps: str) -> Task[..., Any]:
    async def does(start: int = 0) -> str:
        called(name)
        return f"{name}{start}"

    return Task(does, name=name, compensate=lambda value, start: undone.append((value, start)), deps=deps)


@pytest.mark.parametrize("is_pickled", [False, True])
async def test_restored_steps_are_undone_when_the_resumed_run_fails(is_pickled: bool) -> None:
    undone = list[Any]()
    q = Interrupt("q", deps=["one", "two"])
    steps = [undoable("one", undone), undoable("two", undone, "one"), q, undoable("three", undone, "q")]
    last = Task(called, "last", name="last", deps=["three"])
    graph = Graph(*steps, last, on_failure="compensate")
    paused = await run(graph, start=7)
    BROKEN.add("last")
    failed = await resume(pickle.loads(pickle.dumps(paused)) if is_pickled else paused, graph, answers={"q": 0})
    assert (failed.state, undone) == (State.FAILED, [("three7", 7), ("two7", 7), ("one7", 7)])
    assert {path: record.state.value for path, record in failed.tasks.items()} == {
        "one": "compensated",
        "two": "compensated",
        "q": "succeeded",
        "three": "compensated",
        "last": "failed",
    }
    BROKEN.clear()
    CALLS.clear()
    done = await resume(failed, graph)  # what was undone is done again
    assert (done.state, sorted(CALLS), restored(done)) == (State.SUCCEEDED, ["last", "one", "three", "two"], ["q"])


@pytest.mark.parametrize("is_pickled", [False, True])
async def test_a_restored_step_is_undone_with_arguments_that_were_let_go(is_pickled: bool) -> None:
    undone = list[Any]()
    made = Task(b, compensate=lambda value, a: undone.append((value, a)))
    row = Row(Task(a, retain=False), made, Interrupt("q"), Task(called, "last", name="last"), on_failure="compensate")
    paused = await run(row, start=3)
    BROKEN.add("last")
    await resume(pickle.loads(pickle.dumps(paused)) if is_pickled else paused, row, answers={"q": 0})
    assert (undone, CALLS) == ([(4, 3)], ["a", "b", "last"])


async def test_a_restored_step_is_undone_with_the_value_of_a_group() -> None:
    undone = list[Any]()

    async def total(parts: list[int]) -> int:
        return sum(parts)

    made = Task(total, compensate=lambda value, parts: undone.append((value, parts)))
    last = Task(called, "last", name="last", deps=["q"])
    graph = Graph(Parallel(a, Task(a, name="a2"), name="parts"), made, Interrupt("q"), last, on_failure="compensate")
    paused = await run(graph, start=2)
    BROKEN.add("last")
    await resume(paused, graph, answers={"q": 0})
    assert undone == [(4, [2, 2])]


async def test_a_restored_step_is_undone_with_the_resources_that_it_had_used() -> None:
    log, undone = list[str](), list[Any]()

    @orch.resource
    async def database() -> Any:
        log.append("open")
        yield f"db {log.count('open')}"
        log.append("close")

    async def writes(start: int = 1, connection: str = orch.use(database)) -> str:
        return f"{start} to {connection}"

    def deletes(value: str, start: int, connection: str = orch.use(database)) -> None:
        undone.append((value, start, connection))

    row = Row(
        Task(writes, compensate=deletes), Interrupt("q"), Task(called, "last", name="last"), on_failure="compensate"
    )
    paused = await run(row, start=3)
    BROKEN.add("last")
    await resume(paused, row, answers={"q": 0})
    assert (undone, log) == ([("3 to db 1", 3, "db 2")], ["open", "close", "open", "close"])


@pytest.mark.parametrize("strategy", ["abort", "continue", "compensate"])
async def test_restored_steps_count_as_successes_of_their_group(strategy: str) -> None:
    inner = Row(a, Interrupt("q"), name="inner", on_failure=strategy)
    outer = Row(inner, lambda inner: inner, on_failure=strategy)
    done = await resume(await run(outer), outer, answers={"q": 2})
    assert (done.state, done.value) == (State.SUCCEEDED, [[1, 2], [1, 2]])
    assert done.groups["inner"].state is State.SUCCEEDED


async def test_groups_with_breakers_and_timeouts_begin_anew() -> None:
    breaker = orch.CircuitBreaker("b", fail_max=1)
    inner = Row(a, Interrupt("q"), Task(called, "last", name="last"), name="inner", breaker=breaker, timeout=60)
    paused = await run(Row(inner))
    assert breaker.state == "closed"
    BROKEN.add("last")
    failed = await resume(paused, Row(inner), answers={"q": 2})
    assert (failed.state, breaker.state) == (State.FAILED, "open")


async def test_streams_maps_and_cached_steps_are_restored_like_others() -> None:
    async def words() -> Any:
        for word in ("one", "two"):
            called(word)
            yield word

    async def shout(word: str) -> str:
        called(f"shout {word}")
        return word.upper()

    async def keeps() -> str:
        called("keeps")
        return "kept"

    shouted = orch.Map(Task(shout), over="word", name="shouted").bind(word=["a", "b"])
    graph = Graph(words, shouted, Task(keeps, cache=True), Interrupt("q"))
    runner = AsyncRunner(cache=orch.MemoryCache())
    await runner.run(graph)
    paused = await runner.run(graph)
    assert paused.tasks["keeps"].cached
    for each in forms(paused):
        CALLS.clear()
        done = await runner.resume(each, graph, answers={"q": 1})
        assert done.value == {"words": ["one", "two"], "shouted": ["A", "B"], "keeps": "kept", "q": 1}
        assert (CALLS, done.tasks["keeps"].restored, done.tasks["keeps"].cached) == ([], True, False)


async def test_an_empty_group_and_a_lone_interrupt() -> None:
    empty = await run(Parallel())
    assert (await resume(empty, Parallel())).value == []
    lone = Interrupt("n", "N?", type=int)
    paused = await run(lone)
    assert (await resume(paused, lone, answers={"n": 4})).value == 4


@pytest.mark.parametrize("order", ["abc", "cab", "bca"])
async def test_d18_answers_are_given_in_every_order(order: str) -> None:
    graph = Graph(*(Interrupt(name) for name in "abc"))
    result = await run(graph)
    for name in order:
        result = await resume(result, graph, answers={name: name})
    assert (result.value, result.state) == ({"a": "a", "b": "b", "c": "c"}, State.SUCCEEDED)

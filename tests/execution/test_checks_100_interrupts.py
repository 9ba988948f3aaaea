"""Steps that ask: handlers, `respond`, and runs that end PAUSED. Check 100, D18, D19."""

import threading
from collections.abc import Callable
from itertools import permutations
from typing import Any, Literal

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

import orch
import orch.testing
from orch import AsyncRunner, Context, Event, Graph, Interrupt, Parallel, Sequence, State, Task, WorkflowError
from orch.errors import DefinitionError, UnsupportedError
from orch.event import InterruptEvent, RunEvent, TaskEvent
from orch.runners import GraphRun
from tests.runners.iterated import Stand, events_of, until

PATIENCE = 10
NUMBER = Interrupt("n", type=int)


def draft(topic: str = "tea") -> str:
    return f"a draft on {topic}"


def ask(draft: str) -> str:
    return f"publish {draft}?"


async def publish(draft: str, approve: Any) -> tuple[str, Any]:
    return draft, approve


async def nothing() -> None: ...


async def fails() -> None:
    raise ValueError("no")


def draft_of_two(one: str, two: str) -> None: ...


def draft_by_name(*, question: str) -> None: ...


def paper(question: Any = ask, **options: Any) -> Graph:
    return Graph(draft, Interrupt("approve", question, **options), publish)


def gist(trace: Any, *paths: str) -> list[Any]:
    """Events of the run and of some steps, as few words."""
    said = list[Any]()
    for event in trace:
        if isinstance(event, RunEvent):
            said.append(event.state.value)
        elif isinstance(event, TaskEvent) and (not paths or event.path in paths):
            said.append((event.path, event.state.value, event.attempt))
        elif isinstance(event, InterruptEvent):
            said.append((event.path, event.question))
    return said


async def run(workflow: Any, /, **options: Any) -> orch.RunResult:
    with anyio.fail_after(PATIENCE):
        return await orch.run(workflow, **options)


# -- handlers ----------------------------------------------------------------------------------------------------------


async def test_check_100_a_handler_takes_the_question_and_gives_the_answer() -> None:
    asked = list[Any]()

    def approve(question: str) -> bool:
        asked.append((question, threading.current_thread() is loop))
        return True

    loop = threading.current_thread()
    result = await run(paper(type=bool), handlers={"approve": approve})
    assert asked == [("publish a draft on tea?", False)]
    assert result["publish"] == ("a draft on tea", True)
    assert gist(result.trace, "approve") == [
        "running",
        ("approve", "running", 1),
        ("approve", "paused", 1),
        ("approve", "publish a draft on tea?"),
        ("approve", "succeeded", 1),
        "succeeded",
    ]
    assert (result.tasks["approve"].attempts, result.pauses, result.parent) == (1, (), None)


async def test_check_100_an_async_handler_is_awaited_on_the_loop() -> None:
    here = list[bool]()

    async def approve(question: str) -> str:
        await anyio.lowlevel.checkpoint()
        here.append(threading.current_thread() is loop)
        return question.upper()

    loop = threading.current_thread()
    result = await run(paper("fine"), handlers={"approve": approve})
    assert (result["approve"], here) == ("FINE", [True])


async def test_what_a_plain_handler_returns_is_awaited_if_it_can_be() -> None:
    async def later() -> int:
        return 7

    assert (await run(NUMBER, handlers={"n": lambda _: later()})).value == 7


@pytest.mark.parametrize("colour", ["plain", "async"])
async def test_a_handler_that_raises_fails_the_step(colour: str) -> None:
    async def raising(_: str) -> None:
        raise LookupError("nobody there")

    def raises(_: str) -> None:
        raise LookupError("nobody there")

    with pytest.raises(WorkflowError) as caught:
        await run(paper(), handlers={"approve": raising if colour == "async" else raises})
    result = caught.value.result
    (error,) = caught.value.exceptions
    assert (type(error), error.__notes__) == (LookupError, ["in task 'approve', attempt 1"])
    assert gist(result.trace, "approve", "publish")[1:] == [
        ("approve", "running", 1),
        ("approve", "paused", 1),
        ("approve", "publish a draft on tea?"),
        ("approve", "running", 1),
        ("approve", "failed", 1),
        ("publish", "skipped", 0),
        "failed",
    ]
    assert result.tasks["approve"].attempts == 1


async def test_a_handler_whose_answer_does_not_fit_fails_the_step() -> None:
    with pytest.raises(WorkflowError) as caught:
        await run(paper(type=bool), handlers={"approve": lambda _: "yes"})
    (error,) = caught.value.exceptions
    assert isinstance(error, TypeError)
    assert str(error) == "the answer to 'approve' ('publish a draft on tea?'): expected bool, found str ('yes')"


async def test_handlers_by_path_go_before_handlers_by_name() -> None:
    twice = Sequence(Parallel(Interrupt("ok"), name="one"), Parallel(Interrupt("ok"), name="two"))
    handlers: dict[str, Callable[[Any], Any]] = {"two/ok": lambda _: "by path", "ok": lambda _: "by name"}
    assert (await run(twice, handlers=handlers)).value == [["by name"], ["by path"]]


@pytest.mark.parametrize(
    ("handlers", "error", "words"),
    [
        ({"aprove": print}, DefinitionError, "no question 'aprove'; did you mean 'approve'?"),
        ({"draft": print}, DefinitionError, "'draft' is no Interrupt"),
        ({"approve": "yes"}, TypeError, "handlers['approve']: expected a function of the question, found 'yes'"),
        ({1: print}, TypeError, "handlers: expected str"),
        ({"approve": draft_of_two}, TypeError, "handlers['approve']: expected a function of the question"),
        ({"approve": nothing}, TypeError, "handlers['approve']: expected a function of the question"),
        ({"approve": draft_by_name}, TypeError, "handlers['approve']: expected a function of the question"),
        (print, TypeError, "handlers: expected Mapping"),
    ],
)
async def test_wrong_handlers_are_refused_before_anything_runs(handlers: Any, error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        await run(Graph(Task(pytest.fail, "it ran", name="draft"), Interrupt("approve")), handlers=handlers)
    assert words in str(caught.value)


async def test_handlers_are_those_of_what_is_selected() -> None:
    graph = Graph(Interrupt("a"), Interrupt("b"))
    assert (await run(graph, select="a", handlers={"a": str})).value == {"a": "None"}
    with pytest.raises(DefinitionError, match="no question 'b'"):
        await run(graph, select="a", handlers={"b": str})


async def test_a_handler_that_interrupts_ends_the_run() -> None:
    async def leaves(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await run(paper(), handlers={"approve": leaves})


async def test_a_question_takes_no_slot_while_a_handler_is_at_work() -> None:
    entered, go = anyio.Event(), anyio.Event()

    async def slow(_: object) -> int:
        entered.set()
        await go.wait()
        return 1

    async def lets_go() -> None:
        await entered.wait()
        go.set()

    result = await AsyncRunner(limit=1).run(Parallel(Interrupt("a"), lets_go), handlers={"a": slow})
    assert result.value == [1, None]


async def test_a_handler_runs_in_a_copy_of_the_context_variables_of_the_run() -> None:
    with anyio.CancelScope():
        result = await run(
            Sequence(Interrupt("a"), Interrupt("b")), handlers=dict.fromkeys("ab", lambda _: threading.get_ident())
        )
    assert threading.get_ident() not in result.value


def each() -> Graph:
    """What is done for an item: a question about it, inside a group, and what comes of the answer."""
    return Graph(Parallel(Interrupt("ok", lambda x: f"{x}?"), name="in"), lambda ok: f"{ok}", name="each")


@pytest.mark.parametrize("name", ["ok", "in/ok"])
@pytest.mark.parametrize("colour", ["plain", "async"])
async def test_handlers_answer_questions_in_the_items_of_a_map(name: str, colour: str) -> None:
    async def awaits(question: str) -> str:
        await anyio.lowlevel.checkpoint()
        return question.upper()

    handlers: dict[str, Any] = {name: awaits if colour == "async" else str.upper}
    mapped = Graph(orch.Map(each(), over="x", name="xs", limit=2), Interrupt("last", "really?"))
    with pytest.raises(DefinitionError, match="no question 'las'; did you mean 'last'"):
        await run(mapped, x=["a", "b"], handlers=handlers | {"las": str})
    result = await run(mapped, x=["a", "b", "c"], handlers=handlers | {"last": str})
    assert [each["lambda"] for each in result["xs"]] == ["A?", "B?", "C?"]
    assert result["last"] == "really?"
    nested = orch.Map(orch.Map(each(), over="x", name="xs"), over="x", name="rows")
    result = await run(nested, x=[["a", "b"], ["c"]], handlers=handlers)
    assert [[each["lambda"] for each in row] for row in result.value] == [["A?", "B?"], ["C?"]]


async def test_runner_map_asks_handlers_and_nobody_else() -> None:
    runner = AsyncRunner()
    asked = await runner.map(each(), {"x": ["a", "b"]}, "x", handlers={"ok": str.upper})
    assert [each["lambda"] for each in asked.values] == ["A?", "B?"]
    async with runner.map_iter(each(), {"x": ["a", "b"]}, "x", handlers={"ok": str.upper}) as items:
        assert sorted([(i, result["lambda"]) async for i, result in items]) == [(0, "A?"), (1, "B?")]
    for refused in (
        runner.map(each(), {"x": ["a", "b"]}, "x"),
        run(Graph(orch.Map(each(), over="x", name="xs")), x=["a", "b"]),
        run(Graph(orch.Map(each(), over="x", name="xs"), Interrupt("other")), x=["a", "b"], handlers={"other": str}),
    ):
        with pytest.raises(UnsupportedError, match="the question 'ok' in the items of a map is answered by a handler"):
            await refused


# -- what is asked -----------------------------------------------------------------------------------------------------


async def asks(topic: str = "rain") -> str:
    await anyio.lowlevel.checkpoint()
    return f"about {topic}?"


class Asks:
    def __call__(self, draft: str) -> str:
        return f"so, {draft}?"


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        (None, None),
        ({"a": 1}, {"a": 1}),
        (ask, "publish a draft on tea?"),
        (asks, "about rain?"),
        (Asks(), "so, a draft on tea?"),
        (lambda draft, *, approve_as="ok": (draft, approve_as), ("a draft on tea", "ok")),
    ],
)
async def test_a_question_is_a_value_or_made_by_a_function(question: Any, asked: Any) -> None:
    result = await run(paper(question))
    (pause,) = result.pauses
    assert (pause.path, pause.name, pause.question, pause.type) == ("approve", "approve", asked, Any)


async def test_a_question_is_piped_what_the_step_before_gives() -> None:
    result = await run(Sequence(draft, Interrupt("ok", lambda text: text.upper()), publish_piped), handlers={"ok": len})
    assert result.value == ["a draft on tea", 14, 14]


async def publish_piped(answer: int) -> int:
    return answer


async def test_a_question_may_ask_for_the_context_and_for_inputs() -> None:
    def about(context: Context[str], topic: str) -> tuple[str, str, int]:
        return context.data, topic, context.attempt

    result = await run(Interrupt("a", about), context=Context("c"), topic="t")
    assert result.pauses[0].question == ("c", "t", 1)


async def test_a_plain_function_makes_its_question_in_a_thread() -> None:
    result = await run(Interrupt("a", lambda: threading.current_thread().ident))
    assert result.pauses[0].question != threading.get_ident()


async def test_a_question_that_cannot_be_made_fails_the_step() -> None:
    def broken() -> None:
        raise OSError("no question")

    result = await run(Interrupt("a", broken), raise_on_failure=False)
    assert (result.state, result.pauses) == (State.FAILED, ())
    assert gist(result.trace) == ["running", ("a", "running", 1), ("a", "failed", 1), "failed"]


# -- runs that end PAUSED ----------------------------------------------------------------------------------------------


async def test_check_100_without_a_responder_the_run_ends_paused() -> None:
    heard = list[Event]()
    result = await run(paper(type=bool), subscribers=[heard.append])
    assert (result.state, result.state.is_final, result.errors) == (State.PAUSED, False, ())
    assert gist(heard) == [
        "running",
        ("draft", "running", 1),
        ("draft", "succeeded", 1),
        ("approve", "running", 1),
        ("approve", "paused", 1),
        ("approve", "publish a draft on tea?"),
        "paused",
    ]
    assert heard == list(result.trace)
    (pause,) = result.pauses
    assert (pause.path, pause.question, pause.type) == ("approve", "publish a draft on tea?", bool)
    assert (result.tasks["publish"].state, result.groups[""].state) == (State.PENDING, State.PAUSED)
    assert result.value == {"draft": "a draft on tea"}
    report = result.report()
    assert (report["state"], [each["path"] for each in report["pauses"]]) == ("paused", ["approve"])


@pytest.mark.parametrize("limit", [None, 1])
async def test_everything_else_goes_on_before_the_run_pauses(limit: int | None) -> None:
    done = list[str]()

    def blocking(name: str) -> Task[..., None]:
        return Task(done.append, name, name=name)

    async def waits(n: int) -> None:
        for _ in range(n):
            await anyio.lowlevel.checkpoint()
        done.append(str(n))

    steps = [Interrupt("first"), *(Task(waits, n, name=f"w{n}") for n in (1, 30)), blocking("a"), blocking("b")]
    result = await AsyncRunner(limit=limit).run(Parallel(*steps, Interrupt("last")))
    assert (result.state, sorted(done)) == (State.PAUSED, ["1", "30", "a", "b"])
    assert [pause.name for pause in result.pauses] == ["first", "last"]


async def test_a_thread_that_ends_last_lets_the_run_pause() -> None:
    go = threading.Event()

    def slow() -> None:
        go.wait(PATIENCE)

    async def lets_go() -> None:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        go.set()

    result = await run(Parallel(Interrupt("a"), slow, lets_go))
    assert (result.state, result.tasks["slow"].state) == (State.PAUSED, State.SUCCEEDED)


async def test_a_step_that_waits_for_its_next_attempt_keeps_the_run_from_pausing() -> None:
    calls = list[int]()

    async def flaky() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OSError

    again = Task(flaky, retry=orch.Retry(3, delay=0.001))
    result = await run(Parallel(Interrupt("a"), again))
    assert (result.state, len(calls)) == (State.PAUSED, 3)


@pytest.mark.parametrize("ends", ["in time", "late"])
async def test_a_body_that_outlives_its_step_is_waited_for_as_long_as_the_grace_says(ends: str) -> None:
    go = threading.Event()

    def lasts() -> None:
        go.wait(PATIENCE)

    async def lets_go() -> None:
        await anyio.sleep(0.03)
        if ends == "in time":
            go.set()

    group = Parallel(Interrupt("a"), Task(lasts, timeout=0.01), lets_go, on_failure="continue")
    try:
        with anyio.fail_after(PATIENCE / 2):
            result = await AsyncRunner(grace=PATIENCE if ends == "in time" else 0.01).run(group)
    finally:
        go.set()
    assert (result.state, result.tasks["lasts"].state, result.trace[-1].state) == (  # type: ignore[attr-defined]
        State.PAUSED,
        State.FAILED,
        State.PAUSED,
    )
    assert [each.path for each in result.abandoned] == (["lasts"] if ends == "late" else [])


async def test_a_body_that_was_given_up_does_not_keep_the_run_from_pausing() -> None:
    go, entered = threading.Event(), threading.Event()

    def deaf() -> None:
        entered.set()
        go.wait(PATIENCE)

    async def fails_later() -> None:
        while not entered.is_set():  # noqa: ASYNC110 (a thread sets it)
            await anyio.sleep(0.001)
        raise ValueError("no")

    group = Parallel(Interrupt("a"), Parallel(deaf, fails_later, name="in"), on_failure="continue")
    try:
        with anyio.fail_after(PATIENCE / 2):
            result = await AsyncRunner(grace=0.01).run(group)
    finally:
        go.set()
    assert (result.state, [each.path for each in result.abandoned]) == (State.PAUSED, ["in/deaf"])


async def test_resources_are_closed_when_a_run_pauses_and_opened_anew_when_it_goes_on() -> None:
    log = list[str]()

    @orch.resource
    async def database() -> Any:
        log.append("open")
        yield "db"
        log.append("close")

    async def reads(connection: str = orch.use(database)) -> None:
        log.append(f"reads {connection}")

    async def writes(approve: Any, connection: str = orch.use(database)) -> None:
        log.append(f"writes {approve}")

    graph = Graph(reads, Interrupt("approve", deps=["reads"]), writes)
    paused = await run(graph)
    assert (paused.state, log) == (State.PAUSED, ["open", "reads db", "close"])
    await AsyncRunner().resume(paused, graph, answers={"approve": 1})
    assert log[3:] == ["open", "writes 1", "close"]


async def test_a_paused_run_undoes_nothing() -> None:
    undone = list[str]()
    made = Task(draft, compensate=undone.append)
    result = await run(Sequence(made, Interrupt("a"), on_failure="compensate"))
    assert (result.state, undone) == (State.PAUSED, [])
    assert result.tasks["draft"].state is State.SUCCEEDED


async def test_a_compensation_elsewhere_is_made_before_the_run_pauses() -> None:
    undone = list[str]()

    async def slowly(value: str) -> None:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        undone.append(value)

    inner = Sequence(Task(draft, compensate=slowly), fails, on_failure="compensate", name="inner")
    result = await run(Parallel(Interrupt("a"), inner, on_failure="continue"))
    assert (result.state, undone, len(result.errors)) == (State.PAUSED, ["a draft on tea"], 1)
    assert result.groups["inner"].state is State.FAILED


async def test_a_failure_beside_an_open_question_is_no_end_under_continue() -> None:
    result = await run(Parallel(Interrupt("a"), fails, on_failure="continue"))
    assert (result.state, result.tasks["fails"].state) == (State.PAUSED, State.FAILED)
    assert [type(error) for error in result.errors] == [ValueError]
    result.raise_for_failure()  # it may still go well


@pytest.mark.parametrize("strategy", ["abort", "compensate"])
@pytest.mark.parametrize("is_nested", [False, True])
async def test_a_failure_beside_an_open_question_cancels_it(strategy: str, is_nested: bool) -> None:
    undone = list[Any]()
    question = Parallel(Interrupt("a"), name="in") if is_nested else Interrupt("a")
    go = anyio.Event()

    async def fails_later() -> None:
        await go.wait()
        raise ValueError("no")

    group = Parallel(Task(draft, compensate=undone.append), question, fails_later, on_failure=strategy)
    async with AsyncRunner().iter(group, raise_on_failure=False) as running:
        async for event in running:
            if isinstance(event, InterruptEvent):
                go.set()
    record = running.result.tasks["a"]
    assert (running.result.state, record.state, record.reason, record.cause) == (
        State.FAILED,
        State.CANCELLED,
        "aborted",
        "fails_later",
    )
    assert undone == (["a draft on tea"] if strategy == "compensate" else [])
    assert running.result.pauses == ()


@pytest.mark.parametrize("strategy", ["abort", "continue", "compensate"])
async def test_a_question_in_nested_groups_is_answered_whatever_their_strategy(strategy: str) -> None:
    inner = Sequence(Interrupt("a", "A?"), publish_piped, on_failure=strategy, name="inner")
    outer = Parallel(inner, nothing, on_failure=strategy, limit=1)
    assert (await run(outer)).state is State.PAUSED
    async with AsyncRunner().iter(outer) as running:
        async for event in running:
            if isinstance(event, InterruptEvent):
                running.respond(3)
    assert running.result.value == [[3, 3], None]


async def test_the_time_of_a_group_goes_on_while_somebody_may_answer() -> None:
    slow = Sequence(Interrupt("a"), nothing, timeout=0.01)
    async with AsyncRunner().iter(slow, raise_on_failure=False) as running:
        await events_of(running)
    record = running.result.tasks["a"]
    assert (running.result.state, record.state, record.reason) == (State.FAILED, State.CANCELLED, "timed_out")


async def test_a_paused_run_does_not_wait_for_the_time_of_its_groups() -> None:
    assert (await run(Sequence(Interrupt("a"), timeout=3600))).state is State.PAUSED


async def test_a_definition_with_questions_runs_twice_at_once() -> None:
    """Check 9."""
    graph, results = paper(), list[orch.RunResult]()

    async def one(answer: str) -> None:
        results.append(await run(graph, handlers={"approve": lambda _: answer}))

    async with anyio.create_task_group() as group:
        group.start_soon(one, "x")
        group.start_soon(one, "y")
    assert sorted(result["approve"] for result in results) == ["x", "y"]


# -- respond -----------------------------------------------------------------------------------------------------------


async def test_check_100_respond_answers_a_pending_interrupt() -> None:
    async with AsyncRunner().iter(paper(type=bool)) as running:
        seen = list[Event]()
        async for event in running:
            seen.append(event)
            if isinstance(event, InterruptEvent):
                assert [pause.name for pause in running.pauses] == ["approve"]
                running.respond({"approve": True})
                assert running.pauses == ()
    assert running.result["publish"] == ("a draft on tea", True)
    assert gist(seen)[-5:] == [
        ("approve", "publish a draft on tea?"),
        ("approve", "succeeded", 1),
        ("publish", "running", 1),
        ("publish", "succeeded", 1),
        "succeeded",
    ]


@pytest.mark.parametrize("order", list(permutations("abc")))
async def test_d18_several_questions_are_answered_in_any_order(order: tuple[str, ...]) -> None:
    graph = Graph(*(Interrupt(name, f"{name}?") for name in "abc"), lambda a, b, c: (a, b, c))
    async with AsyncRunner().iter(graph) as running:
        await until(running, "c", "paused")
        for name in order:
            running.respond({name: name.upper()})
        await events_of(running)
    assert running.result["lambda"] == ("A", "B", "C")


async def test_d18_several_answers_are_given_at_once_or_none() -> None:
    two = Parallel(Interrupt("a", type=int), Interrupt("b", type=int))
    async with AsyncRunner().iter(two) as running:
        await until(running, "b", "paused")
        with pytest.raises(TypeError):
            running.respond({"a": 1, "b": "x"})
        assert [pause.name for pause in running.pauses] == ["a", "b"]
        running.respond({"a": 1, "b": 2})
        await running.wait()
    assert running.result.value == [1, 2]


async def test_d18_wrong_answers_say_what_is_open_and_change_nothing() -> None:
    graph = Graph(Interrupt("a", "A?", type=Literal["x", "y"]), Interrupt("b", deps=["a"]), Interrupt("c"), nothing)
    async with AsyncRunner().iter(graph) as running:
        await until(running, "c", "paused")
        for answer, error, words in (
            ("x", ValueError, "2 questions are open, say which one is answered, {name: answer}: 'a', 'c'"),
            ({"a": "z"}, ValueError, "the answer to 'a' ('A?'): expected 'x' or 'y', found str ('z')"),
            ({"a": 1}, TypeError, "expected 'x' or 'y', found int (1)"),
            ({"b": 1}, LookupError, "the question 'b' is not asked yet; open: 'a', 'c'"),
            ({"nothing": 1}, LookupError, "step 'nothing' is no Interrupt; open: 'a', 'c'"),
            ({"aa": 1}, LookupError, "there is no question 'aa'; did you mean 'a'?; open: 'a', 'c'"),
            ({1: 1}, TypeError, "expected str"),
        ):
            with pytest.raises(error) as caught:
                running.respond(answer)
            assert words in str(caught.value)
        running.respond({"a": "x"})
        with pytest.raises(ValueError, match="'a' is answered already; open: 'c'"):
            running.respond({"a": "y"})
        running.respond({"c": {"an answer": "of keys"}})
        await until(running, "b", "paused")
        running.respond(None)
        await events_of(running)
    assert running.result.value == {"a": "x", "b": None, "c": {"an answer": "of keys"}, "nothing": None}


async def test_an_answer_by_a_name_that_several_open_questions_have_is_refused() -> None:
    twice = Parallel(Parallel(Interrupt("ok"), name="in"), Parallel(Interrupt("ok"), name="on"))
    async with AsyncRunner().iter(twice) as running:
        await until(running, "on/ok", "paused")
        with pytest.raises(
            ValueError, match="2 open questions are called 'ok', say which by its path: 'in/ok', 'on/ok'"
        ):
            running.respond({"ok": 1})
        running.respond({"in/ok": 2})
        running.respond({"ok": 1})
        await events_of(running)
    assert running.result.value == [[2], [1]]


async def test_two_names_of_one_question_are_two_answers() -> None:
    async with AsyncRunner().iter(Parallel(Parallel(Interrupt("ok"), name="in"))) as running:
        await until(running, "in/ok", "paused")
        with pytest.raises(ValueError, match="two answers to one question"):
            running.respond({"ok": 1, "in/ok": 2})


async def test_questions_of_handlers_are_not_open_to_others() -> None:
    stand = Stand()

    async def slow(_: object) -> str:
        return await stand()

    async with AsyncRunner().iter(Interrupt("a"), handlers={"a": slow}) as running:
        await stand.entered.wait()
        assert running.pauses == ()
        with pytest.raises(LookupError, match="no question is open"):
            running.respond(1)
        with pytest.raises(LookupError, match="answered by its handler"):
            running.respond({"a": 1})
        stand.let_go.set()
        await events_of(running)
    assert running.result.value == "stand"


async def test_respond_before_and_after_the_run() -> None:
    running = AsyncRunner().iter(Interrupt("a"))
    with pytest.raises(RuntimeError, match="not begun"):
        running.respond(1)
    async with running:
        result = await running.wait()
        with pytest.raises(LookupError, match="the run is over"):
            running.respond(1)
    assert result.state is State.PAUSED
    with pytest.raises(LookupError, match=r"the run is over, and takes no answer any more; runner\.resume"):
        await anyio.to_thread.run_sync(running.respond, 1)


async def test_respond_from_a_thread() -> None:
    async with AsyncRunner().iter(Interrupt("a", type=int)) as running:
        async for event in running:
            if isinstance(event, InterruptEvent):
                with pytest.raises(TypeError):
                    await anyio.to_thread.run_sync(running.respond, "x")
                await anyio.to_thread.run_sync(running.respond, 5)
    assert running.result.value == 5


async def test_a_run_without_questions_says_so() -> None:
    stand = Stand()
    async with AsyncRunner().iter(stand) as running:
        await stand.entered.wait()
        with pytest.raises(LookupError, match="no question is open: the workflow has no interrupt"):
            running.respond(1)


# -- who waits for whom ------------------------------------------------------------------------------------------------


async def test_check_100_waiting_without_reading_never_deadlocks() -> None:
    with anyio.fail_after(PATIENCE):
        async with AsyncRunner().iter(paper()) as running:
            result = await running.wait()
    assert (result.state, running.result.state) == (State.PAUSED, State.PAUSED)
    assert [pause.name for pause in result.pauses] == ["approve"]


async def test_waiting_after_reading_a_part_never_deadlocks() -> None:
    with anyio.fail_after(PATIENCE):
        async with AsyncRunner().iter(paper()) as running:
            await until(running, "approve", "paused")
            assert (await running.wait()).state is State.PAUSED
            assert gist(await events_of(running))[-1] == "paused"


async def test_a_question_waits_while_somebody_iterates() -> None:
    answered, results = anyio.Event(), list[orch.RunResult]()

    async def waits(running: GraphRun) -> None:
        results.append(await running.wait())

    async with AsyncRunner().iter(paper()) as running, anyio.create_task_group() as group:
        async for event in running:
            if isinstance(event, RunEvent) and event.state is State.RUNNING:
                group.start_soon(waits, running)
            if isinstance(event, InterruptEvent):
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
                answered.set()
                running.respond("in the end")
    assert [result["approve"] for result in results] == ["in the end"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_question_that_nobody_can_answer_is_a_deadlock_in_virtual_time(backend: Any) -> None:
    async def main() -> None:
        async with AsyncRunner(clock=orch.testing.VirtualClock()).iter(Interrupt("a")) as running:
            await events_of(running)

    with pytest.raises(RuntimeError, match=r"deadlock|nothing can happen|wait"):
        orch.testing.run(main, backend=backend)


async def test_who_gives_up_waiting_lets_the_run_wait_again() -> None:
    async with AsyncRunner().iter(Parallel(Interrupt("a"), stand := Stand())) as running:
        with anyio.move_on_after(0.001):
            await running.wait()
        stand.let_go.set()
        await until(running, "stand", "succeeded")
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        running.respond("at last")
        await events_of(running)
    assert running.result.value == ["at last", "stand"]


async def test_leaving_the_block_leaves_a_run_of_questions_paused() -> None:
    async with AsyncRunner().iter(paper()) as running:
        await until(running, "approve", "paused")
    assert (running.result.state, len(running.result.pauses)) == (State.PAUSED, 1)
    assert running.cancel() is False
    assert await anyio.to_thread.run_sync(running.cancel) is False


async def test_an_error_in_the_block_leaves_it_paused_too() -> None:
    running = AsyncRunner().iter(Interrupt("a", type=int))

    async def answers() -> None:
        async with running:
            await until(running, "a", "paused")
            running.respond("x")

    with pytest.raises(TypeError):
        await answers()
    assert running.result.state is State.PAUSED


async def test_leaving_the_block_cancels_a_run_in_which_more_goes_on() -> None:
    stand = Stand()
    async with AsyncRunner().iter(Parallel(Interrupt("a"), stand)) as running:
        await until(running, "a", "paused")
        await stand.entered.wait()
    assert (running.result.state, running.result.pauses) == (State.CANCELLED, ())
    assert running.result.tasks["a"].reason == "cancelled"


# -- cancelling --------------------------------------------------------------------------------------------------------


async def test_check_64_cancelling_the_caller_cancels_open_questions() -> None:
    with anyio.CancelScope() as scope:
        async with AsyncRunner().iter(paper()) as running:
            await until(running, "approve", "paused")
            scope.cancel()
            await events_of(running)
    record = running.result.tasks["approve"]
    assert (running.result.state, record.state, record.reason) == (State.CANCELLED, State.CANCELLED, "cancelled")


async def test_cancelling_the_run_cancels_open_questions_and_compensates() -> None:
    undone = list[str]()
    work = Sequence(Task(draft, compensate=undone.append), Interrupt("a"), on_failure="compensate")
    async with AsyncRunner().iter(work) as running:
        await until(running, "a", "paused")
        assert running.cancel() is True
    assert (running.result.state, undone) == (State.CANCELLED, ["a draft on tea"])


async def test_one_question_can_be_cancelled() -> None:
    graph = Graph(Interrupt("a"), Interrupt("b"), lambda a: a, name="g", on_failure="continue")
    async with AsyncRunner().iter(graph) as running:
        await until(running, "b", "paused")
        assert running.cancel("a") is True
        with pytest.raises(LookupError, match="'a' was given up; open: 'b'"):
            running.respond({"a": 1})
        running.respond(2)
        await events_of(running)
    record = running.result.tasks["a"]
    assert (record.state, record.reason, running.result.tasks["lambda"].state) == (
        State.CANCELLED,
        "requested",
        State.SKIPPED,
    )
    assert (running.result.state, running.result["b"]) == (State.CANCELLED, 2)


@pytest.mark.parametrize("how", ["step", "run", "caller"])
async def test_a_handler_at_work_is_cancelled_with_its_step(how: str) -> None:
    stand = Stand()

    async def slow(_: object) -> str:
        return await stand()

    with anyio.CancelScope() as scope:
        async with AsyncRunner().iter(Parallel(Interrupt("a"), nothing), handlers={"a": slow}) as running:
            await stand.entered.wait()
            if how == "caller":
                scope.cancel()
            else:
                running.cancel(*(["a"] if how == "step" else []))
            await events_of(running)
    record = running.result.tasks["a"]
    assert (record.state, stand.starts, stand.ends) == (State.CANCELLED, 1, 1)
    assert record.reason == ("requested" if how == "step" else "cancelled")


async def test_a_handler_at_work_is_cancelled_by_a_failure_beside_it() -> None:
    stand = Stand()

    async def slow(_: object) -> str:
        return await stand()

    async def fails_later() -> None:
        await stand.entered.wait()
        raise ValueError("no")

    result = await run(Parallel(Interrupt("a"), fails_later), handlers={"a": slow}, raise_on_failure=False)
    record = result.tasks["a"]
    assert (record.state, record.reason, record.cause, stand.ends) == (State.CANCELLED, "aborted", "fails_later", 1)


async def test_a_handler_in_a_thread_is_told_to_end() -> None:
    entered = threading.Event()

    def slow(_: object) -> None:
        entered.set()
        while True:
            anyio.from_thread.check_cancelled()

    async def fails_later() -> None:
        while not entered.is_set():  # noqa: ASYNC110 (a thread sets it)
            await anyio.sleep(0.001)
        raise ValueError("no")

    result = await run(Parallel(Interrupt("a"), fails_later), handlers={"a": slow}, raise_on_failure=False)
    assert (result.tasks["a"].state, result.abandoned) == (State.CANCELLED, ())


async def test_a_handler_in_a_thread_that_does_not_end_is_abandoned() -> None:
    entered, go = threading.Event(), threading.Event()

    def deaf(_: object) -> None:
        entered.set()
        go.wait(PATIENCE)

    async def fails_later() -> None:
        while not entered.is_set():  # noqa: ASYNC110 (a thread sets it)
            await anyio.sleep(0.001)
        raise ValueError("no")

    try:
        runner = AsyncRunner(grace=0.01)
        result = await runner.run(Parallel(Interrupt("a"), fails_later), handlers={"a": deaf}, raise_on_failure=False)
        assert (result.tasks["a"].state, [each.path for each in result.abandoned]) == (State.CANCELLED, ["a"])
    finally:
        go.set()


async def test_d19_an_answer_and_a_cancellation_in_one_moment_have_one_outcome() -> None:
    async with AsyncRunner().iter(Interrupt("a")) as running:
        await until(running, "a", "paused")
        running.respond(1)
        assert running.cancel() is False
        await events_of(running)
    assert (running.result.state, running.result.value) == (State.SUCCEEDED, 1)
    async with AsyncRunner().iter(Interrupt("a")) as running:
        await until(running, "a", "paused")
        assert running.cancel() is True
        with pytest.raises(LookupError):
            running.respond(1)
    assert running.result.state is State.CANCELLED

"""`Runner.iter` and `Runner.resume`: events, questions and going on, for callers that are not async."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import Graph, Interrupt, Parallel, Runner, RunResult, Sequence, State, Task, WorkflowError
from orch.errors import DefinitionError, UnsupportedError
from orch.event import InterruptEvent, RunEvent, TaskEvent
from orch.runners import BlockingRun
from tests.runners.test_sync_runner import LOOPS

PATIENCE = 10


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop", "trio"])
def loop(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param  # type: ignore[no-any-return]


def draft() -> str:
    return "a draft"


async def publish(draft: str, approve: Any) -> tuple[str, Any]:
    await anyio.lowlevel.checkpoint()
    return draft, approve


async def stands() -> None:
    await anyio.sleep_forever()


def fails() -> None:
    raise ValueError("no")


PAPER = Graph(draft, Interrupt("approve", lambda draft: f"{draft}?", type=bool), publish)


def test_check_100_events_come_in_order_and_respond_answers(loop: dict[str, Any]) -> None:
    with Runner(**loop).iter(PAPER) as run:
        seen = list[Any]()
        for event in run:
            seen.append(event)
            if isinstance(event, InterruptEvent):
                assert [pause.question for pause in run.pauses] == ["a draft?"]
                with pytest.raises(TypeError):
                    run.respond("yes")
                run.respond({"approve": True})
    assert run.result["publish"] == ("a draft", True)
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert (seen, run.run_id, run.dropped) == (list(run.result.trace), run.result.run_id, 0)


def test_many_events_come_in_few_hops(loop: dict[str, Any]) -> None:
    async def step() -> int:
        return 1

    with Runner(**loop).iter(Parallel([Task(step)] * 2_000)) as run:
        assert [event.seq for event in run] == list(range(1, 4_003))
    assert run.result.state is State.SUCCEEDED


def test_check_100_waiting_without_reading_never_deadlocks(loop: dict[str, Any]) -> None:
    with Runner(**loop).iter(PAPER) as run:
        result = run.wait()
        assert (result.state, run.wait() is result) == (State.PAUSED, True)
    with Runner(**loop).iter(PAPER) as run:
        for event in run:
            if isinstance(event, InterruptEvent):
                break
        assert run.wait().state is State.PAUSED
        assert [event.state for event in run if isinstance(event, RunEvent)] == [State.PAUSED]


def test_check_100_a_paused_run_is_resumed_with_the_answer(loop: dict[str, Any]) -> None:
    runner = Runner(**loop)
    paused = runner.run(PAPER)
    assert paused.state is State.PAUSED
    done = runner.resume(paused, PAPER, answers={"approve": False})
    assert (done["publish"], done.run_id) == (("a draft", False), paused.run_id)
    assert runner.resume(done, PAPER, from_="publish").parent == done.run_id
    assert runner.run(PAPER, handlers={"approve": lambda _: True})["approve"] is True
    with pytest.raises(ValueError, match="'approve' is answered already"):
        runner.resume(done, PAPER, answers={"approve": True})


def test_check_100_leaving_early_cancels_and_settles_the_run(loop: dict[str, Any]) -> None:
    with Runner(**loop).iter(Parallel(stands, draft)) as run:
        for event in run:
            if isinstance(event, TaskEvent) and event.state is State.SUCCEEDED:
                break
    assert {path: record.state for path, record in run.result.tasks.items()} == {
        "stands": State.CANCELLED,
        "draft": State.SUCCEEDED,
    }
    assert run.cancel() is False


def test_leaving_leaves_a_run_of_questions_paused(loop: dict[str, Any]) -> None:
    with Runner(**loop).iter(PAPER) as run:
        for event in run:
            if isinstance(event, InterruptEvent):
                break
    assert (run.result.state, run.cancel()) == (State.PAUSED, False)
    with pytest.raises(LookupError, match="is over"):
        run.respond("x")


def test_cancel_a_step_and_a_run(loop: dict[str, Any]) -> None:
    with Runner(**loop).iter(Parallel(stands, draft)) as run:
        for event in run:
            if isinstance(event, TaskEvent) and event.path == "stands" and event.state is State.RUNNING:
                assert run.cancel("stands") is True
    assert (run.result.state, run.result.tasks["stands"].reason) == (State.CANCELLED, "requested")
    with Runner(**loop).iter(stands) as run:
        next(run)
        assert run.cancel() is True
        assert run.wait().state is State.CANCELLED


def test_respond_and_cancel_from_another_thread(loop: dict[str, Any]) -> None:
    with Runner(**loop).iter(PAPER) as run:
        for event in run:
            if isinstance(event, InterruptEvent):
                thread = threading.Thread(target=run.respond, args=(True,))
                thread.start()
                thread.join()
    assert run.result.state is State.SUCCEEDED


def test_a_failed_run_raises_when_the_block_is_left(loop: dict[str, Any]) -> None:
    run = Runner(**loop).iter(fails)

    def read() -> None:
        with run:
            list(run)

    with pytest.raises(WorkflowError) as caught:
        read()
    assert caught.value.result is run.result
    with Runner(**loop).iter(fails, raise_on_failure=False) as run:
        list(run)
    assert run.result.state is State.FAILED


def test_an_error_in_the_block_goes_before_a_failure(loop: dict[str, Any]) -> None:
    run = Runner(**loop).iter(Parallel(stands, draft))

    def leave() -> None:
        with run:
            next(run)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        leave()
    assert run.result.state is State.CANCELLED


def test_ctrl_c_in_the_loop_settles_the_run(loop: dict[str, Any]) -> None:
    ended = list[str]()

    async def tidy() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("tidy")

    run = Runner(**loop).iter(tidy)

    def interrupted() -> None:
        with run:
            for event in run:
                if isinstance(event, TaskEvent):
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (run.result.state, ended) == (State.CANCELLED, ["tidy"])


def test_ctrl_c_while_waiting_for_events_settles_the_run(loop: dict[str, Any]) -> None:
    main, ended = threading.main_thread().ident, list[str]()

    async def presses() -> None:
        try:
            await anyio.lowlevel.checkpoint()
            signal.pthread_kill(main or 0, signal.SIGINT)
            await anyio.sleep_forever()
        finally:
            ended.append("presses")

    run = Runner(**loop).iter(presses)

    def interrupted() -> None:
        with run:
            list(run)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (run.result.state, ended) == (State.CANCELLED, ["presses"])


def test_no_thread_is_left(loop: dict[str, Any]) -> None:
    with Runner(**loop).iter(PAPER) as run:
        next(run)
        names = {thread.name for thread in threading.enumerate()}
    assert "orch-runner" in names
    assert "orch-runner" not in {thread.name for thread in threading.enumerate()}


def test_before_the_block_after_it_and_twice(loop: dict[str, Any]) -> None:
    run = Runner(**loop).iter(draft)
    for use in (
        lambda: next(run),
        run.wait,
        run.cancel,
        lambda: run.result,
        lambda: run.respond(1),
        lambda: run.run_id,
    ):
        with pytest.raises(RuntimeError, match="has not begun"):
            use()
    with run:
        with pytest.raises(RuntimeError, match="the run is not over"):
            _ = run.result
        with pytest.raises(RuntimeError, match="has begun already"):
            run.__enter__()
        run.wait()
    with pytest.raises(RuntimeError, match=r"result\.trace has them all"):
        next(run)
    with pytest.raises(RuntimeError, match="has begun already"):
        run.__enter__()


def test_what_is_wrong_is_said_at_once(loop: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        Runner(**loop).iter(Graph(draft, Task(publish, deps=["x"])))
    with pytest.raises(orch.errors.InputError), Runner(**loop).iter(draft, nope=1):
        pytest.fail("it ran")


def test_a_resource_of_the_runner_is_closed_with_the_block(loop: dict[str, Any]) -> None:
    log = list[str]()

    @orch.resource(scope="runner")
    async def database() -> Any:
        log.append("open")
        yield "db"
        log.append("close")

    async def reads(connection: str = orch.use(database)) -> str:
        log.append(connection)
        return connection

    with Runner(**loop).iter(reads) as run:
        assert run.wait().value == "db"
    assert log == ["open", "db", "close"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_verb_refuses_a_running_event_loop(backend: str) -> None:
    paused = Runner().run(PAPER)

    async def inside() -> None:
        runner = Runner()
        calls: dict[str, Callable[[], object]] = {
            "run": lambda: runner.run(draft),
            "iter": lambda: runner.iter(draft),
            "resume": lambda: runner.resume(paused, PAPER),
        }
        for verb, call in calls.items():
            with pytest.raises(UnsupportedError, match=f"Runner.{verb} called inside a running event loop") as caught:
                call()
            assert "AsyncRunner" in str(caught.value)

    anyio.run(inside, backend=backend)


async def asks() -> str:
    return "?"


async def answers(_: object) -> int:
    return 1


@pytest.mark.parametrize(
    ("workflow", "options", "named"),
    [
        (Graph(draft, publish, Interrupt("approve")), {}, "'publish'"),
        (Interrupt("q", asks), {}, "'q'"),
        (Interrupt("q"), {"handlers": {"q": answers}}, "'handler of q'"),
    ],
)
def test_strict_refuses_coroutine_functions_in_every_verb(workflow: Any, options: Any, named: str) -> None:
    strict, paused = Runner(strict=True), Runner().run(workflow)
    for call in (
        lambda: strict.run(workflow, **options),
        lambda: strict.iter(workflow, **options),
        lambda: strict.resume(paused, workflow, **options),
    ):
        with pytest.raises(UnsupportedError, match=f"takes plain functions only; coroutine functions: {named}"):
            call()


def test_strict_takes_plain_questions_and_handlers() -> None:
    work = Sequence(draft, Interrupt("q", lambda text: text))
    result: RunResult = Runner(strict=True).run(work, handlers={"q": len})
    assert result.value == ["a draft", 7]
    with Runner(strict=True).iter(work) as run:
        assert isinstance(run, BlockingRun)
        assert run.wait().pauses[0].question == "a draft"

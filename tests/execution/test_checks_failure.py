"""Checks 38 to 43: what a group does when a step fails. Check 25 in test_checks_groups.py is about the same."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import (
    AsyncRunner,
    Context,
    Event,
    FailureStrategy,
    Graph,
    Parallel,
    Runner,
    Sequence,
    State,
    Task,
    Workflow,
    WorkflowError,
)
from orch.event import TaskEvent
from tests.runners.truth import PATIENCE, check, settle, states, told

KINDS = ["coroutine", "suspended", "thread", "in place"]


def step(kind: str, name: str, do: Callable[[], Any]) -> Task[..., Any]:
    """Make a step that does something, as one of four kinds."""

    async def coroutine() -> Any:
        if kind == "suspended":
            await anyio.lowlevel.checkpoint()
        return do()

    def plain() -> Any:
        return do()

    fn: Any = plain if kind in {"thread", "in place"} else coroutine
    return Task(fn, name=name, thread=False if kind == "in place" else None)


def failing(error: BaseException, name: str = "fail", kind: str = "coroutine") -> Task[..., Any]:
    def do() -> None:
        raise error

    return step(kind, name, do)


def giving(value: Any, name: str) -> Task[..., Any]:
    return step("coroutine", name, lambda: value)


async def forever() -> None:
    await anyio.sleep_forever()


async def when_all_wait() -> None:
    await anyio.wait_all_tasks_blocked()
    raise ValueError("early")


# -- 38: ABORT ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["abort", FailureStrategy.ABORT, None], ids=str)
@pytest.mark.parametrize("kind", [Parallel, Graph])
async def test_check_38_abort_cancels_what_runs_and_skips_the_rest(kind: Any, strategy: Any) -> None:
    options = {} if strategy is None else {"on_failure": strategy}
    workflow = kind(
        giving(1, "done"),
        Task(forever, name="running"),
        Task(when_all_wait, name="fails"),
        Sequence(Task(forever, name="inside"), giving(2, "behind"), name="s"),
        Task(forever, name="dependent", deps=["fails"] if kind is Graph else []),
        **options,
    )
    result = await settle(workflow)

    assert states(result) == {
        "done": "succeeded",
        "running": "cancelled",
        "fails": "failed",
        "s/inside": "cancelled",
        "s/behind": "skipped",
        "dependent": "skipped" if kind is Graph else "cancelled",
    }
    skipped = result.tasks["s/behind"]
    assert (skipped.reason, skipped.cause, skipped.attempts) == ("aborted", "fails", 0)
    assert (result.state, [type(error) for error in result.errors]) == (State.FAILED, [ValueError])
    assert all(record.state is not State.COMPENSATED for record in result.tasks.values())
    assert result.groups["s"].state is State.CANCELLED


async def test_check_38_a_dependent_of_the_failed_step_is_aborted_like_the_rest() -> None:
    graph = Graph(failing(ValueError(), "a"), Task(forever, name="b", deps=["a"]), Task(forever, name="c", deps=["b"]))
    result = await settle(graph)

    assert states(result) == {"a": "failed", "b": "skipped", "c": "skipped"}
    assert {each.cause for each in result.tasks.values() if each.reason} == {"a"}


async def test_check_38_only_the_group_of_the_failure_is_aborted_at_first() -> None:
    """The inner group is over before the outer one reacts; what runs in the outer one is cancelled then."""
    inner = Sequence(Task(when_all_wait, name="fail"), giving(1, "next"), name="inner")
    result = await settle(Parallel(inner, forever))

    assert states(result) == {"inner/fail": "failed", "inner/next": "skipped", "forever": "cancelled"}
    assert result.tasks["inner/next"].cause == "inner/fail"
    assert told(result.trace)[-4:] == ["inner/fail failed", "inner/next skipped", "forever cancelled", "failed"]


async def test_check_38_a_plain_function_in_a_thread_is_waited_for() -> None:
    """Nobody can end a thread; the step ends when its function does, and how it did."""
    go = threading.Event()

    def release(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.state is State.FAILED:
            go.set()

    def in_thread() -> str:
        assert go.wait(PATIENCE)
        return "done"

    workflow = Sequence(Parallel(in_thread, when_all_wait), giving(1, "behind"))
    result = await settle(workflow, subscribers=[release])
    assert states(result) == {
        "parallel/in_thread": "succeeded",
        "parallel/when_all_wait": "failed",
        "behind": "skipped",
    }
    assert result["in_thread"] == "done"


async def test_check_38_a_thread_that_does_not_end_within_the_grace_is_abandoned() -> None:
    go, ended = threading.Event(), threading.Event()

    def in_thread() -> str:
        go.wait(PATIENCE)
        ended.set()
        return "too late"

    result = await settle(Parallel(in_thread, when_all_wait), runner=AsyncRunner(grace=0))
    assert states(result) == {"in_thread": "cancelled", "when_all_wait": "failed"}
    assert [record.path for record in result.abandoned] == ["in_thread"]
    go.set()
    await anyio.to_thread.run_sync(ended.wait, PATIENCE)
    assert result.tasks["in_thread"].value is None


async def test_check_38_a_later_run_is_not_affected() -> None:
    workflow = Parallel(forever, when_all_wait)
    for _ in range(3):
        assert states(await settle(workflow)) == {"forever": "cancelled", "when_all_wait": "failed"}


@pytest.mark.parametrize("kind", KINDS)
async def test_check_38_many_running_siblings_are_all_cancelled(kind: str) -> None:
    asleep = 0

    async def sleeper() -> None:
        nonlocal asleep
        asleep += 1
        await anyio.sleep_forever()

    async def watch() -> None:
        while asleep < 500:
            await anyio.lowlevel.checkpoint()

    workflow = Parallel(*[sleeper] * 500, Sequence(watch, failing(ValueError(), kind=kind), name="s"))
    result = await settle(workflow)
    assert list(states(result).values()).count("cancelled") == 500
    assert result.tasks["s/fail"].state is State.FAILED


# -- 39: CONTINUE in a Sequence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_check_39_the_next_steps_run_and_errors_are_collected_in_order(kind: str) -> None:
    errors = [ValueError("second"), KeyError("fourth")]
    workflow = Sequence(
        giving(1, "a"), failing(errors[0], "b", kind), giving(3, "c"), failing(errors[1], "d", kind), giving(5, "e"),
        on_failure="continue",
    )  # fmt: skip
    result = await settle(workflow)

    assert list(states(result).values()) == ["succeeded", "failed", "succeeded", "failed", "succeeded"]
    assert (result.state, result.errors, result.value) == (State.FAILED, tuple(errors), [1, None, 3, None, 5])


async def test_check_39_without_errors_it_has_succeeded() -> None:
    result = await settle(Sequence(giving(1, "a"), giving(2, "b"), on_failure=FailureStrategy.CONTINUE))
    assert (result.state, result.errors, result.value) == (State.SUCCEEDED, (), [1, 2])


async def test_check_39_a_step_that_takes_the_value_of_a_failed_one_is_skipped_and_the_next_goes_on() -> None:
    async def takes(value: Any) -> Any:
        return value

    workflow = Sequence(
        failing(ValueError(), "a"), Task(takes, name="b"), Task(takes, name="c"), giving(4, "d"), Task(takes, name="e"),
        on_failure="continue",
    )  # fmt: skip
    result = await settle(workflow)

    assert states(result) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "succeeded", "e": "succeeded"}
    assert {(each.reason, each.cause) for each in result.tasks.values() if each.reason} == {("upstream_failed", "a")}
    assert result.value == [None, None, None, 4, 4]


@pytest.mark.parametrize("group", [Parallel, Graph, Sequence])
async def test_check_39_a_failed_group_does_not_stop_the_next_step(group: Any) -> None:
    inner = group(failing(ValueError()), giving(1, "one"), name="inner", on_failure="continue")
    result = await settle(Sequence(inner, giving(2, "two"), on_failure="continue"))

    assert states(result) == {"inner/fail": "failed", "inner/one": "succeeded", "two": "succeeded"}
    assert result.value == [{"one": 1} if group is Graph else [None, 1], 2]


async def test_check_39_a_dependency_of_an_earlier_step_that_failed_is_a_need() -> None:
    workflow = Sequence(
        failing(ValueError(), "a"), giving(2, "b"), giving(3, "c").evolve(deps=["a"]),
        giving(4, "d").evolve(deps=["b"]), on_failure="continue",
    )  # fmt: skip

    assert list(states(await settle(workflow)).values()) == ["failed", "succeeded", "skipped", "succeeded"]


# -- 40: CONTINUE in a Graph -------------------------------------------------------------------------------------------


async def test_check_40_data_dependents_are_skipped_and_independent_branches_finish() -> None:
    ran: list[str] = []

    def task(name: str, *needs: str) -> Task[..., Any]:
        async def body() -> str:
            ran.append(name)
            await anyio.lowlevel.checkpoint()
            if name == "bad":
                raise ValueError(name)
            return name

        return Task(body, name=name, deps=needs)

    graph = Graph(
        task("root"),
        task("bad", "root"),
        task("child", "bad"),
        task("grandchild", "child"),
        task("mixed", "good", "child"),
        task("good", "root"),
        task("fine", "good"),
        on_failure="continue",
    )
    result = await settle(graph)

    assert sorted(ran) == ["bad", "fine", "good", "root"]
    assert states(result) == {
        "root": "succeeded", "bad": "failed", "child": "skipped", "grandchild": "skipped", "mixed": "skipped",
        "good": "succeeded", "fine": "succeeded",
    }  # fmt: skip
    for name in ("child", "grandchild", "mixed"):
        record = result.tasks[name]
        assert (record.reason, record.cause, record.attempts, record.started, record.value) == (
            "upstream_failed", "bad", 0, None, None,
        )  # fmt: skip
    assert result.value == dict(result.outputs) == {"root": "root", "good": "good", "fine": "fine"}
    with pytest.raises(KeyError, match="task 'child' has no value: it is skipped"):
        result["child"]


async def test_check_40_one_skipped_event_each_however_many_parents_failed() -> None:
    graph = Graph(
        failing(ValueError(), "a"), failing(KeyError(), "b"), Task(forever, name="c", deps=["a", "b"]),
        on_failure="continue",
    )  # fmt: skip
    result = await settle(graph)

    assert told(result.trace).count("c skipped") == 1
    assert result.tasks["c"].cause == "a"  # who failed first
    assert [type(error) for error in result.errors] == [ValueError, KeyError]


async def test_check_40_the_blame_goes_to_who_failed_first() -> None:
    b_failed = anyio.Event()

    async def late() -> None:
        await b_failed.wait()
        raise ValueError

    async def early() -> None:
        b_failed.set()
        raise KeyError

    graph = Graph(Task(late, name="a"), Task(early, name="b"), Task(forever, name="c", deps=["a", "b"]),
                  on_failure="continue")  # fmt: skip
    result = await settle(graph)
    assert (result.tasks["c"].cause, [type(error) for error in result.errors]) == ("b", [KeyError, ValueError])


async def test_check_40_dependents_of_a_failed_group_are_skipped() -> None:
    group = Parallel(failing(ValueError()), giving(1, "x"), name="group", on_failure="continue")
    graph = Graph(
        group, Task(forever, name="reader", deps=["group"]), Task(forever, name="next", deps=["reader"]),
        giving(2, "free"), on_failure="continue",
    )  # fmt: skip
    result = await settle(graph)

    assert states(result) == {
        "group/fail": "failed", "group/x": "succeeded", "reader": "skipped", "next": "skipped", "free": "succeeded",
    }  # fmt: skip
    assert {result.tasks[name].reason for name in ("reader", "next")} == {"upstream_failed"}
    assert {result.tasks[name].cause for name in ("reader", "next")} <= {"group", "group/fail"}


# -- 41: however a step raises -----------------------------------------------------------------------------------------


class Raises:
    def __call__(self) -> None:
        raise ValueError


class RaisesLater:
    async def __call__(self) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError


async def raises() -> None:
    raise ValueError


RAISING: dict[str, Any] = {
    "coroutine": raises,
    "object": Raises(),
    "async object": RaisesLater(),
    "def giving a coroutine": lambda: raises(),  # noqa: PLW0108 (the point)
    "wrong call": lambda x: x,
}


@pytest.mark.parametrize("strategy", ["abort", "continue"])
@pytest.mark.parametrize("thread", [None, False], ids=["thread", "in place"])
@pytest.mark.parametrize("how", RAISING)
async def test_check_41_the_strategy_is_applied_alike(how: str, thread: bool | None, strategy: str) -> None:
    fails = Task(RAISING[how], name="fails", thread=thread)
    if how == "wrong call":  # what it takes is not what it says
        fails = Task(_liar(), name="fails", thread=thread)
    result = await settle(Sequence(giving(1, "a"), fails, giving(2, "b"), on_failure=strategy))

    assert states(result) == {
        "a": "succeeded",
        "fails": "failed",
        "b": "skipped" if strategy == "abort" else "succeeded",
    }
    assert [type(error) for error in result.errors] == [TypeError if how == "wrong call" else ValueError]


def _liar() -> Any:
    def fn(x: int) -> int:
        return x

    fn.__signature__ = __import__("inspect").Signature()  # type: ignore[attr-defined]
    return fn


@pytest.mark.parametrize("strategy", ["abort", "continue"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", KINDS)
def test_check_41_the_synchronous_runner_gives_the_same(kind: str, backend: str, strategy: str) -> None:
    workflow = Sequence(giving(1, "a"), failing(ValueError("b"), "b", kind), giving(3, "c"), on_failure=strategy)
    result = Runner(backend=backend).run(workflow, raise_on_failure=False)
    check(result, orch.plan.compile(workflow))

    assert states(result) == {"a": "succeeded", "b": "failed", "c": "skipped" if strategy == "abort" else "succeeded"}
    assert [str(error) for error in result.errors] == ["b"]


# -- 42: nested strategies ---------------------------------------------------------------------------------------------


async def test_check_42_the_inner_strategy_decides_first_and_the_outer_sees_one_failed_step() -> None:
    failures: list[str] = []

    class Watching:
        def on_failure(self, event: TaskEvent, group: Any) -> FailureStrategy:
            failures.append(event.path)
            return FailureStrategy.ABORT

    inner = Sequence(
        failing(ValueError(1), "a"), giving(2, "b"), failing(ValueError(3), "c"), giving(4, "d"),
        name="inner", on_failure="continue",
    )  # fmt: skip
    result = await settle(Sequence(giving(0, "first"), inner, giving(5, "last"), on_failure=Watching()))

    assert states(result) == {
        "first": "succeeded", "inner/a": "failed", "inner/b": "succeeded", "inner/c": "failed", "inner/d": "succeeded",
        "last": "skipped",
    }  # fmt: skip
    assert failures == ["inner"]
    assert [str(error) for error in result.errors] == ["1", "3"]
    assert (result.tasks["last"].reason, result.tasks["last"].cause) == ("aborted", "inner")
    assert (result.groups["inner"].state, result.groups["inner"].error) == (State.FAILED, result.errors[0])


async def test_check_42_an_outer_sibling_goes_on_until_the_inner_group_has_settled() -> None:
    inner_is_over = anyio.Event()

    async def last() -> None:
        await anyio.wait_all_tasks_blocked()
        assert result_of_sibling == []
        inner_is_over.set()

    result_of_sibling: list[str] = []

    async def sibling() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            result_of_sibling.append("over" if inner_is_over.is_set() else "too early")

    inner = Sequence(failing(ValueError()), last, on_failure="continue", name="inner")
    result = await settle(Parallel(sibling, inner))
    assert states(result) == {"sibling": "cancelled", "inner/fail": "failed", "inner/last": "succeeded"}
    assert result_of_sibling == ["over"]


async def test_check_42_abort_inside_continue() -> None:
    inner = Parallel(Task(forever, name="x"), failing(ValueError()), name="inner")
    result = await settle(Sequence(inner, giving(1, "next"), on_failure="continue"))

    assert states(result) == {"inner/x": "cancelled", "inner/fail": "failed", "next": "succeeded"}
    assert (result.state, result.groups["inner"].state) == (State.FAILED, State.FAILED)


@pytest.mark.parametrize("ending", ["cancelled", "swallowed", "failed", "abandoned"])
async def test_check_42_whatever_the_last_step_of_an_aborted_group_does_the_next_one_starts(ending: str) -> None:
    """The failure is answered by one lane, the last step of the group ends in another: somebody must go on."""
    go, over = threading.Event(), threading.Event()

    async def last() -> None:
        try:
            await anyio.sleep_forever()
        except BaseException:
            if ending == "failed":
                raise KeyError from None
            if ending == "cancelled":
                raise

    def last_in_a_thread() -> None:
        go.wait(PATIENCE)
        over.set()

    inner = Parallel(last_in_a_thread if ending == "abandoned" else last, when_all_wait, name="inner")
    workflow = Sequence(inner, giving(1, "next"), lambda: 2, on_failure="continue")
    result = await settle(workflow, runner=AsyncRunner(grace=0))
    go.set()
    assert ending != "abandoned" or await anyio.to_thread.run_sync(over.wait, PATIENCE)
    assert result.value[1:] == [1, 2]
    assert result.state is State.FAILED


async def test_check_42_a_failure_travels_through_every_level_by_its_own_strategy() -> None:
    workflow: Workflow = failing(ValueError())
    for depth in range(6):
        strategy = "continue" if depth % 2 else "abort"
        workflow = Sequence(workflow, giving(depth, f"s{depth}"), on_failure=strategy, name=f"g{depth}")
    result = await settle(workflow)

    by_name = {record.name: record.state.value for record in result.tasks.values()}
    assert by_name == {"fail": "failed"} | {f"s{k}": "succeeded" if k % 2 else "skipped" for k in range(6)}
    assert {group.state for group in result.groups.values()} == {State.FAILED}


# -- strategies of one's own -------------------------------------------------------------------------------------------


class Picky:
    """Goes on after a KeyError, aborts after anything else."""

    def __init__(self) -> None:
        self.seen: list[tuple[TaskEvent, Any]] = []

    def on_failure(self, event: TaskEvent, group: Any) -> FailureStrategy:
        self.seen.append((event, group))
        return FailureStrategy.CONTINUE if isinstance(event.error, KeyError) else FailureStrategy.ABORT


async def test_a_strategy_object_picks_for_each_failure() -> None:
    picky, errors = Picky(), [KeyError(1), ValueError(2)]
    workflow = Sequence(failing(errors[0], "a"), giving(1, "b"), failing(errors[1], "c"), giving(2, "d"),
                        on_failure=picky, name="s")  # fmt: skip
    result = await settle(workflow)

    assert list(states(result).values()) == ["failed", "succeeded", "failed", "skipped"]
    assert [(event.path, event.name, event.state, event.error, event.attempt) for event, _ in picky.seen] == [
        ("a", "a", State.FAILED, errors[0], 1), ("c", "c", State.FAILED, errors[1], 1),
    ]  # fmt: skip
    assert all(group is workflow and event.run_id == result.run_id for event, group in picky.seen)


@pytest.mark.parametrize("answer", [None, "abort", RuntimeError("broken")], ids=str)
async def test_a_strategy_that_fails_aborts_and_is_reported(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def on_failure(self, event: TaskEvent, group: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    error = ValueError("the step's")
    with anyio.fail_after(PATIENCE):
        result = await orch.run(Sequence(failing(error), giving(1, "b"), on_failure=Broken()), raise_on_failure=False)
    assert states(result) == {"fail": "failed", "b": "skipped"}
    assert result.errors[0] is error
    assert "the failure strategy of group 'sequence' failed" in caplog.text


# -- 43: how a failed run is told --------------------------------------------------------------------------------------


async def test_check_43_by_default_an_exception_carries_the_result() -> None:
    error = ValueError("x")
    with anyio.fail_after(PATIENCE), pytest.raises(WorkflowError, match="workflow 'job' failed") as caught:
        await orch.run(Sequence(giving(1, "a"), failing(error, "b"), name="job"))

    assert caught.value.exceptions == (error,)
    assert caught.value.result.state is State.FAILED
    assert caught.value.result["a"] == 1
    assert isinstance(caught.value, orch.OrchError)
    assert isinstance(caught.value, ExceptionGroup)


async def test_check_43_with_raise_on_failure_false_the_result_is_returned() -> None:
    error = ValueError("x")
    result = await orch.run(Sequence(giving(1, "a"), failing(error, "b")), raise_on_failure=False)

    assert (result.state, result.errors) == (State.FAILED, (error,))
    assert result.errors[0] is error
    assert result.tasks["b"].error is error
    with pytest.raises(WorkflowError) as caught:
        result.raise_for_failure()
    assert caught.value.result is result


async def test_check_43_definition_errors_raise_all_the_same() -> None:
    with pytest.raises(orch.DefinitionError):
        await orch.run(Graph(giving(1, "a").evolve(deps=["nobody"])), raise_on_failure=False)
    with pytest.raises(orch.DefinitionError):
        await orch.run(raises, raise_on_failure=False, unknown=1)


async def test_check_43_a_succeeded_run_does_not_raise() -> None:
    result = await orch.run(giving(1, "a"))
    result.raise_for_failure()
    assert (result.state, result.errors, result.value) == (State.SUCCEEDED, (), 1)


async def test_check_43_the_context_is_in_the_result_of_a_failed_run_too() -> None:
    async def writes(context: Context[dict[str, int]]) -> None:
        context.data["n"] = 1
        raise ValueError

    result = await settle(writes, Context({}))
    assert result.context.data == {"n": 1}

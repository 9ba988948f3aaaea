"""Whatever a step raises is the outcome of that step, as the object it is; what is no Exception ends the run, bare."""

import concurrent.futures
import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import attrs
import pytest
import trio
from anyio.lowlevel import checkpoint

import orch
from orch.errors import ForeignCancellationError
from orch.event import RunEvent, State, TaskEvent
from tests.execution.robust import (
    Gate,
    foreign_cancellation,
    immediate,
    on_trio,
    recorded,
    run_quietly,
    until,
    watched,
    within,
)

pytestmark = pytest.mark.timeout(20)
CANCELLED, SUCCEEDED, FAILED, SKIPPED = State.CANCELLED, State.SUCCEEDED, State.FAILED, State.SKIPPED

PLACES = ["at once", "later", "thread", "in place"]


def raising(error: BaseException, place: str, name: str = "raises") -> orch.Task[..., Any]:
    """A step that raises: a coroutine before or behind its first await, or a plain function."""

    async def at_once() -> None:
        raise error

    async def later() -> None:
        await checkpoint()
        raise error

    def plain() -> None:
        raise error

    fn = {"at once": at_once, "later": later}.get(place, plain)
    return orch.Task(fn, name=name, thread=False if place == "in place" else None)


# -- what is no Exception ----------------------------------------------------------------------------------------------


class Abrupt(BaseException):
    """Neither an Exception nor anything Python knows."""


@watched
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, Abrupt])
async def test_it_ends_the_run_and_comes_out_bare(kind: type[BaseException], place: str, watched: str) -> None:
    error = kind("mine")
    workflow = orch.Sequence(immediate(), raising(error, place), immediate(), on_failure="continue")
    with recorded() as story:
        try:
            await orch.run(workflow, subscribers=story.listeners(watched))
        except BaseException as caught:  # noqa: BLE001 (pytest.raises lets some of these kinds pass)
            raised: BaseException | None = caught
        else:
            raised = None
    assert raised is error
    assert story.states() == {"step": SUCCEEDED, "raises": CANCELLED, "step#2": CANCELLED}
    assert story.state() is CANCELLED
    (told,) = [event.error for event in story.trace() if isinstance(event, TaskEvent) and event.error]
    assert told is error


@watched
async def test_it_ends_the_siblings_which_are_cancelled_once_and_can_clean_up(watched: str) -> None:
    begun, cleaned, error = list[int](), list[int](), SystemExit(3)

    async def careful() -> None:
        begun.append(1)
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
            cleaned.append(1)

    async def exits() -> None:
        await until(lambda: len(begun) == 3)
        raise error

    steps = [careful, careful, exits, careful]
    with recorded() as story, pytest.raises(SystemExit) as caught:
        await orch.run(orch.Parallel(*steps), subscribers=story.listeners(watched))
    assert caught.value is error
    assert cleaned == [1, 1, 1]
    assert set(story.states().values()) == {CANCELLED}


async def test_it_does_not_wait_longer_than_the_grace_for_threads() -> None:
    with Gate() as gate, recorded() as story, within(5):

        async def interrupts() -> None:
            await until(lambda: gate.entered)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await orch.AsyncRunner(grace=0.05).run(orch.Parallel(gate, interrupts))
        assert len(story.runs[0].abandoned) == 1


async def test_in_a_run_inside_a_step_it_ends_both_runs() -> None:
    async def outer() -> None:
        await orch.run(orch.Parallel(raising(KeyboardInterrupt(), "later"), immediate()))

    with recorded() as story, pytest.raises(KeyboardInterrupt):
        await orch.run(orch.Parallel(outer, anyio.sleep_forever))
    assert [story.state(0), story.state(1)] == [CANCELLED, CANCELLED]


@watched
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_out_of_a_group_it_comes_bare_too(kind: type[BaseException], depth: int, watched: str) -> None:
    error = kind("mine")

    async def raises_a_group() -> None:
        await checkpoint()
        group: BaseException = error
        for _ in range(depth):
            group = BaseExceptionGroup("a task group of the step's own", [ValueError(), group])
        raise group

    raised: BaseException | None = None
    with recorded() as story:
        try:
            await orch.run(orch.Parallel(raises_a_group, anyio.sleep_forever), subscribers=story.listeners(watched))
        except BaseException as caught:  # noqa: BLE001 (the wrong ones would end the test session)
            raised = caught
    assert raised is error
    assert story.state() is CANCELLED


async def test_it_does_not_wait_longer_than_the_grace_for_subscribers() -> None:
    async def hangs(_: object) -> None:
        await anyio.sleep(3)

    with within(2), pytest.raises(SystemExit):
        await orch.AsyncRunner(grace=0.05).run(raising(SystemExit(), "later"), subscribers=[hangs])


# -- exceptions that Python itself treats in its own way ---------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration, TimeoutError, RuntimeError, OSError])
async def test_it_is_reported_as_itself(kind: type[Exception], place: str) -> None:
    error = kind("mine")
    result = await run_quietly(orch.Sequence(raising(error, place), immediate()))
    assert result.errors == (error,)
    assert result.tasks["raises"].error is error
    assert result.tasks["step"].state is SKIPPED


async def test_an_awaitable_object_that_raises_stop_iteration_fails_as_itself() -> None:
    class Step:
        async def __call__(self) -> None:
            raise StopIteration(5)

    result = await run_quietly(orch.Task(Step(), name="step"))
    assert isinstance(result.errors[0], StopIteration)
    assert result.errors[0].value == 5


@pytest.mark.parametrize("place", PLACES)
async def test_a_runtime_error_with_a_stop_iteration_as_its_cause_is_a_runtime_error(place: str) -> None:
    error = RuntimeError("no more rows")
    error.__cause__ = StopIteration()
    assert (await run_quietly(raising(error, place))).errors == (error,)


# -- hostile exceptions ------------------------------------------------------------------------------------------------


class BrokenTextError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    def __repr__(self) -> str:
        raise ValueError("no text either")


class WrongTextError(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307 (on purpose)

    __repr__ = __str__


@dataclasses.dataclass(frozen=True)
class FrozenDataclassError(Exception):
    number: int = 1


@attrs.frozen
class FrozenAttrsError(Exception):
    number: int = 1


class TupleOfNotesError(Exception):
    __notes__ = ("mine",)  # type: ignore[assignment]


class NoNotesError(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise ValueError("no notes")


class NoAttributesError(Exception):
    def __getattr__(self, name: str) -> Any:
        raise ValueError(f"no {name}")

    def __setattr__(self, name: str, value: object) -> None:
        raise ValueError(f"no {name}")


class IncomparableError(Exception):
    def __eq__(self, other: object) -> bool:
        raise ValueError("no comparison")

    def __bool__(self) -> bool:
        raise ValueError("no truth")

    __hash__ = None  # type: ignore[assignment]


class UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__(lambda: None, "\ud800", b"\xff" * 100_000)


def in_a_circle() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    one.__context__, other.__context__ = other, one
    return one


def many_levels() -> Exception:
    error: Exception = ValueError("innermost")
    for level in range(50):
        error = ExceptionGroup(f"level {level}", [error])
    return error


HOSTILE = [
    BrokenTextError,
    WrongTextError,
    FrozenDataclassError,
    FrozenAttrsError,
    TupleOfNotesError,
    NoNotesError,
    NoAttributesError,
    IncomparableError,
    UnpicklableError,
    in_a_circle,
    many_levels,
]


async def plainly(look: Callable[[], Awaitable[Any]]) -> Any:
    """Keep hostile exceptions away from pytest, which cannot show them: an engine that lets one pass fails in words."""
    try:
        return await look()
    except BaseException as error:  # noqa: BLE001 (it is told below)
        kind = type(error)
    return f"{kind.__name__} came out"


@pytest.mark.parametrize("place", ["at once", "later", "thread"])
@pytest.mark.parametrize("make", HOSTILE)
async def test_a_hostile_exception_is_a_failure_like_any_other(make: Callable[[], Exception], place: str) -> None:
    error = make()

    async def look() -> dict[str, Any]:
        result = await run_quietly(orch.Sequence(raising(error, place), immediate(1), on_failure="continue"))
        return {
            "state": result.state,
            "errors": [each is error for each in result.errors],
            "record": result.tasks["raises"].error is error,
            "value": result.value,
        }

    assert await plainly(look) == {"state": FAILED, "errors": [True], "record": True, "value": [None, 1]}


@pytest.mark.parametrize("make", HOSTILE)
async def test_a_hostile_exception_can_be_told_reported_and_raised(make: Callable[[], Exception]) -> None:
    error, texts = make(), list[str]()

    async def look() -> dict[str, Any]:
        try:
            await orch.run(raising(error, "at once"), subscribers=[lambda event: texts.append(repr(event))])
        except orch.WorkflowError as failure:
            result = failure.result
            return {
                "raised": failure.exceptions[0] is error,
                "events": len(texts),
                "json": json.loads(result.to_json())["state"],
                "texts": "failed" in repr(result) and "raises" in result._repr_html_(),
            }
        return {}

    assert await plainly(look) == {"raised": True, "events": 4, "json": "failed", "texts": True}


async def test_a_strategy_that_raises_a_hostile_exception_aborts() -> None:
    class Strategy:
        def on_failure(self, _event: object, _group: object, /) -> orch.FailureStrategy:
            raise BrokenTextError

    workflow = orch.Sequence(raising(ValueError(), "at once"), immediate(), on_failure=Strategy())
    result = await run_quietly(workflow)
    assert [type(error) for error in result.errors] == [ValueError, BrokenTextError]
    assert result.tasks["step"].state is SKIPPED


async def test_an_exception_object_that_several_steps_raise_is_the_error_of_each() -> None:
    error = ValueError("shared")
    steps = [raising(error, place, place) for place in PLACES]
    result = await run_quietly(orch.Parallel(*steps, on_failure="continue"))
    assert len(result.errors) == 4
    assert all(each is error for each in result.errors)


# -- several at once ---------------------------------------------------------------------------------------------------


def five(started: anyio.Event) -> list[orch.Task[..., Any]]:
    def named(number: int) -> orch.Task[..., Any]:
        async def step() -> None:
            await started.wait()
            raise ValueError(number)

        return orch.Task(step, name=str(number))

    async def opens() -> None:
        for _ in range(10):
            await checkpoint()
        started.set()

    return [*(named(number) for number in range(5)), orch.Task(opens, name="opens")]


@watched
async def test_five_siblings_that_fail_in_one_tick_are_five_errors(watched: str) -> None:
    workflow = orch.Parallel(five(anyio.Event()), on_failure="continue")
    with recorded() as story, pytest.raises(orch.WorkflowError) as caught:
        await orch.run(workflow, subscribers=story.listeners(watched))
    assert sorted(str(error) for error in caught.value.exceptions) == ["0", "1", "2", "3", "4"]
    assert set(story.states().values()) == {FAILED, SUCCEEDED}


@watched
async def test_of_five_siblings_that_fail_in_one_tick_the_first_comes_first(watched: str) -> None:
    with recorded() as story, pytest.raises(orch.WorkflowError) as caught:
        await orch.run(orch.Parallel(five(anyio.Event())), subscribers=story.listeners(watched))
    failures = [event for event in story.trace() if isinstance(event, TaskEvent) and event.state is FAILED]
    assert 1 <= len(failures) <= 5
    assert list(caught.value.exceptions) == [event.error for event in failures]
    last = story.trace()[-1]
    assert isinstance(last, RunEvent)
    assert last.error is failures[0].error
    ended = [state for path, state in story.states().items() if path != "opens"]
    assert ended.count(FAILED) + ended.count(CANCELLED) == 5


async def test_of_five_siblings_that_fail_at_once_the_first_aborts_the_others_before_they_start() -> None:
    steps = [raising(ValueError(number), "at once", str(number)) for number in range(5)]
    result = await run_quietly(orch.Parallel(*steps))
    assert [str(error) for error in result.errors] == ["0"]
    assert [record.state for record in result.tasks.values()] == [FAILED, *[SKIPPED] * 4]
    assert {record.cause for record in result.tasks.values()} == {None, "0"}


# -- during an abort ---------------------------------------------------------------------------------------------------


@watched
@pytest.mark.parametrize("order", [1, -1])
async def test_a_step_that_swallows_the_abort_keeps_its_value_and_nothing_follows(watched: str, order: int) -> None:
    begun = anyio.Event()

    async def swallows() -> str:
        begun.set()
        try:
            await anyio.sleep(60)
        except BaseException:  # noqa: BLE001 (this is what must not harm)
            await checkpoint_quietly()
        return "late"

    async def raises() -> None:
        await begun.wait()
        raise ValueError

    steps = [swallows, raises][::order]
    after = orch.Sequence(orch.Parallel(*steps, name="both"), immediate())
    with recorded() as story:
        result = await run_quietly(after, subscribers=story.listeners(watched))
    assert story.states() == {"both/swallows": SUCCEEDED, "both/raises": FAILED, "step": SKIPPED}
    assert result["swallows"] == "late"
    assert [type(error) for error in result.errors] == [ValueError]


async def checkpoint_quietly() -> None:
    with anyio.CancelScope(shield=True):
        await checkpoint()


@watched
async def test_a_cleanup_that_raises_during_an_abort_is_preserved(watched: str) -> None:
    first, second = ValueError("first"), ValueError("cleanup")

    async def messy() -> None:
        try:
            await anyio.sleep(60)
        finally:
            raise second

    with recorded() as story:
        listeners = story.listeners(watched)
        result = await run_quietly(orch.Parallel(messy, raising(first, "later")), subscribers=listeners)
    assert result.errors == (first, second)
    assert story.states() == {"messy": FAILED, "raises": FAILED}


@pytest.mark.parametrize("group", ["anyio", "trio"])
@on_trio
async def test_a_cleanup_that_raises_in_a_nursery_is_preserved_without_the_cancellation_around_it(group: str) -> None:
    first, second, begun = ValueError("first"), ValueError("cleanup"), anyio.Event()

    async def messy() -> None:
        begun.set()
        try:
            await anyio.sleep(60)
        finally:
            raise second

    async def fails() -> None:
        await begun.wait()
        raise first

    async def with_nursery() -> None:
        manager: Any = trio.open_nursery() if group == "trio" else anyio.create_task_group()
        async with manager as nursery:
            nursery.start_soon(messy)
            nursery.start_soon(anyio.sleep, 60)

    workflow = orch.Sequence(orch.Parallel(with_nursery, fails), immediate(1), on_failure="continue")
    result = await run_quietly(workflow)
    assert result.value[1] == 1
    assert result.errors[0] is first
    group_error = result.errors[1]
    assert isinstance(group_error, ExceptionGroup)
    assert group_error.exceptions == (second,)


# -- foreign cancellation ----------------------------------------------------------------------------------------------


@watched
@pytest.mark.parametrize("place", PLACES)
async def test_a_cancellation_that_nobody_asked_for_is_a_failure_of_its_step(place: str, watched: str) -> None:
    foreign = await foreign_cancellation()
    steps: list[Any] = [immediate(1), raising(foreign, place), immediate(2)]
    with recorded() as story:
        workflow = orch.Sequence(*steps, on_failure="continue")
        result = await run_quietly(workflow, subscribers=story.listeners(watched))
    assert result.value == [1, None, 2]
    assert story.state() is FAILED
    (error,) = result.errors
    assert isinstance(error, ForeignCancellationError)
    assert error.__cause__ is foreign


async def test_it_aborts_the_siblings_as_any_failure_does_and_not_the_caller() -> None:
    foreign = await foreign_cancellation()
    both: list[Any] = [anyio.sleep_forever, raising(foreign, "later")]
    for steps in (both, both[::-1]):
        with pytest.raises(orch.WorkflowError) as caught:
            await orch.run(orch.Parallel(*steps))
        assert [type(error) for error in caught.value.exceptions] == [ForeignCancellationError]
        await checkpoint()


async def test_a_step_that_gives_up_its_own_scope_is_not_cancelled() -> None:
    async def own() -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(60)
        return "own"

    assert (await orch.run(orch.Sequence(own, own))).value == ["own", "own"]


@pytest.mark.parametrize("place", ["at once", "later", "thread"])
async def test_an_exception_that_is_only_named_like_a_cancellation_is_reported_as_itself(place: str) -> None:
    class Cancelled(Exception):  # noqa: N818 (of an order, say)
        pass

    for error in (Cancelled("the order"), concurrent.futures.CancelledError()):
        result = await run_quietly(orch.Sequence(raising(error, place), immediate(1), on_failure="continue"))
        assert result.errors == (error,)
        assert result.value == [None, 1]


@pytest.mark.parametrize("place", PLACES)
async def test_a_group_of_nothing_but_foreign_cancellations_is_a_failure_of_its_step(place: str) -> None:
    foreign = await foreign_cancellation()
    error: BaseException = foreign
    for _ in range(3):
        error = BaseExceptionGroup("nested", [error])

    async def look() -> Any:
        result = await run_quietly(orch.Sequence(raising(error, place), immediate(1), on_failure="continue"))
        return result.value, [type(error) for error in result.errors]

    assert await plainly(look) == ([None, 1], [ForeignCancellationError])


@watched
async def test_nested_task_groups_of_a_step_are_cancelled_like_a_plain_step(watched: str) -> None:
    begun: list[int] = []

    async def nested() -> None:
        async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
            inner.start_soon(anyio.sleep, 60)
            inner.start_soon(anyio.sleep, 60)
            outer.start_soon(anyio.sleep, 60)
            begun.append(1)

    async def fails() -> None:
        await until(lambda: begun)
        raise ValueError

    with recorded() as story:
        listeners = story.listeners(watched)
        await run_quietly(orch.Sequence(orch.Parallel(nested, fails), immediate()), subscribers=listeners)
    assert story.states() == {"parallel/nested": CANCELLED, "parallel/fails": FAILED, "step": SKIPPED}


# -- what an error keeps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
async def test_the_error_is_the_object_that_was_raised_with_its_traceback_and_a_note(place: str) -> None:
    error = ValueError("mine")
    with pytest.raises(orch.WorkflowError) as caught:
        await orch.run(orch.Sequence(raising(error, place)))
    assert caught.value.exceptions == (error,)
    frames, frame = [], error.__traceback__
    while frame is not None:
        frames.append(frame.tb_frame.f_code.co_filename)
        frame = frame.tb_next
    assert frames[-1] == __file__
    assert error.__notes__ == ["in task 'raises', attempt 1"]


async def test_running_a_failing_workflow_again_and_again_does_not_grow_its_error() -> None:
    error = ValueError("shared")
    step = raising(error, "at once")
    for _ in range(5):
        await run_quietly(step)
        error.__traceback__ = None
    assert len(error.__notes__) == 1
    assert error.__context__ is None

"""Check 80: what leaves the process is sanitised, the result keeps the real exception."""

import copy
import inspect
import io
import json
import logging
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import anyio.lowlevel
import pytest

import orch
import orch._codec  # to import it later would block the event loop
from orch import AsyncRunner, Context, Event, Runner, State
from orch.event import ChunkEvent, InterruptEvent, LogEvent, RunEvent, TaskEvent
from orch.event._discreet import Discreet, sanitizer_of
from orch.event._text import MESSAGE_LIMIT, REPR_LIMIT, brief, describe
from orch.subscribers import log, progress
from orch.views import to_mermaid, to_text

SECRET = "hunter2"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WITHHELD = "[withheld: the sanitizer failed with TypeError]"


def redact(text: str) -> str:
    return text.replace(SECRET, "***")


def broken(text: str) -> str:
    raise TypeError(text)


def no_text(text: str) -> Any:
    return text.encode()


class Secret:
    def __repr__(self) -> str:
        return f"<key {SECRET}>"


async def fails(context: Context[Any]) -> None:
    await anyio.lowlevel.checkpoint()
    context.log(f"the password is {SECRET}")
    raise ValueError(f"no access with {SECRET}")


async def gives() -> list[Any]:
    return [f"token {SECRET}", {f"key {SECRET}": Secret()}]


async def streams() -> Any:
    yield f"chunk {SECRET}"


def threaded() -> None:
    raise OSError(f"in a thread: {SECRET}")


STEPS = orch.Parallel(fails, gives, streams, threaded, on_failure="continue")


async def run_all(sanitize: Any, **options: Any) -> orch.RunResult:
    runner = AsyncRunner(sanitize=sanitize, **options)
    return await runner.run(STEPS, Context({"plain": "data"}), raise_on_failure=False)


def shown(result: orch.RunResult) -> Iterator[str]:
    """Every text that the package makes of a result."""
    yield from (result.to_json(), str(result.report()), repr(result), result._repr_html_())
    yield from (to_text(result), to_mermaid(result), result.context.to_json())
    yield from map(repr, (*result.trace, *result.tasks.values(), *result.groups.values()))


async def test_80_only_sanitised_text_is_shown_and_the_result_keeps_the_real_exceptions() -> None:
    result = await run_all(redact)

    assert not [text for text in shown(result) if SECRET in text]
    assert sum("no access with ***" in text for text in shown(result)) >= 6
    assert sorted(map(str, result.errors)) == [f"in a thread: {SECRET}", f"no access with {SECRET}"]
    assert type(result.errors[0]) in {ValueError, OSError}
    assert result.tasks["fails"].error in result.errors
    [event] = [e for e in result.trace if isinstance(e, TaskEvent) and e.state is State.FAILED and e.name == "fails"]
    assert event.error in result.errors
    assert result.value[1][0] == f"token {SECRET}"
    assert result.report()["value"][1][1] == {"key ***": "<key ***>"}


async def test_80_without_one_everything_is_shown() -> None:
    result = await run_all(None)
    assert sum(SECRET in text for text in shown(result)) >= 8
    assert not [event for event in result.trace if sanitizer_of(event)]


async def test_80_what_is_logged_and_what_a_subscriber_writes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "orch")
    lines, heard = io.StringIO(), list[Event]()

    def fails_itself(event: Event) -> None:
        raise ValueError(f"subscriber: {SECRET}")

    await run_all(redact, subscribers=[log(), progress(lines), heard.append, fails_itself])

    assert SECRET not in caplog.text + lines.getvalue()
    assert "the password is ***" in caplog.text
    assert "ValueError: no access with ***" in caplog.text
    assert "ValueError: subscriber: ***" in caplog.text
    assert "chunk ***" in caplog.text
    assert "ValueError: no access with ***" in lines.getvalue()
    assert [event.message for event in heard if isinstance(event, LogEvent)] == ["the password is ***"]
    assert [event.chunk for event in heard if isinstance(event, ChunkEvent)] == [f"chunk {SECRET}"]


@pytest.mark.parametrize("sanitize", [broken, no_text])
async def test_80_a_sanitizer_that_fails_withholds(sanitize: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "orch")

    result = await run_all(sanitize, subscribers=[log()])

    assert not [text for text in (*shown(result), caplog.text) if SECRET in text]
    assert f"ValueError: {WITHHELD}" in result.report()["tasks"][0]["error"]
    assert result.report()["value"][1] == [WITHHELD, {WITHHELD: WITHHELD}]
    assert result.run_id == result.report()["run_id"]
    assert json.loads(result.context.to_json())["data"] == {"plain": "data"}


@pytest.mark.parametrize("limit, make", [(MESSAGE_LIMIT, describe), (REPR_LIMIT, brief)])
def test_80_it_is_applied_before_anything_is_cut(limit: int, make: Any) -> None:
    for length in range(limit - 30, limit + 3):
        error = ValueError("." * length + SECRET)
        assert "hunter" not in make(error, redact)
        assert len(make(error, redact)) <= limit
    assert "hunt" not in brief(["." * 190 + SECRET, {"." * 180: "." * 190 + SECRET}], redact)


def test_80_a_large_value_is_not_spelled_out_for_it() -> None:
    lengths = list[int]()

    def note(text: str) -> str:
        lengths.append(len(text))
        return text

    assert len(brief(list(range(1_000_000)), note)) < 100
    assert lengths == [len(brief(list(range(1_000_000))))]


async def test_80_maps_and_their_items() -> None:
    async def check(x: int) -> int:
        raise ValueError(f"item {x}: {SECRET}")

    result = await AsyncRunner(sanitize=redact).map(check, {"x": [1, 2]}, map_over="x", on_error="collect")
    assert SECRET not in result.to_json() + "".join(map(repr, result.trace)) + "".join(map(repr, result[0].trace))
    assert SECRET not in result[1].to_json()
    assert "ValueError: item 2: ***" in result[1].to_json()
    assert str(result.errors[0]).endswith(SECRET)

    steps = orch.Sequence(orch.Map(check, over="x", on_error="collect"))
    inner = await AsyncRunner(sanitize=redact).run(steps, x=[1, 2], raise_on_failure=False)
    assert not [text for text in (inner.to_json(), *map(repr, inner.trace)) if SECRET in text]


async def test_80_what_a_reader_and_a_strategy_are_given() -> None:
    given = list[object]()

    class Asking:
        def on_failure(self, event: TaskEvent, group: object) -> orch.FailureStrategy:
            given.append(event)
            return orch.FailureStrategy.CONTINUE

    steps = orch.Parallel(fails, on_failure=Asking())
    async with AsyncRunner(sanitize=redact, context=Context()).iter(steps, raise_on_failure=False) as run:
        given += [event async for event in run]
    assert len(given) == 6
    assert SECRET not in repr(given)


async def test_80_what_resources_limiters_and_strategies_fail_with(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def on_failure(self, event: TaskEvent, group: object) -> orch.FailureStrategy:
            raise ValueError(f"strategy {SECRET}")

    @orch.resource
    async def opened() -> Any:
        yield 1
        raise ValueError(f"closing {SECRET}")

    async def uses(it: int = orch.use(opened)) -> None:
        raise ValueError(f"using {SECRET}")

    result = await AsyncRunner(sanitize=redact, subscribers=[log()]).run(
        orch.Parallel(uses, on_failure=Broken()), raise_on_failure=False
    )
    assert "strategy ***" in caplog.text
    assert SECRET not in caplog.text + result.to_json() + repr(result.trace)
    assert len(result.errors) == 3


async def test_80_questions() -> None:
    steps = orch.Sequence(orch.Interrupt("ask", f"May {SECRET} do it?"))
    result = await AsyncRunner(sanitize=redact, context=Context()).run(steps, raise_on_failure=False)
    assert result.pauses[0].question == f"May {SECRET} do it?"
    assert result.report()["pauses"][0]["question"] == "May *** do it?"
    assert SECRET not in result.context.to_json() + repr(result.trace)
    assert "May *** do it?" in result.context.to_json()


@pytest.mark.parametrize("sanitize", [redact, lambda text: text.replace(SECRET, "***")], ids=["function", "lambda"])
async def test_80_it_goes_along_with_pickles_and_copies(sanitize: Any) -> None:
    async def simple() -> None:
        raise ValueError(f"no access with {SECRET}")

    known = await AsyncRunner(sanitize=sanitize).run(simple, raise_on_failure=False)
    event = known.trace[-1]
    for thing in (known, event, known.tasks["simple"]):
        assert sanitizer_of(copy.copy(thing)) is sanitizer_of(copy.deepcopy(thing)) is sanitizer_of(thing)
    again = known
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(known, protocol))
        assert str(again.errors[0]).endswith(SECRET)
        assert SECRET not in again.to_json() + repr(again.trace) + repr(again.tasks["simple"]) + again._repr_html_()
        assert repr(pickle.loads(pickle.dumps(event, protocol))) == repr(again.trace[-1])
    assert (
        ("no access with ***" in again.to_json()) is (sanitize is redact)
    ) or "could not be pickled" in again.to_json()


def test_80_keys_that_become_one_are_numbered() -> None:
    value = {"a": 1, "b": 2, "same#2": 3, "c": 4}
    result = Runner(sanitize=lambda text: "same" if len(text) == 1 else text).run(lambda: value)
    assert list(result.report()["value"].values()) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "first, second, expected", [(None, redact, "***"), (redact, None, "***"), (redact, str.upper, "***")]
)
def test_80_a_subscriber_has_one_of_its_own(
    first: Any, second: Any, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "orch")
    lines = io.StringIO()
    Runner(sanitize=first, subscribers=[log(sanitize=second), progress(lines, sanitize=second)], context=Context()).run(
        fails, raise_on_failure=False
    )
    assert SECRET not in caplog.text + lines.getvalue()
    assert expected in caplog.text
    assert expected in lines.getvalue()
    if second is str.upper:
        assert "NO ACCESS WITH ***" in caplog.text


def test_80_a_subscriber_sanitises_before_it_cuts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "orch")
    for length in range(REPR_LIMIT - 20, REPR_LIMIT + 1):
        for event in (
            ChunkEvent("r", 1, NOON, "a", "a", "." * length + SECRET),
            InterruptEvent("r", 1, NOON, "a", "a", "." * length + SECRET),
            RunEvent("r", 1, NOON, "", State.FAILED, "w", ValueError("." * (length + 800) + SECRET)),
            LogEvent("r", 1, NOON, "a", "info", "." * length + SECRET),
        ):
            log(sanitize=redact)(event)
    assert "hunt" not in caplog.text


@pytest.mark.parametrize(
    "given, found",
    [("x", "str ('x')"), (3, "int (3)"), (True, "bool (True)"), (anyio.sleep, "a coroutine function")],
)
def test_80_what_is_no_function_is_refused_at_once(given: Any, found: str) -> None:
    message = f"sanitize: expected a callable that takes a text and returns one, or None, found {found}"
    for make in (AsyncRunner, Runner, log, progress):
        with pytest.raises(TypeError) as caught:
            make(sanitize=given)
        assert str(caught.value) == message


async def test_80_an_awaitable_is_no_text() -> None:
    async def later(text: str) -> str:
        return text

    def soon(text: str) -> Any:
        return later(text)

    result = await run_all(soon)
    assert f"ValueError: {WITHHELD}" in result.to_json()


def test_80_no_event_shows_itself_in_another_way() -> None:
    classes = [Event]
    for each in classes:
        classes += each.__subclasses__()
    assert len(classes) > 8
    assert {each.__repr__ for each in classes if each.__module__ == Event.__module__} == {Discreet.__repr__}
    assert "sanitize" not in "".join(inspect.signature(TaskEvent).parameters)

"""`Runner`: the same for synchronous callers."""

import contextvars
import signal
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import orch
from orch import Context, Event, Graph, Parallel, Runner, Sequence, State, Task, WorkflowError
from orch.errors import InputError, UnsupportedError
from tests.runners.truth import check_trace, told

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")

LOOPS: list[dict[str, Any]] = [
    {"backend": "asyncio"},
    {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    {"backend": "trio"},
]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop", "trio"])
def loop(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param  # type: ignore[no-any-return]


def plain(x: int) -> int:
    return x + 1


async def coroutine(x: int) -> int:
    await anyio.lowlevel.checkpoint()
    return x + 1


def test_it_runs_to_the_end(loop: dict[str, Any]) -> None:
    result = Runner(**loop).run(Sequence(plain, coroutine, plain), x=0)

    assert (result.state, result.value) == (State.SUCCEEDED, [1, 2, 3])
    check_trace(result.trace, result.run_id)


def test_inputs_context_select_run_id_and_subscribers(loop: dict[str, Any]) -> None:
    heard: list[Event] = []

    async def step(x: int, context: Context[str]) -> Any:
        return x, context.data

    runner = Runner(**loop, context=Context("runners"))
    result = runner.run(Graph(step, coroutine), {"x": 1}, select="step", run_id="mine", subscribers=[heard.append])
    assert (result.value, result.run_id) == ({"step": (1, "runners")}, "mine")
    assert heard == list(result.trace)
    assert runner.run(step, Context("runs"), x=2).value == (2, "runs")


def test_failures_raise_and_can_be_returned(loop: dict[str, Any]) -> None:
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(WorkflowError) as caught:
        Runner(**loop).run(fails)
    assert [str(error) for error in caught.value.exceptions] == ["no"]
    assert Runner(**loop).run(fails, raise_on_failure=False).state is State.FAILED


def test_a_wrong_definition_or_input_raises_itself(loop: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="missing input: 'x'"):
        Runner(**loop).run(plain)
    with pytest.raises(orch.DefinitionError, match="depends on 'nobody'"):
        Runner(**loop).run(Graph(orch.Task(plain, deps=["nobody"])), x=1)


def test_it_is_good_for_many_calls_and_threads(loop: dict[str, Any]) -> None:
    runner, found = Runner(**loop), dict[int, Any]()

    def call(k: int) -> None:
        found[k] = runner.run(Sequence(coroutine, plain), x=k).value

    for k in range(3):
        call(k)
    threads = [threading.Thread(target=call, args=(k,)) for k in range(3, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {k: [k + 1, k + 2] for k in range(6)}


def test_the_callers_context_variables_are_seen(loop: dict[str, Any]) -> None:
    async def step() -> str:
        return colour.get()

    token = colour.set("callers")
    try:
        assert Runner(**loop).run(Parallel(step, lambda: colour.get())).value == ["callers"] * 2  # noqa: PLW0108
    finally:
        colour.reset(token)


async def test_inside_a_running_loop_it_says_so_and_names_the_other() -> None:
    ran: list[int] = []

    with pytest.raises(UnsupportedError, match=r"await orch\.run\(workflow\).*AsyncRunner") as caught:
        Runner().run(lambda: ran.append(1))
    assert isinstance(caught.value, RuntimeError)
    assert ran == []


async def test_in_a_worker_thread_of_a_running_loop_it_works() -> None:
    assert (await anyio.to_thread.run_sync(lambda: Runner().run(plain, x=1))).value == 2


def test_strict_refuses_coroutine_functions_before_anything_runs() -> None:
    ran: list[int] = []

    with pytest.raises(UnsupportedError, match=r"coroutine functions: 'group/coroutine'"):
        Runner(strict=True).run(Sequence(lambda: ran.append(1), Parallel(coroutine, name="group")))
    assert ran == []
    assert Runner(strict=True).run(Sequence(plain, plain), x=0).value == [1, 2]
    for undo in (coroutine, Task(coroutine)):
        with pytest.raises(UnsupportedError, match="coroutine functions: 'compensation of plain'"):
            Runner(strict=True).run(Task(plain, compensate=undo), x=0)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="backend: expected 'asyncio' or 'trio', found 'curio'"):
        Runner(backend="curio")
    with pytest.raises(TypeError, match="retries"):
        Runner(retries=3)
    wrong: Any = "yes"
    with pytest.raises(TypeError, match=r"strict: expected bool, found str \('yes'\)"):
        Runner(strict=wrong)
    with pytest.raises(TypeError, match="backend_options: expected Mapping or None, found str"):
        Runner(backend_options=wrong)
    with pytest.raises(ValueError, match="limit: expected at least 1"):
        Runner(limit=0)


@pytest.mark.parametrize("kind", ["coroutine", "in place"])
def test_ctrl_c_comes_out_bare(loop: dict[str, Any], kind: str) -> None:
    """A signal that arrives while a step runs: every task is settled, and KeyboardInterrupt is what the caller sees."""
    heard: list[Event] = []

    async def sleeper() -> None:
        await anyio.sleep_forever()

    async def interrupts() -> None:
        await anyio.wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()

    def interrupts_in_place() -> None:
        signal.raise_signal(signal.SIGINT)

    step = interrupts if kind == "coroutine" else orch.Task(interrupts_in_place, thread=False)
    with pytest.raises(KeyboardInterrupt):
        Runner(**loop).run(Sequence(Parallel(sleeper, step, sleeper), plain), subscribers=[heard.append])
    check_trace(heard, heard[0].run_id)
    assert told(heard)[-1] == "cancelled"

"""A program that type checkers must read as it is meant: what a task keeps of its function, and what is refused.

Each `type: ignore` says that the line is an error; both checkers report those that are not needed.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

import functools
from collections.abc import AsyncIterator, Generator
from datetime import timedelta
from typing import Any, assert_type

import anyio

import orch
from orch import CircuitBreaker, Context, FailureStrategy, Graph, Parallel, Retry, Sequence, Task, Workflow, task
from orch.event import ChunkEvent, EventBus
from orch.policies import Limiter


class Order:
    total: int = 1


@task
def plain(a: int, b: str = "b") -> float:
    return a + len(b)


@task(name="named", output=("x", "y"), deps=["plain", plain, len], thread=False, retain=True, description=None)
async def fetch(url: str, *, tries: int = 3) -> bytes:
    return url.encode() * tries


# -- a task is still its function --------------------------------------------------------------------------------------

assert_type(plain(1), float)
assert_type(plain(1, b="x"), float)
plain("1")  # type: ignore[arg-type]
plain(1, c=2)  # type: ignore[call-arg]


async def main() -> None:
    assert_type(await fetch("u", tries=1), bytes)
    await fetch()  # type: ignore[call-arg]


made = Task(plain.fn, 1, name="made", b="x")
assert_type(made(1), float)
assert_type(Task(functools.partial(plain.fn, 1))(), float)
assert_type(task(plain.fn, output="o")(2), float)

# -- options -----------------------------------------------------------------------------------------------------------

task(plain.fn, name=1)  # type: ignore[call-overload]
task(retries=3)  # type: ignore[call-overload]
plain.evolve(name="x", deps=["a"], output=None)
plain.evolve(naem="x")  # type: ignore[call-arg]
plain.evolve(retain="no")  # type: ignore[arg-type]
assert_type(plain.evolve(name="x")(1), float)
assert_type(plain.bind(a=1)(), float)

# -- policies ----------------------------------------------------------------------------------------------------------


class Turnstile:
    async def acquire(self) -> bool:
        return True

    def release(self) -> None: ...


def undo(value: float, error: Exception | None) -> None: ...


@task(timeout=5, retry=Retry(2, delay=0), breaker=CircuitBreaker("x"), limiter=Turnstile(), compensate=undo)
async def guarded(a: int) -> str:
    return str(a)


async def use_guarded() -> None:
    assert_type(await guarded(1), str)


guarded.evolve(timeout=timedelta(minutes=1), limiter=anyio.CapacityLimiter(1), compensate=plain)
guarded.evolve(timeout=None, retry=None, breaker=None, limiter=None, compensate=None, compensate_unknown=False)
Task(plain.fn, limiter=anyio.Semaphore(1), compensate=Task(undo, timeout=1), compensate_unknown=True)
Task(plain.fn, limiter=anyio.Lock())
assert_type(guarded.timeout, float | None)
assert_type(guarded.retry, Retry | None)
assert_type(guarded.breaker, CircuitBreaker | None)
assert_type(guarded.limiter, Limiter | None)
assert_type(guarded.compensate, Task[..., Any] | None)
assert_type(guarded.compensate_unknown, bool)
guarded.evolve(cache=None, version=None)
Task(plain.fn, cache=True, version="2")
assert_type(guarded.cache, bool | None)
assert_type(guarded.version, str | int | None)
guarded.evolve(timeout="5")  # type: ignore[arg-type]
guarded.evolve(retry=3)  # type: ignore[arg-type]
guarded.evolve(breaker=Retry())  # type: ignore[arg-type]
guarded.evolve(limiter=object())  # type: ignore[arg-type]
guarded.evolve(compensate="undo")  # type: ignore[arg-type]
guarded.evolve(compensate=Sequence())  # type: ignore[arg-type]
task(plain.fn, timeout="5")  # type: ignore[call-overload]

# -- fields ------------------------------------------------------------------------------------------------------------

assert_type(plain.name, str)
assert_type(plain.output, str | tuple[str, ...] | None)
assert_type(plain.outputs, tuple[str, ...])
assert_type(plain.deps, tuple[str | Workflow, ...])
assert_type(plain.thread, bool | None)
plain.name = "frozen"  # type: ignore[misc]

# -- methods -----------------------------------------------------------------------------------------------------------


class Shop:
    @task(timeout=1)
    def sell(self, price: int) -> float:
        return price / 2

    @task
    async def ship(self, *, to: str = "x") -> bytes:
        return to.encode()

    outside = plain


assert_type(Shop().sell(1), float)
assert_type(Shop.sell(Shop(), 1), float)
assert_type(Shop().sell.name, str)
assert_type(Shop().outside(1), float)
Shop.sell(Shop(), "1")  # type: ignore[arg-type]
methods = Sequence(Shop().sell, Shop().ship)


async def use_methods() -> None:
    assert_type(await Shop().ship(to="y"), bytes)


# -- groups ------------------------------------------------------------------------------------------------------------

graph = Graph(plain, fetch, name="g", limit=2, on_failure="continue")
assert_type(Sequence(graph, len, lambda: 1).steps, tuple[Workflow, ...])
assert_type(graph.outputs, tuple[str, ...])
Parallel([plain, fetch], on_failure=FailureStrategy.ABORT)
assert_type(Sequence(graph, timeout=timedelta(seconds=1), breaker=CircuitBreaker()).timeout, float | None)
assert_type(graph.breaker, CircuitBreaker | None)
Parallel(timeout="1")  # type: ignore[arg-type]
Sequence(breaker=1)  # type: ignore[arg-type]
workflows: list[Workflow] = [plain, graph, Sequence(), orch.Parallel()]
Sequence(1)  # type: ignore[arg-type]
Sequence(limit="1")  # type: ignore[arg-type]
Graph(on_failure=3)  # type: ignore[arg-type]


class Mine:
    def on_failure(self, _event: Any, _group: Any, /) -> FailureStrategy:
        return FailureStrategy.CONTINUE


Graph(on_failure=Mine())

# -- context -----------------------------------------------------------------------------------------------------------


@task
def charge(ctx: Context[Order], amount: int) -> int:
    assert_type(ctx.data, Order)
    assert_type(ctx.task, str | None)
    ctx.log("charging", level="debug")
    return ctx.data.total + amount


assert_type(charge(Context(Order()), 1), int)
assert_type(Context(), Context[None])
assert_type(Context(Order()).data.total, int)
assert_type(Context({"a": 1}, metadata={"k": 1}).metadata, dict[str, Any])
charge(Context("text"), 1)  # type: ignore[arg-type]


def restored(text: str) -> None:
    assert_type(Context.from_json(text), Context[Any])
    assert_type(Context.from_json(text, Order), Context[Order])
    assert_type(Context.from_json(text, Order).to_json(), str)
    charge(Context.from_json(text, Order), 1)
    Context.from_json(b"{}")  # type: ignore[call-overload]


# -- registries --------------------------------------------------------------------------------------------------------

registry = orch.TaskRegistry()


@registry.task
def registered(a: int, b: str = "b") -> float:
    return a + len(b)


@registry.task(name="named", dag="etl", deps=["registered", registered, len], timeout=5)
async def registered_too(url: str) -> bytes:
    return url.encode()


assert_type(registered(1, b="x"), float)
registered("1")  # type: ignore[arg-type]
assert_type(registry.add(plain)(1), float)
assert_type(registry.add(plain.fn, dag="etl")(1), float)
assert_type(registry.add(Sequence()), Sequence)
assert_type(registry.graph("etl", limit=2, on_failure="continue", timeout=1), Graph)
assert_type(registry.names(dag="etl"), tuple[str, ...])
assert_type(len(registry), int)
registry.task(dg="etl")  # type: ignore[call-overload]
registry.task(registered.fn, name=1)  # type: ignore[call-overload]
registry.graph("etl", limits=2)  # type: ignore[call-arg]
registry.add(1)  # type: ignore[call-overload]


async def use_registered() -> None:
    assert_type(await registered_too("u"), bytes)


# -- streams -----------------------------------------------------------------------------------------------------------


@task
def lines(path: str) -> Generator[str, None, int]:
    yield path
    return 1


@task(timeout=5)
async def words(question: str, *, most: int = 3) -> AsyncIterator[str]:
    yield question * most


assert_type(lines("x"), Generator[str, None, int])
assert_type(words("x", most=1), AsyncIterator[str])
lines(1)  # type: ignore[arg-type]
words(most=1)  # type: ignore[call-arg]
bus = EventBus()
bus.subscribe(print, ChunkEvent, when_full="drop")
bus.subscribe(print, when_full="wait")  # type: ignore[call-overload]


async def read() -> None:
    async with orch.AsyncRunner().iter(words, question="x", when_full="drop") as run:
        assert_type(run.dropped, int)
        async for event in run:
            if isinstance(event, ChunkEvent):
                assert_type(event.name, str)
    orch.AsyncRunner().iter(words, when_full="wait")  # type: ignore[arg-type]


# -- groups as steps ---------------------------------------------------------------------------------------------------

sequence = Sequence(plain)
assert_type(graph.as_task("step", inputs={"page": "url"}, outputs={"fetch": "bytes"}), Graph)
assert_type(sequence.as_task(inputs={"one": "a"}), Sequence)
assert_type(graph.bind(url="u", a=1), Graph)
assert_type(graph.select("plain", "x"), Graph)
assert_type(graph.inputs, tuple[str, ...])
assert_type(plain.inputs, tuple[str, ...])
graph.as_task(1)  # type: ignore[call-overload]
graph.as_task(inputs=["a"])  # type: ignore[call-overload]
graph.select(1)  # type: ignore[arg-type]
assert_type(Graph(plain, strict_types=True).strict_types, bool)
Graph(strict_types=1)  # type: ignore[arg-type]
Sequence(strict_types=True)  # type: ignore[call-arg]
registry.graph(strict_types=True)

# -- questions, and going on -------------------------------------------------------------------------------------------

asks = orch.Interrupt("ok", "May I?", type=bool, deps=["plain"])
assert_type(asks.bind(), orch.Interrupt)
assert_type(asks.evolve(name="other"), orch.Interrupt)
orch.Interrupt("ok", timeout=1)  # type: ignore[call-arg]
orch.Interrupt("ok", output=("a", "b"))  # type: ignore[arg-type]


async def answers(question: str) -> bool:
    return bool(question)


async def ask(runner: orch.AsyncRunner) -> None:
    result = await runner.run(asks, handlers={"ok": answers})
    assert_type(result.pauses[0].question, Any)
    assert_type(result.parent, str | None)
    assert_type(await runner.resume(result, asks, answers={"ok": True}, from_="ok"), orch.RunResult)
    await runner.resume(result)  # type: ignore[call-arg]
    async with runner.iter(asks, handlers={"ok": lambda _: True}) as run:
        assert_type(run.respond({"ok": True}), None)
        assert_type([pause.name for pause in run.pauses], list[str])


def look_on(runner: orch.Runner) -> None:
    with runner.iter(asks) as run:
        assert_type([event.seq for event in run], list[int])
        assert_type(run.wait(), orch.RunResult)

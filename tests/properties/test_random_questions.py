"""Random definitions with questions: whoever answers, in whatever order, in how many runs, the outcome is the same."""

import os
import pickle
from collections import Counter
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import orch
from orch import AsyncRunner, Graph, Interrupt, Parallel, RunResult, Sequence, State, Task
from orch.event import TRANSITIONS, Event, InterruptEvent, RunEvent, TaskEvent
from tests.properties.test_random_runs import LOOPS

CI = settings(
    max_examples=int(os.environ.get("ORCH_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
Shape = Any  # "step", "thread", "ask", "ask late", or (kind, strategy, limit, shapes)

leaves = st.sampled_from(["step", "thread", "ask", "ask late"])
strategies = st.sampled_from(["abort", "continue", "compensate"])
seeds = st.integers(0, 2**32 - 1).map(Random)  # which may be asked in any order, as threads and loops like it
groups = st.recursive(
    leaves,
    lambda inner: st.tuples(
        st.sampled_from(["sequence", "parallel", "graph"]),
        strategies,
        st.sampled_from([None, 1, 2]),
        st.lists(inner, max_size=4),
    ),
    max_leaves=9,
)


class World:
    """Builds a definition, and counts what is called in it."""

    def __init__(self, shape: Shape, failing: int = 0) -> None:
        self.calls: Counter[str] = Counter()
        self.undone: Counter[str] = Counter()
        self.failing = failing  # which steps fail at their first call: a number of bits
        self.names: list[str] = []
        self.workflow = self._build(shape)

    def _build(self, shape: Shape) -> Any:
        name = f"n{len(self.names)}"
        self.names.append(name)
        if isinstance(shape, tuple):
            kind, strategy, limit, inner = shape
            steps = [self._build(each) for each in inner]
            make: Any = {"sequence": Sequence, "parallel": Parallel, "graph": self._graph}[kind]
            return make(*steps, name=name, on_failure=strategy, limit=limit)
        if shape == "ask":
            return Interrupt(name, f"{name}?", type=str)
        if shape == "ask late":
            return Interrupt(name, lambda: self._called(name, f"{name}?"), type=str)
        return self._step(name, is_plain=shape == "thread")

    def _graph(self, *steps: Any, **options: Any) -> Graph:
        """Of tasks, each needs the one before the one before it."""
        tasks = list[Any]()
        for step in steps:
            earlier = [each for each in tasks[-2:-1] if isinstance(each, Task)]
            tasks.append(step.evolve(deps=[each.name for each in earlier]) if isinstance(step, Task) else step)
        return Graph(*tasks, **options)

    def _step(self, name: str, *, is_plain: bool) -> Task[..., str]:
        position = len(self.names)

        async def waits() -> str:
            await checkpoint()
            return self._called(name, f"value of {name}", fails=bool(self.failing >> position % 16 & 1))

        def works() -> str:
            return self._called(name, f"value of {name}", fails=bool(self.failing >> position % 16 & 1))

        body: Any = works if is_plain else waits
        return Task(body, name=name, compensate=lambda value: self._undo(name, value))

    def _called(self, name: str, value: str, *, fails: bool = False) -> str:
        self.calls[name] += 1
        if fails and self.calls[name] == 1:
            raise ValueError(name)
        return value

    def _undo(self, name: str, value: str) -> None:
        assert value == f"value of {name}"
        self.undone[name] += 1


async def handled(world: World) -> RunResult:
    names = [each.name for each in interrupts(world)]
    return await AsyncRunner().run(world.workflow, handlers=dict.fromkeys(names, lambda question: f"yes, {question}"))


def interrupts(world: World) -> list[Interrupt]:
    plan = orch.plan.compile(world.workflow)
    found = [plan.draft.task(node) for node in plan.interrupts]
    return [each for each in found if isinstance(each, Interrupt)]


async def resumed(world: World, random: Random) -> RunResult:
    """Pause and go on until nothing is asked any more and nothing has failed."""
    runner, result, earlier = AsyncRunner(), await AsyncRunner().run(world.workflow, raise_on_failure=False), ""
    for _ in range(60):
        if result.state is State.SUCCEEDED:
            return result
        if random.random() < 0.5:
            result = pickle.loads(pickle.dumps(result))
        some = [pause for pause in result.pauses if random.random() < 0.6] or result.pauses[:1]
        answers = {pause.path: f"yes, {pause.question}" for pause in some}
        before, was_paused, earlier = Counter(world.calls), result.state is State.PAUSED, result.run_id
        result = await runner.resume(result, world.workflow, answers=answers, raise_on_failure=False)
        assert (result.run_id == earlier, result.parent == earlier) == (was_paused, not was_paused)
        again = {path: record for path, record in result.tasks.items() if record.restored}
        assert all(world.calls[record.name] == before[record.name] for record in again.values())
        assert all(record.attempts == 0 for record in again.values())
    raise AssertionError(f"no end: {result!r}")


def carry_out(world: World, how: Any, loop: str, *given: Any) -> RunResult:
    async def call() -> RunResult:
        with anyio.fail_after(10):
            found: RunResult = await how(world, *given)
            return found

    return anyio.run(call, **LOOPS[loop])


def answered(result: RunResult) -> dict[str, Any]:
    """The values of all steps."""
    return {path: record.value for path, record in result.tasks.items()}


@pytest.mark.parametrize("loop", LOOPS)
@CI
@given(groups, seeds)
def test_whoever_answers_the_outcome_is_the_same(loop: str, shape: Shape, random: Random) -> None:
    by_handler, by_answers = World(shape), World(shape)
    one = carry_out(by_handler, handled, loop)
    other = carry_out(by_answers, resumed, loop, random)

    assert (one.state, other.state) == (State.SUCCEEDED, State.SUCCEEDED)
    assert answered(one) == answered(other)
    assert one.value == other.value
    assert by_handler.calls == by_answers.calls  # nothing twice, no question either
    assert set(by_handler.calls.values()) <= {1}
    assert by_answers.undone == Counter()


@pytest.mark.parametrize("loop", LOOPS)
@CI
@given(groups, seeds)
def test_answers_in_any_order_while_the_run_goes_on(loop: str, shape: Shape, random: Random) -> None:
    by_handler, by_respond = World(shape), World(shape)
    one = carry_out(by_handler, handled, loop)
    other = carry_out(by_respond, responded_in_the_end, loop, random)

    assert answered(one) == answered(other)
    assert by_handler.calls == by_respond.calls


async def responded_in_the_end(world: World, random: Random) -> RunResult:
    """Answer some when they are asked, some later, and the rest when nothing else goes on."""
    async with AsyncRunner().iter(world.workflow) as run, anyio.create_task_group() as group:

        async def rest() -> None:
            while not run._over.is_set():
                for _ in range(random.randrange(1, 20)):
                    await checkpoint()
                if run.pauses:
                    pause = random.choice(run.pauses)
                    run.respond({pause.path: f"yes, {pause.question}"})

        group.start_soon(rest)
        async for event in run:
            if isinstance(event, InterruptEvent) and run.pauses and random.random() < 0.4:
                pause = random.choice(run.pauses)
                run.respond({pause.path: f"yes, {pause.question}"})
    return run.result


@pytest.mark.parametrize("loop", LOOPS)
@CI
@given(groups, st.integers(0, 2**16 - 1), seeds)
def test_check_86_what_fails_is_resumed_to_the_same_end(loop: str, shape: Shape, failing: int, random: Random) -> None:
    well, world = World(shape), World(shape, failing)
    one = carry_out(well, handled, loop)
    other = carry_out(world, resumed, loop, random)

    assert other.state is State.SUCCEEDED
    assert answered(one) == answered(other)
    for name, undone in world.undone.items():
        assert world.calls[name] > undone  # what was undone was done again, and only what was done was undone


# -- ended from outside, after every number of turns of the loop -------------------------------------------------------

CORPUS: dict[str, Shape] = {
    "a question": "ask",
    "questions in turn": ("sequence", "abort", None, ["ask", "step", "ask late", "step"]),
    "questions side by side": ("parallel", "abort", None, ["ask", "ask late", "step"]),
    "a question to undo for": ("sequence", "compensate", None, ["step", "step", "ask", "step"]),
    "a question in groups": (
        "parallel",
        "continue",
        1,
        [("sequence", "compensate", None, ["step", "ask"]), "ask late"],
    ),
    "with threads": ("sequence", "compensate", None, ["thread", "ask late", "thread"]),
}


def check(result: RunResult) -> None:
    """Numbered without gaps, from the first event to the last; every step from state to state, to an end or a pause."""
    first, *_, last = result.trace
    assert [event.seq for event in result.trace] == list(range(1, len(result.trace) + 1))
    assert [isinstance(event, RunEvent) for event in (first, last)] == [True, True]
    assert isinstance(last, RunEvent)
    assert last.state is result.state
    states = dict.fromkeys(result.tasks, State.PENDING)
    for event in result.trace:
        if isinstance(event, TaskEvent):
            assert event.state in TRANSITIONS[states[event.path]]
            states[event.path] = event.state
    assert states == {path: record.state for path, record in result.tasks.items()}
    allowed = {State.PAUSED, State.PENDING} if result.state is State.PAUSED else set()
    assert all(state.is_final or state in allowed for state in states.values())


def plain_handler(question: str) -> str:
    return f"yes, {question}"


async def slow_handler(question: str) -> str:
    await checkpoint()
    await checkpoint()
    return f"yes, {question}"


async def end_after(world: World, turns: int, how: str, by: str) -> bool:
    """End a run in some way after so many turns of the loop; say whether it was over before that."""
    heard, is_over, asked = list[Event](), False, interrupts(world)
    names = [each.name for each in asked]
    handler: Any = slow_handler if by == "handlers" else plain_handler
    handlers = {} if by == "answers" else dict.fromkeys(names, handler)
    with anyio.CancelScope() as scope, anyio.fail_after(10):
        async with AsyncRunner().iter(world.workflow, handlers=handlers, subscribers=[heard.append]) as run:

            async def answers() -> None:
                async for event in run:
                    if isinstance(event, InterruptEvent) and by == "answers":
                        await checkpoint()
                        if event.path in [pause.path for pause in run.pauses]:
                            run.respond({event.path: f"yes, {event.question}"})

            async with anyio.create_task_group() as group:
                group.start_soon(answers)
                for _ in range(turns):
                    await checkpoint()
                is_over = run._over.is_set()
                if how == "outside":
                    scope.cancel()
                elif how == "step":
                    run.cancel(names[-1] if run._run.plan.name(run._run.plan.interrupts[-1]) == names[-1] else None)
                elif how == "run":
                    run.cancel()
                elif how == "leave":
                    group.cancel_scope.cancel()
    result = run.result
    check(result)
    assert heard == list(result.trace)
    assert isinstance(heard[-1], RunEvent)
    states = {State.SUCCEEDED} if is_over else {State.SUCCEEDED, State.CANCELLED, State.PAUSED}
    assert result.state in states
    assert [pause.path for pause in result.pauses] == [
        path for path, record in result.tasks.items() if record.state is State.PAUSED
    ]
    assert (result.state is State.PAUSED) == bool(result.pauses)
    again = await AsyncRunner().resume(result, world.workflow, handlers=dict.fromkeys(names, slow_handler))
    assert again.state is State.SUCCEEDED
    assert set(world.calls) == {name for name in world.calls if world.calls[name] > world.undone[name]}
    return is_over


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["outside", "step", "run", "leave"])
@pytest.mark.parametrize("by", ["handlers", "plain handlers", "answers"])
@pytest.mark.parametrize("name", CORPUS)
def test_c2_ended_after_any_number_of_turns_and_resumed(name: str, by: str, how: str, loop: str) -> None:
    async def sweep() -> None:
        turns, is_over = 0, False
        while not is_over and turns < 200:
            is_over = await end_after(World(CORPUS[name]), turns, how, by)
            turns += 1 + (turns // 4 if "thread" in name or by == "plain handlers" else 0)

    anyio.run(sweep, **LOOPS[loop])

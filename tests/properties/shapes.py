"""Random definitions: a small language of steps and groups, how Hypothesis makes sentences of it, and what to run."""

import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import attrs
from anyio import CancelScope, sleep
from anyio.lowlevel import checkpoint
from hypothesis import strategies as st

import orch

KINDS = ["at once", "waits", "sleeps", "thread", "in place", "thread that awaits"]
UNRULY = [*KINDS, "swallows", "messy", "careful"]
"""And some that answer a cancellation with a value, with an error, with a cleanup that takes a while."""


@attrs.frozen
class Step:
    """One task; its value tells what it was called with."""

    kind: str = "at once"
    waits: int = 1
    fails: bool = False
    takes: bool = False
    """Whether it has a parameter for what a Sequence hands on."""
    deps: tuple[int, ...] = ()
    """In a Graph: which of the siblings before it it depends on, as their positions."""
    name: str = ""


@attrs.frozen
class Group:
    """Steps and groups under one strategy and, maybe, a limit."""

    kind: str
    steps: tuple["Shape", ...] = ()
    strategy: str = "abort"
    limit: int | None = None
    name: str = ""


Shape = Step | Group


class BoomError(Exception):
    """What a failing step raises."""


def named(shape: Shape, counter: Iterator[int] | None = None, siblings: int = 0) -> Shape:
    """Give every step and group a name of its own, in order of definition; leave only dependencies that can be."""
    counter = counter or iter(range(1_000_000))
    if isinstance(shape, Step):
        deps = tuple(sorted({dep % siblings for dep in shape.deps})) if siblings else ()
        return attrs.evolve(shape, name=f"s{next(counter)}", deps=deps, takes=shape.takes and not deps)
    name, graph = f"g{next(counter)}", shape.kind == "graph"
    steps = [named(step, counter, position if graph else 0) for position, step in enumerate(shape.steps)]
    return attrs.evolve(shape, name=name, steps=tuple(steps))


def leaves(shape: Shape) -> list[Step]:
    """All steps, in order of definition."""
    return [shape] if isinstance(shape, Step) else [leaf for step in shape.steps for leaf in leaves(step)]


def shapes(kinds: list[str], most: int = 20) -> st.SearchStrategy[Shape]:
    """Definitions of up to `most` steps, in groups nested at any depth; half of them have steps that fail.

    A tree comes from a seed, which is quick to draw, so that the time goes into running; it shrinks by its size.
    """
    return st.builds(lambda size, seed: tree(Random(seed), kinds, size), st.integers(1, most), st.integers(0, 2**32))


def tree(random: Random, kinds: list[str], size: int) -> Shape:
    """Make a definition with so many steps."""
    fails = random.choice([0, 0.05, 0.1, 0.3])
    return named(_tree(random, kinds, fails, size, random.choice([False, False, False, True])))


def _tree(random: Random, kinds: list[str], fails: float, size: int, bare: bool) -> Shape:
    """Spread so many steps over a group, which may be one of one, or of none."""
    if size == 1 and bare:
        deps = tuple(random.randrange(6) for _ in range(random.choice([0, 1, 1, 2])))
        takes, kind = random.random() < 0.25, random.choice(kinds)
        return Step(kind, random.randint(1, 3), fails=random.random() < fails, takes=takes, deps=deps)
    inside: list[Shape] = []
    while size > 0:
        part = random.choice([1, 1, 1, random.randint(1, size)])
        inside.append(_tree(random, kinds, fails, part, part == 1 and random.random() < 0.9))
        size -= part
    group = random.choice(["sequence", "parallel", "graph"])
    return Group(group, tuple(inside), random.choice(["continue", "abort"]), random.choice([None, None, 1, 2]))


# -- from shapes to definitions ----------------------------------------------------------------------------------------


class Ledger:
    """What the bodies say themselves: how often each ran, and how many of them at one time."""

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        self.limits = dict(limits or {})
        self.begun: Counter[str] = Counter()
        self.active: Counter[str] = Counter()
        self.broken: list[str] = []
        self.hook: Callable[[str, str], None] = lambda _moment, _name: None
        self._lock = threading.Lock()

    @contextmanager
    def body(self, name: str, groups: tuple[str, ...]) -> Iterator[None]:
        """Count a body as long as it runs, for itself and the limited groups around it."""
        with self._lock:
            self.begun[name] += 1
            for each in (name, *groups):
                self.active[each] += 1
                if self.active[each] > self.limits.get(each, 1_000_000 if each in groups else 1):
                    self.broken.append(f"{self.active[each]} of {each} at a time")
        self.hook("begin", name)
        try:
            yield
            self.hook("end", name)
        finally:
            with self._lock:
                self.active.subtract((name, *groups))


def value_of(name: str, given: object) -> str:
    """The value a step gives: short, and different for whatever it was given."""
    return name if given is None else f"{name}:{zlib.crc32(repr(given).encode()):x}"


def build(shape: Shape, ledger: Ledger, around: tuple[str, ...] = ("run",)) -> orch.Workflow:
    """Make the definition that a shape stands for; its bodies report to the ledger."""
    if isinstance(shape, Step):
        return _task(shape, ledger, around)
    inside = around
    if shape.limit is not None:
        ledger.limits[shape.name] = shape.limit
        inside = (*around, shape.name)
    steps = []
    for step in shape.steps:
        workflow = build(step, ledger, inside)
        if isinstance(step, Step) and step.deps:
            assert isinstance(workflow, orch.Task)
            workflow = workflow.evolve(deps=tuple(shape.steps[dep].name for dep in step.deps))
        steps.append(workflow)
    make = {"sequence": orch.Sequence, "parallel": orch.Parallel, "graph": orch.Graph}[shape.kind]
    return make(*steps, name=shape.name, on_failure=shape.strategy, limit=shape.limit)


def _task(step: Step, ledger: Ledger, around: tuple[str, ...]) -> orch.Task[..., Any]:
    def end(given: object) -> str:
        if step.fails:
            raise BoomError(step.name)
        return value_of(step.name, given)

    async def coroutine(given: object) -> str:
        with ledger.body(step.name, around):
            try:
                await _wait(step)
            except BaseException as cancelled:  # noqa: BLE001 (some kinds of steps do that)
                await _answer(step, cancelled)
            return end(given)

    def plain(given: object) -> str:
        with ledger.body(step.name, around):
            if step.kind == "thread":
                time.sleep(0.0001 * step.waits)
            return end(given)

    body: Callable[[object], Any] = plain if step.kind in {"thread", "in place"} else coroutine
    thread = False if step.kind == "in place" else None
    return orch.Task(_signed(step, body), name=step.name, thread=thread)


async def _wait(step: Step) -> None:
    if step.kind == "sleeps":
        await sleep(0.0005 * step.waits)
    elif step.kind != "at once":
        for _ in range(step.waits):
            await checkpoint()


async def _answer(step: Step, cancelled: BaseException) -> None:
    """Do what this kind of step does when it is cancelled."""
    if step.kind == "careful":
        with CancelScope(shield=True):
            await _wait(step)
    if step.kind == "messy":
        raise BoomError(step.name) from cancelled
    if step.kind != "swallows":
        raise cancelled


def _signed(step: Step, body: Callable[[object], Any]) -> Callable[..., Any]:
    """Give the body the parameters of its step, and the kind of function: `async def`, or plain."""
    plain = step.kind in {"thread", "in place", "thread that awaits"}  # the last returns what is to be awaited

    def gathers(upstream: Any) -> Any:
        return body(sorted(upstream.items()))

    def takes(handed: Any) -> Any:
        return body(handed)

    def bare() -> Any:
        return body(None)

    async def gathers_later(upstream: Any) -> Any:
        return await body(sorted(upstream.items()))

    async def takes_later(handed: Any) -> Any:
        return await body(handed)

    async def bare_later() -> Any:
        return await body(None)

    forms = (gathers, takes, bare) if plain else (gathers_later, takes_later, bare_later)
    return forms[0 if step.deps else 1 if step.takes else 2]

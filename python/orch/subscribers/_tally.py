"""How far a run is: a fold over its events, which knows nothing of screens and of the time but what events say."""

import re
import threading
from collections.abc import Iterator

import attrs

from orch.errors import inert
from orch.event import MapEvent, RunEvent, State, TaskEvent

DEEPEST, MOST = 4, 1_000  # levels of groups, and groups of one run, that are counted by themselves
TELLING = 100  # steps: the rate of fewer says little
_ITEM = re.compile(r"\[\d+\](?=/|$)")
_GOING = State.RUNNING, State.RETRYING, State.PAUSED


@attrs.define(eq=False)
class Counts:
    """How many tasks or items are in which state; `failed`, `cached` and `maps` are among those `done`."""

    running: int = 0
    retrying: int = 0
    waiting: int = 0
    done: int = 0
    failed: int = 0
    cached: int = 0
    maps: int = 0  # which are never cached, but their items are

    def enter(self, state: State, *, cached: bool = False) -> None:
        """One more has got into this state."""
        if (
            not self._add(state, 1) and state.is_final and state is not State.COMPENSATED
        ):  # it counted when it succeeded
            self.done += 1
            self.failed += state is State.FAILED
            self.cached += cached

    def leave(self, state: State) -> None:
        """One of those under way has got out of this state."""
        self._add(state, -1)

    def _add(self, state: State, number: int) -> bool:
        if state is State.RUNNING:  # to look states up in a mapping is three times as slow
            self.running += number
        elif state is State.RETRYING:
            self.retrying += number
        elif state is State.PAUSED:
            self.waiting += number
        else:
            return False
        return True


@attrs.define(eq=False)
class Bar:
    """A run, a group in it, or a map: `steps` are the tasks outside of maps, or the items of the map, `tasks` all."""

    name: str
    depth: int = 0
    total: int | None = None
    is_map: bool = False
    steps: Counts = attrs.field(factory=Counts)
    tasks: Counts = attrs.field(factory=Counts)
    inner: "dict[str, Bar]" = attrs.field(factory=dict[str, "Bar"])  # in order of their first events

    @property
    def is_going(self) -> bool:
        """Whether something in it is under way."""
        return bool(self.steps.running or self.tasks.running or self.tasks.retrying or self.tasks.waiting)

    @property
    def share(self) -> str:
        """How many steps are done, and of how many, where that is known."""
        return f"{self.steps.done}" if self.total is None else f"{self.steps.done}/{self.total}"

    def facts(self, seconds: float, *always: str) -> list[str]:
        """What there is to say beside that, after so many seconds: without what is zero, but for what is `always`."""
        steps, tasks = self.steps, self.tasks
        running = (steps.running or tasks.running) if self.is_map else steps.running  # an item may only tell its end
        failed = (steps if self.is_map else tasks).failed
        counts = {"running": running, "failed": failed, "retrying": tasks.retrying, "waiting": tasks.waiting}
        facts = [f"{count} {what}" for what, count in counts.items() if count or what in always]
        if tasks.cached:
            facts.append(f"{100 * tasks.cached // (tasks.done - tasks.maps)}% cached")
        if self.steps.done >= TELLING and seconds > 0:
            facts.append(f"{self.steps.done / seconds:.4g}/s")
        return facts

    def copied(self) -> "Bar":
        """What it says now, for somebody who reads it while it changes."""
        return attrs.evolve(self, steps=attrs.evolve(self.steps), tasks=attrs.evolve(self.tasks))


class Tally:
    """What the events of one run say about it so far; another thread may look at it meanwhile."""

    def __init__(self, event: RunEvent) -> None:
        self.run = Bar(inert(event.workflow), total=event.tasks)
        self.begun, self.state = event, event.state
        self.failures = 0  # that have been told
        self._going: dict[str, tuple[State, list[Counts]]] = {}  # tasks and items under way, and where they count
        self._maps: set[str] = set()
        self._open_maps: set[str] = set()  # maps in items of maps as well
        self._counts: dict[tuple[str, bool], list[Counts]] = {}  # where a task in this group counts, True for a map
        self._bars = 0
        self._lock = threading.Lock()

    def add(self, event: TaskEvent | MapEvent) -> None:
        """Count what has changed its state."""
        with self._lock:
            if isinstance(event, MapEvent):
                self._item(event)
            else:
                self._task(event)

    def _task(self, event: TaskEvent) -> None:
        around = self._map_around(event.path)
        key = _above(event.path, event.name) if around is None else around, around is not None
        counts = self._counts.get(key)
        if counts is None:
            bars = list(self._bars_at(key[0], is_map=key[1]))
            counts = [*(bar.tasks for bar in bars), *(bar.steps for bar in bars if around is None)]
            if len(self._counts) < MOST:
                self._counts[key] = counts
        if event.path in self._open_maps and event.state.is_final:
            self._open_maps.remove(event.path)
            for each in counts:
                each.maps += 1
        self._move(event.path, event.state, counts, cached=event.cached)

    def _item(self, event: MapEvent) -> None:
        self._open_maps.add(event.path)
        if self._map_around(event.path) is not None:  # a map in an item of another: part of that item
            return
        self._maps.add(event.path)
        *_, bar = self._bars_at(event.path, is_map=True)
        if bar.is_map:
            self._move(f"{event.path}[{event.index}]#", event.state, [bar.steps])  # unlike the path of any task

    def _move(self, key: str, state: State, counts: list[Counts], *, cached: bool = False) -> None:
        if key in self._going:
            before, counted = self._going.pop(key)
            for each in counted:
                each.leave(before)
        for each in counts:
            each.enter(state, cached=cached)
        if state in _GOING:
            self._going[key] = state, counts

    def _map_around(self, path: str) -> str | None:
        """The path of the outermost map in an item of which this is; a name may look like one without being in any."""
        heads = (path[: found.start()] for found in _ITEM.finditer(path)) if "[" in path else ()
        around = next((head for head in heads if head in self._maps or head in self._going), None)
        if around is not None:
            self._maps.add(around)
        return around

    def _bars_at(self, path: str, *, is_map: bool = False) -> Iterator[Bar]:
        """The run and what is on the way to a group, that included, as far as it is counted by itself."""
        yield (bar := self.run)
        names = path.split("/", DEEPEST) if path else []
        for depth, name in enumerate(names[:DEEPEST], 1):
            inner = bar.inner.get(name)
            if inner is None:
                if self._bars == MOST:
                    return
                self._bars += 1
                inner = bar.inner[name] = Bar(inert(name), depth)
            inner.is_map = inner.is_map or (is_map and depth == len(names))
            yield (bar := inner)

    def rows(self, most: int) -> tuple[list[Bar], int]:
        """At most so many of the run and what is in it, and how many more there are: then those not under way."""
        with self._lock:
            bars = list(_flat(self.run))
            rest = bars[1:] if len(bars) <= most else [bar for bar in bars[1:] if bar.is_going]
            shown = [self.run, *rest[: most - 1]]
            return [bar.copied() for bar in shown], len(bars) - len(shown)


def _above(path: str, name: str) -> str:
    """The path of the group around a task; a name may have slashes itself."""
    if path == name:
        return ""
    return path[: -len(name) - 1] if path.endswith(f"/{name}") else path.rpartition("/")[0]


def _flat(bar: Bar) -> Iterator[Bar]:
    yield bar
    for inner in bar.inner.values():
        yield from _flat(inner)

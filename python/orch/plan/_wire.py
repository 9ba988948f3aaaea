"""Second half of lowering: where every argument comes from, and which step waits for which.

In: a `Draft`. Out: `Wiring`, edges between nodes and one *slot* per argument. A run keeps all its values in one
list: first one slot a node, then one for every constant, default, input and context; an argument is an index into
it, whatever its origin. The precedence per parameter is API decision 1: Context annotation, `upstream`, bound
value, dependency or visible name, the value piped by the preceding step, input of the run, default.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import attrs

from orch.errors import DefinitionError, MissingDependencyError, close_matches
from orch.plan._call import Shape
from orch.plan._names import Binding, Names

if TYPE_CHECKING:
    from orch.definition import Parameter, Workflow
    from orch.plan._draft import Draft, Scope

__all__ = ("Input", "Wiring", "wire")

_SUGGESTED = 100  # problems that get a suggestion, which looks at every name; no message shows more


@attrs.define(eq=False)
class Input:
    """One input of the workflow: the slots that take it, and whether a run must give it."""

    slots: list[int] = attrs.field(factory=list[int])
    required: bool = False


@attrs.define(eq=False)
class Wiring:
    """What the names of a definition come down to; `slots` and `shapes` have one entry a node."""

    slots: list[tuple[int, ...]]
    shapes: list[Shape | None]
    constants: list[Any] = attrs.field(factory=list)  # of the slots behind the nodes' own, as far as known before a run
    sources: array[int] = attrs.field(factory=lambda: array("I"))
    targets: array[int] = attrs.field(factory=lambda: array("I"))
    order: array[int] = attrs.field(factory=lambda: array("B"))
    inputs: dict[str, Input] = attrs.field(factory=dict)
    contexts: list[tuple[int, int, bool]] = attrs.field(factory=list)  # (slot, node, required) per Context parameter
    collects: dict[int, tuple[int, ...]] = attrs.field(factory=dict)  # by node: the groups whose value it reads as one
    problems: list[DefinitionError] = attrs.field(factory=list)

    def edge(self, source: int, target: int, *, order: bool) -> None:
        """Let `target` wait for `source`: for its success, or with `order` only until it is settled."""
        self.sources.append(source)
        self.targets.append(target)
        self.order.append(order)

    def constant(self, value: object) -> int:
        """Give a value a slot of its own."""
        self.constants.append(value)
        return len(self.slots) + len(self.constants) - 1

    def input(self, parameter: Parameter) -> int:
        """Give a parameter that nothing in the workflow fills a slot that a run fills, or the default."""
        known = self.inputs.setdefault(parameter.name, Input())
        known.required |= parameter.required
        known.slots.append(self.constant(None if parameter.required else parameter.default))
        return known.slots[-1]


@attrs.define(eq=False)
class _Pipe:
    """A value handed on, waiting at `node`. A Graph takes it as one of its inputs, the first that is asked for."""

    slot: int
    node: int
    graph: bool = False
    name: str | None = None

    def fills(self, parameter: str) -> bool:
        if self.graph and self.name is None:
            self.name = parameter
        return not self.graph or self.name == parameter


@attrs.frozen(eq=False)
class _Entry:
    """What a step has before it: the node to wait for, the value handed on, the Graph (nodes low to high) between."""

    node: int | None = None
    pipe: _Pipe | None = None
    low: int = 0
    high: int = 0


@attrs.define(eq=False)
class _Frame:
    scope: int
    row: Scope
    entry: _Entry
    position: int = 0


def wire(draft: Draft) -> Wiring:
    """Resolve every name of the draft; problems are collected in the result, never raised here."""
    nodes = len(draft.tasks)
    wiring = Wiring([()] * nodes, [None] * nodes)
    _Walk(draft, wiring).run()
    return wiring


class _Walk:
    """Visits the steps in order of definition with the right names visible; keeps its own stack."""

    def __init__(self, draft: Draft, wiring: Wiring) -> None:
        self.draft = draft
        self.wiring = wiring
        self.names = Names(draft)

    def run(self) -> None:
        stack = [self._enter(0, _Entry())]
        while stack:
            frame = stack[-1]
            child = frame.row.children[frame.position] if frame.position < len(frame.row.children) else None
            if child is None:
                stack.pop()
                if stack:
                    self._leave(frame)
                    self._after(stack[-1], ~frame.scope)
            elif child >= 0:
                self._task(child, frame.entry)
                self._after(frame, child)
            else:
                stack.append(self._enter(~child, frame.entry))

    def _enter(self, scope: int, entry: _Entry) -> _Frame:
        """Its first steps have before them what the group has. In a Graph every step sees the names of all others."""
        row = self.draft.scopes[scope]
        if row.kind == "graph":
            for child in row.children:
                self.names.offer(scope, child)
            if not entry.high:
                pipe = entry.pipe and attrs.evolve(entry.pipe, graph=True)
                entry = _Entry(entry.node, pipe, row.start, row.end)
        return _Frame(scope, row, entry)

    def _after(self, frame: _Frame, child: int) -> None:
        """Go on behind a step: in a Sequence its names are now visible and its value is handed on."""
        frame.position += 1
        if frame.row.kind == "sequence":
            self.names.offer(frame.scope, child)
            slot, node = self.draft.handed(child), self.draft.exit(child)
            frame.entry = _Entry(node, frame.entry.pipe if slot is None else _Pipe(slot, node))

    def _leave(self, frame: _Frame) -> None:
        """Take the names away and order the exit join behind the steps (a Sequence's last waits for all others)."""
        row = frame.row
        if row.kind != "parallel":
            for child in reversed(row.children):
                self.names.withdraw(frame.scope, child)
        for child in row.children[-1:] if row.kind == "sequence" else row.children:
            self.wiring.edge(self.draft.exit(child), row.join, order=True)
        if not row.children and frame.entry.node is not None:
            self.wiring.edge(frame.entry.node, row.join, order=True)

    def _task(self, node: int, entry: _Entry) -> None:
        sources = self.wiring.sources
        first = len(sources)
        _Arguments(self.names, self.wiring, node, entry.pipe).wire()
        # Inside a Graph whoever waits for another step of it waits for what is before the Graph, too.
        within = entry.high and any(entry.low <= source < entry.high for source in sources[first:])
        if entry.node is not None and not within:
            self.wiring.edge(entry.node, node, order=True)


class _Arguments:
    """One task: a slot for each of its parameters, and the edges that follow from them."""

    __slots__ = ("deps", "groups", "names", "node", "picks", "pipe", "task", "wiring")

    def __init__(self, names: Names, wiring: Wiring, node: int, pipe: _Pipe | None) -> None:
        self.task = names.draft.task(node)
        self.node = node
        self.names = names
        self.wiring = wiring
        self.pipe = pipe
        self.deps: dict[str, Binding] = {}
        self.picks: dict[object, int] = {}
        self.groups: set[int] = set()

    def wire(self) -> None:
        task, wiring = self.task, self.wiring
        for dep in task.deps:
            self._dependency(dep)
        parameters = [each for each in task.signature.parameters if not (each.var_positional or each.var_keyword)]
        upstream = any(each.name == "upstream" for each in parameters)
        positional = [self._slot(each, named=not upstream) for each in parameters if not each.keyword_only]
        keywords = {each.name: self._slot(each, named=not upstream) for each in parameters if each.keyword_only}
        if task.bound or task.extra:
            positional += map(wiring.constant, task.extra)
            rest = task.bound.keys() - {each.name for each in parameters}
            keywords |= {name: wiring.constant(task.bound[name]) for name in task.bound if name in rest}
        given = [self._read((name,), binding) for name, binding in self.deps.items()] if upstream else []
        if keywords or self.picks or upstream:
            names = [each.name for each in parameters if not each.keyword_only]
            wiring.shapes[self.node] = self._shape(names, len(positional), tuple(keywords), upstream=upstream)
        wiring.slots[self.node] = (*positional, *keywords.values(), *given)
        if self.groups:
            wiring.collects[self.node] = tuple(sorted(self.groups))

    def _shape(self, names: list[str], count: int, keywords: tuple[str, ...], *, upstream: bool) -> Shape:
        end = count + len(keywords)
        at: dict[object, int] = {name: k for k, name in enumerate(names)}
        at |= {name: count + k for k, name in enumerate(keywords)} | {
            (name,): end + k for k, name in enumerate(self.deps)
        }
        picks = tuple((at[name], k) for name, k in self.picks.items())
        return Shape(count, keywords, picks, (at["upstream"], tuple(self.deps)) if upstream else None)

    def _dependency(self, dep: str | Workflow) -> None:
        name = dep if isinstance(dep, str) else dep.name
        found = self._meant(dep, name)
        if not found and name in {self.task.name, *self.task.outputs}:
            found = (Binding(-1, self.node, self.node + 1, self.node, -1, self.node),)  # itself: the shortest cycle
        if not found:
            few = len(self.wiring.problems) < _SUGGESTED
            known = close_matches(name, self.names.known()) if few else ()
            self.wiring.problems.append(MissingDependencyError(self.task.name, name, known))
        elif len(found) > 1:
            self._ambiguous(name, found)
        else:
            self.deps[name] = found[0]
            self.wiring.edge(found[0].node, self.node, order=False)

    def _meant(self, dep: str | Workflow, name: str) -> tuple[Binding, ...]:
        names, node = self.names, self.node
        by_name = names.find(names.steps, name, node)
        if isinstance(dep, str):
            return by_name or names.find(names.outputs, name, node)
        fn = id(getattr(dep, "fn", dep))  # a definition is a value: an equal task means the step, too
        alike = tuple(each for each in by_name if id(getattr(names.draft.tasks[each.slot], "fn", None)) == fn)
        return names.find(names.objects, id(dep), node) or alike or names.find(names.objects, fn, node) or by_name

    def _slot(self, parameter: Parameter, *, named: bool) -> int:
        """Return the slot of the parameter's value: API decision 1, line by line."""
        name, wiring = parameter.name, self.wiring
        if parameter.context:
            wiring.contexts.append((wiring.constant(None), self.node, parameter.required))
            return wiring.contexts[-1][0]
        if name == "upstream":
            return wiring.constant(None)
        if name in self.task.bound:
            return wiring.constant(self.task.bound[name])
        if named:
            found = (self.deps[name],) if name in self.deps else self.names.find(self.names.outputs, name, self.node)
            if len(found) > 1:
                self._ambiguous(name, found)
            if found:
                return self._read(name, found[0])
        pipe = self.pipe
        if pipe is not None and parameter.required and parameter.positional and pipe.fills(name):
            self.pipe = None
            return self._read(name, Binding(-1, 0, 0, pipe.slot, -1, pipe.node))
        return wiring.input(parameter)

    def _read(self, name: object, binding: Binding) -> int:
        _, _, _, slot, pick, node = binding
        self.wiring.edge(node, self.node, order=False)
        if pick >= 0:
            self.picks[name] = pick
        if slot in self.names.draft.joins:
            self.groups.add(self.names.draft.joins[slot])
        return slot

    def _ambiguous(self, name: str, candidates: tuple[Binding, ...]) -> None:
        means = " or ".join(repr(self.names.draft.path(each.slot)) for each in candidates)
        self.wiring.problems.append(
            DefinitionError(
                f"task {self.task.name!r}: {name!r} is ambiguous, it could mean {means}; "
                f"give one of them another name (name=…), or bind the value",
            ),
        )

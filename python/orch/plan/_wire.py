"""
Second half of lowering: where every argument comes from, and which step waits for which.

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
from orch.plan._names import Binding, Names, kind_of

if TYPE_CHECKING:
    from orch.definition import Parameter, Workflow
    from orch.plan._draft import Draft

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
    constants: list[Any] = attrs.field(factory=list)
    """The values of the slots behind the nodes' own, as far as they are known before a run."""
    sources: array[int] = attrs.field(factory=lambda: array("I"))
    targets: array[int] = attrs.field(factory=lambda: array("I"))
    order: array[int] = attrs.field(factory=lambda: array("B"))
    inputs: dict[str, Input] = attrs.field(factory=dict)
    contexts: list[tuple[int, int, bool]] = attrs.field(factory=list)
    """(slot, node, required) for every parameter that takes the Context."""
    collects: dict[int, tuple[int, ...]] = attrs.field(factory=dict)
    """By node: the groups (scope numbers) whose value the step reads as one."""
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


@attrs.define(eq=False)
class _Entry:
    """What a step has before it: the node to wait for, the value handed on, the Graph (nodes low to high) this came through."""

    node: int | None = None
    pipe: _Pipe | None = None
    low: int = 0
    high: int = 0


@attrs.define(eq=False)
class _Frame:
    scope: int
    entry: _Entry
    position: int = 0


def wire(draft: Draft) -> Wiring:
    """Resolve every name of the draft; problems are collected in the result, never raised here."""
    nodes = len(draft.tasks)
    wiring = Wiring([()] * nodes, [None] * nodes)
    walk = _Walk(draft, wiring)
    walk.run()
    return wiring


class _Walk:
    """Visits the steps in order of definition with the right names visible; keeps its own stack."""

    def __init__(self, draft: Draft, wiring: Wiring) -> None:
        self.draft = draft
        self.wiring = wiring
        self.names = Names(draft)
        self.kinds = [kind_of(row.group) for row in draft.scopes]

    def run(self) -> None:
        stack = [_Frame(0, _Entry())]
        self._enter(0)
        while stack:
            frame = stack[-1]
            children = self.draft.scopes[frame.scope].children
            if frame.position == len(children):
                stack.pop()
                self._leave(frame)
                if stack:
                    self._after(stack[-1], ~frame.scope)
            elif children[frame.position] >= 0:
                _Arguments(self, children[frame.position], frame.entry).wire()
                self._after(frame, children[frame.position])
            else:
                scope = ~children[frame.position]
                stack.append(_Frame(scope, self._into(scope, frame.entry)))
                self._enter(scope)

    def _enter(self, scope: int) -> None:
        """In a Graph every step sees the names of all others, wherever they stand."""
        if self.kinds[scope] == "graph":
            for child in self.draft.scopes[scope].children:
                self.names.offer(scope, child)

    def _after(self, frame: _Frame, child: int) -> None:
        """Go on behind a step: in a Sequence its names are now visible and its value is handed on."""
        frame.position += 1
        if self.kinds[frame.scope] != "sequence":
            return
        self.names.offer(frame.scope, child)
        slot, node = self.draft.handed(child), self.draft.exit(child)
        frame.entry = _Entry(node, frame.entry.pipe if slot is None else _Pipe(slot, node))

    def _leave(self, frame: _Frame) -> None:
        children = self.draft.scopes[frame.scope].children
        if self.kinds[frame.scope] in {"graph", "sequence"}:
            for child in reversed(children):
                self.names.withdraw(frame.scope, child)
        if frame.scope:
            self._exits(frame)

    def _into(self, scope: int, entry: _Entry) -> _Entry:
        """Return what the first steps inside a group have before them: what the group has."""
        if self.kinds[scope] != "graph" or entry.high:
            return entry
        row = self.draft.scopes[scope]
        pipe = entry.pipe and attrs.evolve(entry.pipe, graph=True)
        return _Entry(entry.node, pipe, row.start, row.end)

    def _exits(self, frame: _Frame) -> None:
        """Order the exit join behind the steps of the group (in a Sequence the last waits for all others)."""
        row = self.draft.scopes[frame.scope]
        last = row.children[-1:] if self.kinds[frame.scope] == "sequence" else row.children
        for child in last:
            self.wiring.edge(self.draft.exit(child), row.join, order=True)
        if not row.children and frame.entry.node is not None:
            self.wiring.edge(frame.entry.node, row.join, order=True)


class _Arguments:
    """One task: finds a slot for each of its parameters, and the edges that follow from them."""

    __slots__ = (
        "collects",
        "deps",
        "draft",
        "entry",
        "first",
        "keywords",
        "names",
        "node",
        "picks",
        "pipe",
        "positional",
        "task",
        "wiring",
    )

    def __init__(self, walk: _Walk, node: int, entry: _Entry) -> None:
        self.task = walk.draft.task(node)
        self.node = node
        self.entry = entry
        self.pipe = entry.pipe
        self.draft = walk.draft
        self.names = walk.names
        self.wiring = walk.wiring
        self.first = len(walk.wiring.sources)
        self.deps: dict[str, Binding] = {}
        self.positional: list[int] = []
        self.keywords: list[tuple[str, int]] = []
        self.picks: dict[str, int] = {}
        self.collects: set[int] = set()

    def wire(self) -> None:
        for dep in self.task.deps:
            self._dependency(dep)
        parameters = [each for each in self.task.signature.parameters if not (each.var_positional or each.var_keyword)]
        upstream = any(each.name == "upstream" and each.name not in self.task.bound for each in parameters)
        for parameter in parameters:
            slot = self._slot(parameter, named=not upstream)
            if parameter.positional:
                self.positional.append(slot)
            else:
                self.keywords.append((parameter.name, slot))
        self._entry_edge()
        self._finish(parameters, upstream=upstream)

    # -- dependencies ----------------------------------------------------------------------------------------------

    def _dependency(self, dep: str | Workflow) -> None:
        name = dep if isinstance(dep, str) else dep.name
        found = self._visible(dep, name)
        if not found and name in {self.task.name, *self.task.outputs}:
            found = (Binding(-1, self.node, self.node + 1, self.node, -1, self.node),)
        if not found:
            few = len(self.wiring.problems) < _SUGGESTED
            known = close_matches(name, self.names.known()) if few else ()
            self._problem(MissingDependencyError(self.task.name, name, known))
        elif len(found) > 1:
            self._ambiguous(name, found)
        else:
            self.deps[name] = found[0]
            self.wiring.edge(found[0].node, self.node, order=False)

    def _visible(self, dep: str | Workflow, name: str) -> tuple[Binding, ...]:
        names = self.names
        if not isinstance(dep, str):
            found = names.find(names.objects, id(dep), self.node)
            found = found or names.find(names.objects, id(getattr(dep, "fn", None)), self.node)
            if found:
                return found
        return names.find(names.steps, name, self.node) or names.find(names.outputs, name, self.node)

    # -- parameters ------------------------------------------------------------------------------------------------

    def _slot(self, parameter: Parameter, *, named: bool) -> int:
        """Return the slot of the parameter's value: API decision 1, line by line."""
        name = parameter.name
        if parameter.context:
            slot = self.wiring.constant(None)
            self.wiring.contexts.append((slot, self.node, parameter.required))
            return slot
        if name in self.task.bound:
            return self.wiring.constant(self.task.bound[name])
        if name == "upstream":
            return self.wiring.constant(None)
        binding = self._named(name) if named else None
        if binding is not None:
            return self._read(name, binding)
        pipe = self.pipe
        if pipe is not None and parameter.required and parameter.positional and pipe.fills(name):
            self.pipe = None
            return self._read(name, Binding(-1, 0, 0, pipe.slot, -1, pipe.node))
        return self._input(parameter)

    def _named(self, name: str) -> Binding | None:
        if name in self.deps:
            return self.deps[name]
        found = self.names.find(self.names.outputs, name, self.node)
        if len(found) > 1:
            self._ambiguous(name, found)
        return found[0] if found else None

    def _read(self, name: str, binding: Binding) -> int:
        self.wiring.edge(binding.node, self.node, order=False)
        if binding.pick >= 0:
            self.picks[name] = binding.pick
        if binding.slot in self.draft.joins:
            self.collects.add(self.draft.joins[binding.slot])
        return binding.slot

    def _input(self, parameter: Parameter) -> int:
        entry = self.wiring.inputs.get(parameter.name)
        if entry is None:
            entry = self.wiring.inputs[parameter.name] = Input()
        if parameter.required:
            entry.required = True
        slot = self.wiring.constant(None if parameter.required else parameter.default)
        entry.slots.append(slot)
        return slot

    # -- the end ---------------------------------------------------------------------------------------------------

    def _entry_edge(self) -> None:
        """Wait for what stands before, unless a step of the same Graph that is waited for does so already."""
        entry, sources = self.entry, self.wiring.sources
        if entry.node is None:
            return
        if entry.high and any(entry.low <= sources[k] < entry.high for k in range(self.first, len(sources))):
            return
        self.wiring.edge(entry.node, self.node, order=True)

    def _finish(self, parameters: list[Parameter], *, upstream: bool) -> None:
        extra = [self.wiring.constant(value) for value in self.task.extra]
        unknown = self.task.bound.keys() - {each.name for each in parameters}
        self.keywords += [
            (name, self.wiring.constant(self.task.bound[name])) for name in self.task.bound if name in unknown
        ]
        flat = [*self.positional, *extra, *(slot for _, slot in self.keywords)]
        shape = self._shape(parameters, len(self.positional) + len(extra), upstream=upstream)
        if upstream:
            flat += [self._read("", binding) for binding in self.deps.values()]
        self.wiring.slots[self.node] = tuple(flat)
        self.wiring.shapes[self.node] = shape
        if self.collects:
            self.wiring.collects[self.node] = tuple(sorted(self.collects))

    def _shape(self, parameters: list[Parameter], positional: int, *, upstream: bool) -> Shape | None:
        if not (self.keywords or self.picks or upstream):
            return None
        names = [each.name for each in parameters if each.positional]
        keywords = tuple(name for name, _ in self.keywords)
        at = {name: k for k, name in enumerate(names)} | {name: positional + k for k, name in enumerate(keywords)}
        picks = tuple((at[name], k) for name, k in self.picks.items())
        return Shape(positional, keywords, picks, (at["upstream"], tuple(self.deps)) if upstream else None)

    def _problem(self, problem: DefinitionError) -> None:
        self.wiring.problems.append(problem)

    def _ambiguous(self, name: str, candidates: tuple[Binding, ...]) -> None:
        means = " or ".join(f"{self.draft.segments[each.slot]!r}" for each in candidates)
        self._problem(
            DefinitionError(
                f"task {self.task.name!r}: {name!r} is ambiguous, it could mean {means}; "
                f"give one of them another name (name=…), or bind the value",
            ),
        )

"""Second half of lowering: where every argument comes from, and which step waits for which.

In: a `Draft`. Out: `Wiring`, edges between nodes and one *slot* per argument. A run keeps all its values in one list:
first one slot a node, then one for every constant, default, input and context; an argument is an index into it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, cast

import attrs

from orch.definition import Border, Parameter, Resource, Signature, Task, Use, Workflow
from orch.definition._group import folded
from orch.errors import DefinitionError, MissingDependencyError, close_matches
from orch.plan._call import Shape
from orch.plan._draft import NONE, Draft, Scope
from orch.plan._names import Binding, Names

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
    uses: dict[int, list[tuple[int, Resource[Any]]]] = attrs.field(factory=dict)  # by node: slots that resources fill
    replaceable: dict[str, tuple[int, Resource[Any]]] = attrs.field(factory=dict)  # names that may be bound instead
    collects: dict[int, tuple[int, ...]] = attrs.field(factory=dict)  # by node: the groups whose value it reads as one
    problems: list[DefinitionError] = attrs.field(factory=list)

    def wait(self, target: int, sources: Sequence[int], *, order: bool) -> None:
        """Let `target` wait for `sources`: for their success, or with `order` only until they are settled."""
        self.sources.extend(sources)
        self.targets.extend([target] * len(sources))
        self.order.extend([order] * len(sources))

    def constant(self, value: object) -> int:
        """Give a value a slot of its own."""
        self.constants.append(value)
        return len(self.slots) + len(self.constants) - 1

    def input(self, parameter: Parameter, name: str) -> int:
        """Give a parameter that nothing in the workflow fills a slot that a run fills, or the default."""
        known = self.inputs.setdefault(name, Input())
        known.required |= parameter.required
        known.slots.append(self.constant(None if parameter.required else parameter.default))
        return known.slots[-1]


@attrs.frozen(eq=False)
class _Before:
    """What a step has before it in a Sequence."""

    last: tuple[int, ...] = ()  # the step before, if there is one: the node to wait for
    inside: range = range(0)  # nodes that wait for it, too
    slot: int = -1  # the value handed on, if there is one
    source: int = -1  # the node that has to succeed for it
    taker: dict[str, str] | None = None  # a Graph takes the value as one of its inputs, the first that is asked for


def wire(draft: Draft) -> Wiring:
    """Resolve every name of the draft; problems are collected in the result, never raised here."""
    nodes = len(draft.tasks)
    walk = _Walk(draft, Wiring([()] * nodes, [None] * nodes), Names(draft), _bordered(draft))
    for node, task in enumerate(draft.tasks):
        walk.enter(node)
        scope = draft.scope_of[node]
        if task is None:
            walk.leave(draft.joins[node])
        else:
            walk.visit(node, task, walk.before[scope])
        if draft.scopes[scope].kind == "sequence":
            walk.go_on(scope, node)
    return walk.wiring


def _bordered(draft: Draft) -> list[int]:
    inner = list[int]()
    for scope, row in enumerate(draft.scopes):
        crossed = row.border is not None and (row.border.values or row.border.takes or row.is_task)
        inner.append(scope if crossed else inner[row.parent] if scope else NONE)
    return inner if any(scope != NONE for scope in inner) else []  # as it mostly is


@attrs.define(eq=False)
class _Walk:
    """Visits the nodes in order with the right names visible; some of its fields are about the task just visited."""

    draft: Draft
    wiring: Wiring
    names: Names
    bordered: list[int]  # by scope, the innermost one, itself or around it, whose border inputs cross; may be empty
    before: list[_Before] = attrs.field(factory=list[_Before])  # by scope, what its next step has before it
    node: int = attrs.field(init=False)
    task: Task[..., Any] = attrs.field(init=False)
    handed: _Before = attrs.field(init=False)  # has the value that goes into the first parameter that takes it
    mapped: bool = attrs.field(init=False)  # it takes `upstream`: then names of steps mean nothing to other parameters
    needs: list[int] = attrs.field(init=False)
    deps: dict[str, Binding] = attrs.field(init=False)
    picks: dict[str, int] = attrs.field(init=False)  # by parameter, which of several outputs of the producer it takes

    def enter(self, node: int) -> None:
        """Enter the groups that begin here: their first steps have before them what the group has."""
        scopes, before = self.draft.scopes, self.before
        while len(before) < len(scopes) and scopes[len(before)].start == node:
            scope, row = len(before), scopes[len(before)]
            given = before[row.parent] if scope else _Before()
            if row.kind == "graph":
                for child in row.children:
                    self.names.offer(scope, child)
                given = attrs.evolve(given, taker={}) if given.taker is None else given
            before.append(given)

    def leave(self, scope: int) -> None:
        """Order the exit join behind the steps: all of them, or the last of a Sequence, which waits for the others."""
        row = self.draft.scopes[scope]
        exits = [] if row.kind == "sequence" else [self.draft.exit(child) for child in row.children]
        self.wiring.wait(row.join, exits or self.before[scope].last, order=True)

    def go_on(self, scope: int, node: int) -> None:
        """Go on behind a step of a Sequence: its names are now visible, and its value is handed on.

        A Sequence hands on what its last step does, an empty one what it was handed.
        """
        group, before, end = self.draft.joins.get(node), self.before[scope], self.draft.scopes[scope].end
        self.names.offer(scope, node if group is None else ~group)
        slot = self.before[group].slot if group and self.draft.scopes[group].kind == "sequence" else node
        source, taker = (before.source, before.taker) if slot == before.slot else (node, None)
        self.before[scope] = _Before((node,), range(node + 1, end), slot, source, taker)

    def visit(self, node: int, task: Task[..., Any], before: _Before) -> None:
        """Wire a task: its arguments, and what it waits for; the step before it in a Sequence, or others that do."""
        self.node, self.task, self.handed, self.mapped = node, task, before, False
        self.needs, self.deps, self.picks = [], {}, {}
        for dep in task.deps:
            self._dependency(dep)
        parameters, joins = task.signature.parameters, self.draft.joins
        for each in parameters:
            if each.name == "upstream" and not each.context:
                self.mapped = each.positional or each.keyword_only
        slots = [self._slot(each) for each in parameters if each.positional]
        if len(slots) < len(parameters) or self.mapped or self.picks or task.bound or task.extra:
            slots += self._special(task.signature)
        self.wiring.slots[node] = tuple(slots)
        if joins and (groups := {joins[slot] for slot in slots if slot in joins}):
            self.wiring.collects[node] = tuple(sorted(groups))
        self.wiring.wait(node, self.needs, order=False)
        if before.last and not any(need in before.inside for need in self.needs):
            self.wiring.wait(node, before.last, order=True)

    def _special(self, signature: Signature) -> list[int]:
        """Return the slots that are not positional, and note how arguments are made where that is not by position."""
        keywords = [self._slot(each) for each in signature.parameters if each.keyword_only]
        names = [each.name for each in signature.parameters if each.positional or each.keyword_only]
        self._check_loose(names)
        upstream = {name: binding.pick for name, binding in self.deps.items()} if self.mapped else None
        if keywords or self.mapped or self.picks or self.task.extra or self.task.bound.keys() - names:
            self.wiring.shapes[self.node] = Shape(tuple(names), self.picks, upstream)
        return keywords + [binding.slot for binding in self.deps.values() if self.mapped]

    def _check_loose(self, names: Sequence[str]) -> None:
        """Refuse resources that are bound to what is no parameter: nobody would put their values there."""
        task = self.task
        loose = [*task.extra, *(value for name, value in task.bound.items() if name not in names)]
        for use in (each for each in loose if isinstance(each, Use)):
            what = f"task {task.name!r}: expected plain values for *args and **kwargs, found {use!r}"
            cure = "give the function a parameter for the resource"
            self.wiring.problems.append(DefinitionError(f"{what}; {cure}"))

    def _slot(self, parameter: Parameter) -> int:
        """Return the slot of the parameter's value: the order of precedence, line by line."""
        name, wiring = parameter.name, self.wiring
        if parameter.context:
            wiring.contexts.append((wiring.constant(None), self.node, parameter.required))
            return wiring.contexts[-1][0]
        if name == "upstream":
            return wiring.constant(None)
        if name in self.task.bound:
            return self._bound(self.task.bound[name])
        if type(parameter.default) is Use:
            return self._used(parameter.default.resource, name)
        passed = 0  # the end of the last group whose border the name has crossed: names inside of it do not count
        for row, border in self._borders():
            if row.is_task or name in border.values or name in border.takes:
                slot = self._filled(parameter, name, range(passed, row.end + 1), row.start)
                if slot >= 0 or name in border.values:
                    return slot if slot >= 0 else self._bound(border.values[name])
                name, passed = border.takes.get(name, name), row.end + 1
        slot = self._filled(parameter, name, range(passed, NONE) if passed else None)
        return wiring.input(parameter, name) if slot < 0 else slot

    def _bound(self, value: object) -> int:
        return self._filled_by(value.resource) if isinstance(value, Use) else self.wiring.constant(value)

    def _filled_by(self, resource: Resource[Any]) -> int:
        slot = self.wiring.constant(None)
        self.wiring.uses.setdefault(self.node, []).append((slot, resource))
        return slot

    def _used(self, resource: Resource[Any], name: str) -> int:
        """Return the slot of a parameter that asks for a resource, unless a group around has bound another value."""
        for _, border in self._borders():
            if name in border.values:
                return self._bound(border.values[name])
            name = border.takes.get(name, name)
        self.wiring.replaceable.setdefault(name, (self.node, resource))
        return self._filled_by(resource)

    def _borders(self) -> Iterator[tuple[Scope, Border]]:
        """Yield the groups around the task whose borders its inputs cross, the innermost first."""
        scopes = self.draft.scopes
        scope = self.bordered[self.draft.scope_of[self.node]] if self.bordered else NONE
        while scope != NONE:
            row = scopes[scope]
            yield row, cast("Border", row.border)
            scope = self.bordered[row.parent] if scope else NONE

    def _filled(self, parameter: Parameter, name: str, ends: range | None, start: int = 0) -> int:
        """Return the slot with which a step fills a parameter, called `name` where it is, or -1.

        Names are looked up in scopes with an end in `ends`, and a value is piped that comes from a node behind `start`.
        """
        if not self.mapped:
            dep = self.deps.get(parameter.name)
            found = [dep] if dep else self.names.find(folded(name), self.node, ends)
            if len(found) > 1:
                self._ambiguous(name, found)
            if found:
                return self._read(parameter.name, found[0])
        before = self.handed
        takes = before.slot >= 0 and before.source >= start and parameter.required and parameter.positional
        if takes and (before.taker is None or before.taker.setdefault("input", name) == name):
            self.handed = _Before()
            return self._read(parameter.name, Binding(0, 0, before.source, before.slot))
        return -1

    def _read(self, name: str, binding: Binding) -> int:
        self.needs.append(binding.node)
        if binding.pick >= 0:
            self.picks[name] = binding.pick
        return binding.slot

    def _dependency(self, dep: str | Workflow) -> None:
        name, node, fn = dep if isinstance(dep, str) else dep.name, self.node, id(getattr(dep, "fn", dep))
        key = folded(name)
        keys = [(key,), key] if isinstance(dep, str) else [id(dep), (key, fn), fn, (key,)]
        found = next(filter(None, (self.names.find(each, node) for each in keys)), [])
        if not found and key in map(folded, (self.task.name, *self.task.outputs)):
            found = [Binding(0, node, node, node)]  # itself: the shortest cycle
        if not found:
            few = len(self.wiring.problems) < _SUGGESTED
            known = close_matches(name, self.names.known(node)) if few else ()
            self.wiring.problems.append(MissingDependencyError(self.task.name, name, known))
        elif len(found) > 1:
            self._ambiguous(name, found)
        else:
            self.deps[name] = found[0]
            self.needs.append(found[0].node)

    def _ambiguous(self, name: str, candidates: list[Binding]) -> None:
        means = " or ".join(repr(self.draft.path(each.slot)) for each in candidates)
        cure = "give one of them another name (name=…), or bind the value"
        message = f"task {self.task.name!r}: {name!r} is ambiguous, it could mean {means}; {cure}"
        self.wiring.problems.append(DefinitionError(message))

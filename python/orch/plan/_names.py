"""Which names a step can see: a symbol table, as in a block-structured language.

Entering a Graph makes the names of all its steps visible, a Sequence makes each step visible to those after it. Nodes
are visited in order, so what a group has bound is out of sight for good behind its end, and whoever meets it next
drops it: a look-up takes constant time at any depth. A closed group offers its own name and the outputs of its direct
tasks, and nothing deeper.

An output is found by its name. For `deps` a step is found by `(name,)`, by the id of itself or its function, and by
`(name, id of its function)`: definitions are values, so an equal task means the step, too. Names are folded: two that
look the same are the same.
"""

from collections.abc import Iterable
from typing import NamedTuple

from orch.definition._group import folded
from orch.plan._draft import Draft, Scope

__all__ = ("Binding", "Names")

_SHOWN = 10  # candidates of an ambiguous name


class Binding(NamedTuple):
    """What a name stands for, and for whom: the nodes before `end`, except those of the step that offers it."""

    end: int
    low: int  # first node of that step
    node: int  # its last, the one to wait for: the task, or the exit join of the group
    slot: int  # where the value is: the node of a task, or the exit join of a group
    pick: int = -1  # which of several outputs, or -1 for the whole value
    own: bool = True  # whether it is the step's own, and not that of a step in it


class Names:
    """The table of what is visible."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.table: dict[object, list[Binding]] = {}
        self.deps = any(task is not None and task.deps for task in draft.tasks)  # else nobody asks for steps

    def offer(self, scope: int, child: int) -> None:
        """Make the names of a step of `scope` visible in it from now on."""
        draft, end, low, node, own = (
            self.draft,
            self.draft.scopes[scope].end,
            child,
            child,
            self.draft.outputs_of(child),
        )
        given: Iterable[dict[str, tuple[int, int]]] = (own,)
        if child < 0:
            row = draft.scopes[~child]
            low, node, given = row.start, row.join, (own, *self._inner(row))
        for outputs in given:
            for name, (slot, pick) in outputs.items():
                self._bound(folded(name), node).append(Binding(end, low, node, slot, pick, outputs is own))
        if self.deps:
            step = draft.step(child)
            name, fn = folded(step.name), id(getattr(step, "fn", step))
            for key in {(name,), id(step), fn, (name, fn)}:
                self._bound(key, node).append(Binding(end, low, node, node))

    def find(self, key: object, node: int, ends: range | None = None) -> list[Binding]:
        """Return what `key` means for the step at `node`: nothing, one binding, or several if it is ambiguous.

        The innermost scope wins (with `ends`: that ends there), in it a step over what a group offers. What contains
        the node itself is not meant: a task is no input of its own.
        """
        found: list[Binding] = []
        for each in reversed(self._bound(key, node)):
            if ends is not None and each.end not in ends:
                continue
            if found and (each.end != found[0].end or len(found) > _SHOWN):
                break
            if not each.low <= node <= each.node:
                found.append(each)
        if len(found) > 1:
            found = [each for each in found[::-1] if each.own] or found[::-1]
        return found

    def _inner(self, row: Scope) -> Iterable[dict[str, tuple[int, int]]]:
        """Return what a group offers beside its own: what its direct tasks give, or as much of it as it says."""
        if row.gives is None:
            return [self.draft.outputs_of(each) for each in row.children if each >= 0]
        return [{row.group.name: (row.join, -1)} if row.is_task else row.gives]

    def known(self, node: int) -> list[str]:
        """Return every name that is visible at `node`, sorted."""
        keys = (key for key, stack in self.table.items() if stack and stack[0].end > node)
        return sorted({str(key[0] if isinstance(key, tuple) else key) for key in keys if not isinstance(key, int)})

    def _bound(self, key: object, node: int) -> list[Binding]:
        """Return what is bound to `key`, the innermost last, without what is out of sight at `node`."""
        stack = self.table.setdefault(key, [])
        while stack and stack[-1].end <= node:
            stack.pop()
        return stack

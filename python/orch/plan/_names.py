"""Which names a step can see: symbol tables as in a block-structured language.

Entering a Graph makes the names of all its steps visible, a Sequence makes each step visible to those after it,
leaving takes the names away again. So every look-up is constant time at any depth. A closed group offers its own
name and the outputs of its direct tasks, and nothing deeper.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from orch.definition import Task
from orch.plan._draft import Draft

__all__ = ("Binding", "Names")


class Binding(NamedTuple):
    """What a name stands for; `low` and `high` (exclusive) are the nodes of the step that offers it."""

    scope: int
    low: int
    high: int
    slot: int  # where the value is: the node of a task, or the exit join of a group
    pick: int  # which of several outputs, or -1 for the whole value
    node: int  # the node to wait for: the task, or the exit join of the group that offers the name


_SHOWN = 10  # candidates of an ambiguous name
Table = dict[Any, list[Binding]]
Offer = tuple[Table, Any, Binding]


class Names:
    """The tables: `outputs` for parameters; `steps` (by name) and `objects` (by id of step or function) for deps."""

    __slots__ = ("deps", "draft", "objects", "outputs", "steps")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.deps = any(task is not None and task.deps for task in draft.tasks)  # else steps and objects are not asked
        self.outputs: Table = {}
        self.steps: Table = {}
        self.objects: Table = {}

    def offer(self, scope: int, child: int) -> None:
        """Make the names of a step of `scope` visible."""
        for table, key, binding in self._offers(scope, child):
            stack = table.get(key)
            if stack is None:
                table[key] = [binding]
            else:
                stack.append(binding)

    def withdraw(self, scope: int, child: int) -> None:
        """Take the names of a step away again; in reverse order of offering."""
        for table, key, _ in self._offers(scope, child):
            table[key].pop()

    def find(self, table: Table, key: object, node: int) -> tuple[Binding, ...]:
        """Return what `key` means for the step at `node`: nothing, one binding, or two if it is ambiguous.

        The innermost scope wins. What contains the node itself is not meant: a task is no input of its own.
        """
        stack = table.get(key)
        if stack is None:
            return ()
        if len(stack) == 1:
            return () if stack[0].low <= node < stack[0].high else (stack[0],)
        found: list[Binding] = []
        for each in reversed(stack):
            if not each.low <= node < each.high and each not in found:
                if len(found) > _SHOWN or (found and each.scope != found[0].scope):
                    break
                found.append(each)
        direct = tuple(each for each in found[::-1] if each.slot == each.node)  # a step wins over what a group offers
        return direct or tuple(found[::-1])

    def known(self) -> list[str]:
        """Return every name visible now, sorted."""
        return sorted({key for table in (self.steps, self.outputs) for key, stack in table.items() if stack})

    def _offers(self, scope: int, child: int) -> list[Offer]:
        if child >= 0:
            task = self.draft.task(child)
            binding = Binding(scope, child, child + 1, child, -1, child)
            return self._outputs(task, binding) + (self._objects(task, binding, task.fn) if self.deps else [])
        row = self.draft.scopes[~child]
        binding = Binding(scope, row.start, row.join + 1, row.join, -1, row.join)
        found: list[Offer] = [(self.outputs, row.group.name, binding)]
        for inner in row.children:
            if inner >= 0:
                found += self._outputs(self.draft.task(inner), binding._replace(slot=inner))
        return found + (self._objects(row.group, binding, row.group) if self.deps else [])

    def _outputs(self, task: Task[..., Any], binding: Binding) -> list[Offer]:
        if not task.unpacks:
            return [(self.outputs, task.output or task.name, binding)]
        return [(self.outputs, name, binding._replace(pick=k)) for k, name in enumerate(task.outputs)]

    def _objects(self, step: Any, binding: Binding, fn: object) -> list[Offer]:
        return [(self.steps, step.name, binding), (self.objects, id(step), binding), (self.objects, id(fn), binding)]

"""
Which names a step can see: symbol tables as in a block-structured language.

Entering a Graph makes the names of all its steps visible, a Sequence makes each step visible to those after it,
leaving takes the names away again. So every look-up is constant time at any depth. A closed group offers its own
name and the outputs of its direct tasks, and nothing deeper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orch.definition import Group, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orch.plan._draft import Draft

__all__ = ("Binding", "Names", "kind_of")


class Binding(NamedTuple):
    """What a name stands for: a value in a slot, given by the step that covers the nodes low to high (exclusive)."""

    scope: int
    low: int
    high: int
    slot: int
    """Where the value is: the node of a task, or the exit join of a group."""
    pick: int
    """Which of several outputs, or -1 for the whole value."""
    node: int
    """The node to wait for: the task, or the exit join of the group that offers the name."""


Table = dict[Any, list[Binding]]


class Names:
    """The tables: `outputs` for parameters, `steps` (by name) and `objects` (by id of step or function) for deps."""

    __slots__ = ("draft", "objects", "outputs", "steps")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
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

    def _offers(self, scope: int, child: int) -> Iterator[tuple[Table, Any, Binding]]:
        if child >= 0:
            task = self.draft.tasks[child]
            if task is not None:
                binding = Binding(scope, child, child + 1, child, -1, child)
                yield self.steps, task.name, binding
                yield self.objects, id(task), binding
                yield self.objects, id(task.fn), binding
                yield from self._outputs(task, binding)
            return
        row = self.draft.scopes[~child]
        binding = Binding(scope, row.start, row.join + 1, row.join, -1, row.join)
        yield self.steps, row.group.name, binding
        yield self.objects, id(row.group), binding
        yield self.outputs, row.group.name, binding
        for inner in row.children:
            task = self.draft.tasks[inner] if inner >= 0 else None
            if task is not None:
                yield from self._outputs(task, binding._replace(slot=inner))

    def _outputs(self, task: Task[..., Any], binding: Binding) -> Iterator[tuple[Table, Any, Binding]]:
        if not task.unpacks:
            yield self.outputs, task.outputs[0], binding
            return
        for k, name in enumerate(task.outputs):
            yield self.outputs, name, binding._replace(pick=k)

    def find(self, table: Table, key: object, node: int) -> tuple[Binding, ...]:
        """
        Return what `key` means for the step at `node`: nothing, one binding, or the candidates where it is ambiguous.

        The innermost scope wins. What contains the node itself is not meant: a task is no input of its own.
        """
        stack = table.get(key)
        if not stack:
            return ()
        top = stack[-1]
        if len(stack) == 1:
            return () if top.low <= node < top.high else (top,)
        found: tuple[Binding, ...] = ()
        for binding in reversed(stack):
            if binding.low <= node < binding.high:
                continue
            if found and binding.scope != found[0].scope:
                break
            found = (binding, *found)
            if len(found) > 1:
                break
        return found

    def known(self) -> list[str]:
        """Return every name visible now, sorted."""
        return sorted({key for table in (self.steps, self.outputs) for key, stack in table.items() if stack})


def kind_of(group: object) -> str:
    """Return the kind of a scope: that of its group, or "task" where a lone task is the whole workflow."""
    return group.kind if isinstance(group, Group) else "task"

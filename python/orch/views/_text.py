"""A tree for terminals: one line a step, whatever the names contain."""

from collections import defaultdict

from orch.errors import inert
from orch.event._text import cut, describe
from orch.result import GroupRecord, TaskRecord
from orch.views._tree import Row, Subject, edges, tree

__all__ = ("to_text",)

_DEEPEST, _SHOWN, _LONGEST = 24, 8, 200  # levels of indentation, names after an arrow, characters of an error


def to_text(workflow_or_result: Subject, /) -> str:
    """Draw a workflow, a plan or a result as a tree, one line a step, control characters escaped.

    `← a, b` names the steps whose values it needs, `[shared]` says that the same object stands further above. Of a
    result: state, seconds, attempts if several, error.

    >>> import orch
    >>> def pages(url): ...
    >>> def count(pages): ...
    >>> print(to_text(orch.Graph(pages, count, name="crawl", limit=2)))
    crawl (graph, limit 2)
    ├─ pages
    └─ count ← pages

    Raises:
        DefinitionError: The definition cannot be run.
    """
    rows, plan = tree(workflow_or_result)
    names, needs, bars = {row.number: row.name for row in rows}, defaultdict[int, list[str]](list), list[str]()
    for (source, target), needed in edges(plan).items():
        if needed:
            needs[target].append(names[source])
    return "\n".join(_indent(row, bars) + _line(row, needs[row.number]) for row in rows)


def _indent(row: Row, bars: list[str]) -> str:
    """Draw the branch to a row; `bars` holds what goes on below each of its ancestors."""
    if not row.depth:
        return ""
    del bars[row.depth - 1 :]
    trunk = "".join(bars[:_DEEPEST])
    bars.append("   " if row.last else "│  ")
    return f"{trunk}{'└─' if row.last else '├─'} " + (f"(level {row.depth}) " if row.depth > _DEEPEST else "")


def _line(row: Row, needs: list[str]) -> str:
    facts = f" ({inert(row.facts)})" if row.facts else ""
    more = f" and {len(needs) - _SHOWN} more" if len(needs) > _SHOWN else ""
    arrow = f" ← {', '.join(map(inert, needs[:_SHOWN]))}{more}" if needs else ""
    fate = f": {', '.join(_fate(row.record))}" if row.record else ""
    return f"{inert(row.name)}{facts}{arrow}{' [shared]' if row.shared else ''}{fate}"


def _fate(record: TaskRecord | GroupRecord) -> list[str]:
    parts = [record.state.value]
    parts += [] if record.duration is None else [f"{record.duration:.3f} s"]
    if isinstance(record, TaskRecord):
        parts += [f"{record.attempts} attempts"] if record.attempts > 1 else []
        parts += [record.reason + (f" by {inert(record.cause)}" if record.cause else "")] if record.reason else []
        parts += [inert(cut(describe(record.error), _LONGEST))] if record.error else []
    return parts

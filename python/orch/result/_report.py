"""A result as plain data and as HTML: bounded, escaped, made without trusting what users gave."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from html import escape
from itertools import islice
from typing import Any, cast

import attrs

from orch.errors import inert
from orch.event import State
from orch.event._text import brief, describe
from orch.result._past import Pause
from orch.result._state import GroupRecord, TaskRecord

MAX_DEPTH, MAX_LISTS = 32, 10_000  # lists and mappings in a value, within each other and in all, that are copied
MAX_BITS, MAX_ROWS = 10_000, 100  # of an integer, as Python refuses to print much longer ones; of the HTML table


def plain(value: Any, depth: int = MAX_DEPTH, room: Iterator[int] | None = None) -> Any:
    """A copy of `value` that JSON can hold: whatever is not of JSON's own types is told in words, which are cut."""
    room = iter(range(MAX_LISTS)) if room is None else room
    kind: object = type(cast("object", value))  # exact types: a subclass may lie about everything
    if value is None or kind is bool or kind is str or (kind is float and math.isfinite(value)):
        return value
    if kind is int and value.bit_length() <= MAX_BITS:
        return value
    if depth and next(room, None) is not None:
        if kind is list or kind is tuple:
            return [plain(each, depth - 1, room) for each in value]
        if kind is dict and all(type(key) is str for key in value):
            return {key: plain(each, depth - 1, room) for key, each in value.items()}
        if kind is TaskRecord or kind is GroupRecord or kind is Pause:
            fields = (*attrs.fields_dict(type(value)), *(() if kind is Pause else ("duration",)))
            return {name: plain(getattr(value, name), depth - 1, room) for name in fields}
    return _text(value)


def _text(value: object) -> str:
    if type(value) is State:
        return value.value
    if type(value) is datetime:
        return value.isoformat()
    return describe(value) if isinstance(value, BaseException) else brief(value)


def to_html(headline: str, tasks: Mapping[str, TaskRecord]) -> str:
    """A headline and a table of the first tasks: elements without attributes, no scripts, nothing remote."""
    rows = [_row("th", "task", "state", "attempts", "seconds", "error")]
    for task in islice(tasks.values(), MAX_ROWS):
        duration = "" if task.duration is None else f"{task.duration:.3f}"
        trouble = task.reason or "" if task.error is None else describe(task.error)
        rows.append(_row("td", task.path, task.state.value, str(task.attempts), duration, trouble))
    more = f"<p>and {len(tasks) - MAX_ROWS} more</p>" if len(tasks) > MAX_ROWS else ""
    return f"<p>{escape(inert(headline))}</p><table>{''.join(rows)}</table>{more}"


def _row(cell: str, *texts: str) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(inert(text))}</{cell}>' for text in texts)}</tr>"

"""A result as plain data and as HTML: bounded, escaped, made without trusting what users gave."""

from __future__ import annotations

import math
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, cast

import attrs

from orch.errors import inert
from orch.event import State
from orch.event._text import brief, describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orch.result._state import GroupRecord, TaskRecord

MAX_DEPTH = 32
"""How deep plain data is copied; what lies deeper is given by its `repr`."""

MAX_LISTS = 10_000
"""How many lists and mappings in one value are copied; what comes after is given by its `repr`."""

MAX_BITS = 10_000
"""The longest integer in plain data; Python refuses to print much longer ones."""

MAX_ROWS = 100
"""How many tasks the HTML table shows."""


def plain(value: Any) -> Any:
    """
    A copy of `value` that JSON can hold: itself where it is made of JSON's own types, else the `repr` of what is not.

    Tuples become lists, states their value, times ISO 8601, errors type and message. A `repr` is cut to `REPR_LIMIT`.
    """
    return _plain(value, MAX_DEPTH, iter(range(MAX_LISTS)))


def _plain(value: Any, depth: int, room: Iterator[int]) -> Any:
    kind: object = type(cast("object", value))  # exact types: a subclass may lie about everything
    if value is None or kind is bool or kind is str or (kind is float and math.isfinite(value)):
        return value
    if kind is int and value.bit_length() <= MAX_BITS:
        return value
    if depth and next(room, None) is not None:
        if kind is list or kind is tuple:
            return [_plain(each, depth - 1, room) for each in value]
        if kind is dict and all(type(key) is str for key in value):
            return {key: _plain(each, depth - 1, room) for key, each in value.items()}
    return _text(value)


def _text(value: object) -> str:
    if type(value) is State:
        return value.value
    if type(value) is datetime:
        return value.isoformat()
    return describe(value) if isinstance(value, BaseException) else brief(value)


def plain_record(record: TaskRecord | GroupRecord) -> dict[str, Any]:
    """The fields of a record and its duration, each as plain data."""
    fields = [field.name for field in attrs.fields(type(record))]
    return {name: plain(getattr(record, name)) for name in (*fields, "duration")}


def to_html(headline: str, tasks: Mapping[str, TaskRecord]) -> str:
    """A headline and a table of the first `MAX_ROWS` tasks: elements without attributes, no scripts, nothing remote."""
    rows = [_row("th", ("task", "state", "attempts", "seconds", "error"))]
    rows += [_task_row(task) for _, task in zip(range(MAX_ROWS), tasks.values(), strict=False)]
    more = f"<p>and {len(tasks) - MAX_ROWS} more</p>" if len(tasks) > MAX_ROWS else ""
    return f"<p>{escape(inert(headline))}</p><table>{''.join(rows)}</table>{more}"


def _task_row(task: TaskRecord) -> str:
    duration = "" if task.duration is None else f"{task.duration:.3f}"
    trouble = describe(task.error) if task.error else task.reason or ""
    return _row("td", (task.path, task.state.value, str(task.attempts), duration, trouble))


def _row(cell: str, texts: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(inert(text))}</{cell}>' for text in texts)}</tr>"

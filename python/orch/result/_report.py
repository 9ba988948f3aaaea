"""A result as plain data and as HTML: bounded, escaped, made without trusting what users gave."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from html import escape
from itertools import islice
from typing import Any, cast

import attrs

from orch.errors import inert
from orch.event import State
from orch.event._discreet import Sanitizer, sanitizer_of
from orch.event._text import brief, describe
from orch.result._past import Pause
from orch.result._state import GroupRecord, TaskRecord

MAX_DEPTH, MAX_LISTS = 32, 10_000  # lists and mappings in a value, within each other and in all, that are copied
MAX_BITS, MAX_ROWS = 10_000, 100  # of an integer, as Python refuses to print much longer ones; of the HTML table
_OF_USERS = {"value", "error", "compensation_error", "question", "type"}  # of the fields of records


def plain(
    value: Any, sanitize: Sanitizer | None = None, depth: int = MAX_DEPTH, room: Iterator[int] | None = None
) -> Any:
    """A copy of `value` that JSON can hold: whatever is not of JSON's own types is told in words, which are cut."""
    room = iter(range(MAX_LISTS)) if room is None else room
    kind: object = type(cast("object", value))  # exact types: a subclass may lie about everything
    if kind is str and sanitize is not None:
        return sanitize(value)
    if value is None or kind is bool or kind is str or _is_number(kind, value):
        return value
    if depth and next(room, None) is not None:
        if kind is list or kind is tuple:
            return [plain(each, sanitize, depth - 1, room) for each in value]
        if kind is dict and all(type(key) is str for key in value):
            keys = value if sanitize is None else _distinct(map(sanitize, value))
            return {key: plain(each, sanitize, depth - 1, room) for key, each in zip(keys, value.values(), strict=True)}
        if kind is TaskRecord or kind is GroupRecord or kind is Pause:
            fields = (*attrs.fields_dict(type(value)), *(() if kind is Pause else ("duration",)))
            facts = ((name, sanitize if name in _OF_USERS else None) for name in fields)  # paths lead to what they name
            return {name: plain(getattr(value, name), clean, depth - 1, room) for name, clean in facts}
    return _text(value, sanitize)


def _is_number(kind: object, value: Any) -> bool:
    """Whether JSON can hold it as one."""
    return (kind is float and math.isfinite(value)) or (kind is int and value.bit_length() <= MAX_BITS)


def named(values: Mapping[str, Any], sanitize: Sanitizer | None) -> dict[str, Any]:
    """The same of values by names, which lead to them and stay what they are."""
    room = iter(range(MAX_LISTS))
    return {name: plain(value, sanitize, MAX_DEPTH - 1, room) for name, value in values.items()}


def _distinct(keys: Iterable[str]) -> Iterator[str]:
    """The keys, numbered where several have become one: nothing is lost."""
    seen, used = Counter[str](), set[str]()
    for key in keys:
        seen[key] += 1
        name = key if seen[key] == 1 else f"{key}#{seen[key]}"
        while name in used:
            name += "#"
        used.add(name)
        yield name


def _text(value: object, sanitize: Sanitizer | None) -> str:
    if type(value) is State:
        return value.value
    if type(value) is datetime:
        return value.isoformat()
    return describe(value, sanitize) if isinstance(value, BaseException) else brief(value, sanitize)


def to_html(headline: str, tasks: Mapping[str, TaskRecord]) -> str:
    """A headline and a table of the first tasks: elements without attributes, no scripts, nothing remote."""
    rows = [_row("th", "task", "state", "attempts", "seconds", "error")]
    for task in islice(tasks.values(), MAX_ROWS):
        duration = "" if task.duration is None else f"{task.duration:.3f}"
        trouble = task.reason or "" if task.error is None else describe(task.error, sanitizer_of(task))
        rows.append(_row("td", task.path, task.state.value, str(task.attempts), duration, trouble))
    more = f"<p>and {len(tasks) - MAX_ROWS} more</p>" if len(tasks) > MAX_ROWS else ""
    return f"<p>{escape(inert(headline))}</p><table>{''.join(rows)}</table>{more}"


def _row(cell: str, *texts: str) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(inert(text))}</{cell}>' for text in texts)}</tr>"

"""A context as a document: its parts, each of which is written and read for itself."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

import attrs

from orch._codec._classes import is_writable_class
from orch._codec._hints import UNKNOWN, Hints, alternatives
from orch._codec._limits import At, fail, said
from orch._codec._read import Broken, Reader
from orch._codec._text import check_size, parse
from orch._codec._values import KINDS
from orch._codec._write import Writer

_VERSION = 1
_PARTS: dict[str, tuple[Any, Any]] = {  # what each is expected to be, and what it is if it is not there
    "run_id": (str | None, None),
    "metadata": (dict[Any, Any], {}),
    "completed_steps": (list[str], []),
    "trace": (list[dict[str, Any]], []),
}
_EVENT = {"event": str, "run_id": str, "seq": int, "time": datetime, "path": str}
_VALUES = {"value", "chunk"}  # of events: what a step gives is in the data if it is to be kept


def write(parts: dict[str, Any]) -> str:
    """Write `data`, `metadata`, `run_id`, `completed_steps` and `trace` as JSON; CodecError if that is not exact."""
    document = {"version": _VERSION, **parts, "trace": [_told(event) for event in parts["trace"]]}
    for part, value in document.items():
        kind = type(value)
        hints = alternatives(kind) if is_writable_class(kind) else (UNKNOWN,)
        document[part] = written(part, value, hints if part == "data" else (Any,))
    text = json.dumps(document, allow_nan=False)
    check_size(text)
    return text


def written(part: str, value: object, hints: Hints) -> Any:
    """Return the JSON of a value that comes back as it is when it is read with these hints; CodecError otherwise."""
    writer, again = Writer(part), Writer(part)
    try:
        node = writer.write(value)
        if not writer.classes:  # of what there is besides, writing loses nothing
            return node
        back = again.write(Reader(part, writer.classes).read(node, hints))
    except RecursionError as error:
        raise fail(part, None, "the stack is too full to write it") from error
    lost = next(_differences(node, back, None), None)
    if lost is None and again.classes == writer.classes:
        return node
    problem = "this is not the same after it has been read: its class changes what it is given"
    raise fail(part, lost[0] if lost else None, problem)


def _differences(one: Any, other: Any, at: At) -> Iterator[tuple[At]]:
    """Find the places at which what was written the second time is not what was written the first time."""
    if type(one) is type(other) is dict and list(one) == list(other):
        for key in one:
            yield from _differences(one[key], other[key], at if key[:1] == "!" else (at, key))
    elif type(one) is type(other) is list and len(one) == len(other):
        for place, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, (at, place))
    elif repr(one) != repr(other):
        yield (at,)


def _told(event: Any) -> Any:
    """Say what happened in plain data; what has been read before is that already."""
    if not attrs.has(type(event)):
        return event
    fields = {name: getattr(event, name) for name in attrs.fields_dict(type(event)) if name not in _VALUES}
    clean = getattr(event, "_sanitize", None)  # what its run has for texts that leave the process
    if clean is not None and type(fields.get("question")) is str:
        fields["question"] = clean(fields["question"])
    return {"event": type(event).__name__, **{name: _plain(value, clean) for name, value in fields.items()}}


def _plain(value: Any, clean: Callable[[str], str] | None) -> Any:
    if value is None or type(value) in (bool, int, float, str, datetime):
        return value
    if isinstance(value, Enum) and type(value.value) is str:
        return value.value
    return said(value, clean) if isinstance(value, BaseException) else f"<{type(value).__name__}>"


def read(text: str, data_type: Any = None) -> dict[str, Any]:
    """Read the parts again; CodecError says which of them is wrong, and where."""
    kind = type(data_type)
    if data_type is not None and (kind in KINDS or is_writable_class(kind)):
        raise TypeError(f"data_type: expected a class or an annotation, found {kind.__name__} ({data_type!r:.60})")
    hints = alternatives(Any if data_type is None else data_type)
    try:
        nodes = _parts(parse(text))
        parts = {"data": Reader("data").read(nodes["data"], hints)}
        for part, (expected, missing) in _PARTS.items():
            parts[part] = Reader(part).read(nodes.get(part, missing), alternatives(expected))
    except RecursionError as error:
        raise fail("text", None, "the stack is too full to read it") from error
    _check_events(parts["trace"])
    return parts


def _parts(document: Any) -> dict[str, Any]:
    if type(document) is not dict:
        raise fail(
            "text", None, str(document) if type(document) is Broken else f"expected an object, found {document!r:.60}"
        )
    version = document.get("version")
    if type(version) is not int or version != _VERSION:
        raise fail("version", None, f"expected {_VERSION}, found {version!r:.60}")
    for name in document.keys() - {"version", "data", *_PARTS}:
        raise fail("text", (None, name), "there is no such part")
    if "data" not in document:
        raise fail("data", None, "it is not there")
    return document


def _check_events(events: Sequence[dict[str, Any]]) -> None:
    for place, event in enumerate(events):
        for name, kind in _EVENT.items():
            value = event.get(name)
            if type(value) is not kind:
                raise fail("trace", ((None, place), name), f"expected {kind.__name__}, found {type(value).__name__}")
        if event["time"].utcoffset() is None:
            raise fail("trace", ((None, place), "time"), "expected a time with a zone, found one without")

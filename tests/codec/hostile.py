"""Text that `to_json` did not write."""

import sys
from typing import Any


def document(data: str, **parts: str) -> str:
    """A document around the JSON of its data and of other parts."""
    return "{" + ", ".join(f'"{name}": {text}' for name, text in ({"version": "1", "data": data} | parts).items()) + "}"


FOREIGN: list[Any] = [
    {"__class__": "os.system", "__args__": ["true"]},
    {"__reduce__": ["os.system", ["true"]]},
    {"__type__": "tests.codec.samples.Item", "name": "a"},
    {"$type": "System.Windows.Data.ObjectDataProvider", "MethodName": "Start"},
    {"@type": "com.sun.rowset.JdbcRowSetImpl", "autoCommit": True},
    {"py/object": "os.system"},
    {"py/reduce": [{"py/type": "os.system"}, {"py/tuple": ["true"]}]},
    {"py/repr": "os/os.system('true')"},
    {"py/function": "os.system"},
    {"py/id": 1},
    {"lc": 1, "type": "constructor", "id": ["langchain", "load", "load"], "kwargs": {}},
    {"lc": 1, "type": "secret", "id": ["PATH"]},
    {"lc": 2, "type": "constructor", "id": ["os", "system"], "method": [None], "args": ["true"]},
    {"!!python/object/apply:os.system": ["true"], "more": 1},
    {"__ndarray__": "AAAA", "dtype": "object"},
    {"_type": "pickle", "data": "gASVHAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAR0cnVllIWUUpQu"},
    {"__pydantic_validator__": 1, "__dict__": {}},
]

BROKEN = [
    *("", " ", "{", "[]", "null", "1", '"text"', "{}", '{"data": 1}', '{"version": 1}', "nonsense", "\ufeff{}", "\x00"),
    *('{"version": 2, "data": 1}', '{"version": "1", "data": 1}', '{"version": true, "data": 1}', "{'data': 1}"),
    *('{"version": 1.0, "data": 1}', '{"version": [], "data": 1}', document("1", more="1"), document("NaN")),
    *(document("Infinity"), document("-Infinity"), document("[1,]"), document("1") + "x", document('{"a": 1,}')),
]
WRONG = [
    {"!!set": 1},
    {"!!set": {"a": 1}},
    {"!!set": [[]]},
    {"!!set": [{"a": 1}]},
    {"!!dict": [1]},
    {"!!dict": {}},
    {"!!dict": [[], 1]},
    {"!!tuple": None},
    {"!!int": "ten"},
    {"!!int": 10},
    {"!!float": "0.1"},
    {"!!float": "infinity"},
    {"!!float": 1},
    {"!!text": "not base64!"},
    {"!!text": "/w=="},
    {"!!bytes": "a"},
    {"!!bytes": []},
    {"!!bytearray": "\u00e4"},
    {"!!datetime": "yesterday"},
    {"!!datetime": "2026-13-01"},
    {"!!datetime": "2026-01-01T00:00[Nowhere/Land]"},
    {"!!datetime": "2026-01-01T00:00[../../etc/passwd]"},
    {"!!datetime": "2026-01-01T00:00[/etc/passwd]"},
    {"!!datetime": "2026-01-01T00:00[posixrules]"},
    {"!!datetime": "2026-01-01T00:00+01:00[Europe/Berlin]"},
    {"!!datetime": "2026-01-01T00:00[_fold=2]"},
    {"!!datetime": "2026-01-01T00:00[Europe/Berlin][x]"},
    {"!!date": "2026-02-30"},
    {"!!date": "2026-01-01T00:00"},
    {"!!time": "25:00"},
    {"!!microseconds": "1.5"},
    {"!!microseconds": "9" * 30},
    {"!!uuid": "1"},
    {"!!uuid": {}},
    {"!!decimal": "one"},
    {"!!decimal": "1,5"},
    {"!!WindowsPath": "C:\\x"} if sys.platform != "win32" else {"!!PosixPath": "/x"},
    {"!!unset": []},
    {"!!date": {"!!date": "2026-01-01"}},
]

"""What is cached, and what others might put in its place."""

import dataclasses
import json
from typing import Any

from tests.codec.hostile import BROKEN, WRONG
from tests.codec.hostile import FOREIGN as OBJECTS


@dataclasses.dataclass
class Item:
    name: str
    parts: list[Any]


def load(rows: list[int]) -> list[Item]:
    return [Item(str(row), []) for row in rows]


FOREIGN = [
    *(json.dumps([{"!os.system": {"args": ["true"]}}, {"!Bomb": {}}, each]).encode() for each in (*OBJECTS, *WRONG)),
    *(each.encode("utf-8", "surrogatepass") for each in BROKEN),
    b'[{"!os.system": {"command": "touch exploded"}}]',
    b'{"!tests.caches.samples.Item": {"name": "a", "parts": []}}',
    b"\xff\xfe\x00",
    b"[" * 10_000,
]

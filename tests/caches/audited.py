"""A program that says what else happens in the interpreter while hostile files are looked up in a cache."""

import os
import pickle
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orch import DiskCache
from orch._keys import blake2b
from orch.caches._disk import _name
from orch.caches._envelope import Entry, Envelope
from orch.definition import Task
from orch.plan import Identity
from tests.caches.samples import FOREIGN, Item, load

KEY = bytes(range(32))
HARMLESS = {"open", "os.listdir", "os.remove", "os.rename", "os.scandir", "os.utime", "builtins.id", "sys._getframe"}
HARMLESS |= {"object.__getattr__", "object.__setattr__"}


class Bomb:
    """What runs something when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch exploded",)


def mutations(good: bytes, other: bytes, count: int) -> Iterator[bytes]:
    """An entry in which some bytes are changed, left out, doubled or those of another entry, or which is cut off."""
    chance = random.Random(6)
    for number in range(count):
        if number <= len(good):
            yield good[:number]
            continue
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            at, size = chance.randrange(len(data)), chance.choice((1, 1, 2, 4, 8, 32))
            match chance.randrange(5):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    data[at : at + size] = chance.randbytes(size)
                case 2:
                    del data[at : at + size]
                case 3:
                    data[at:at] = data[at : at + size]
                case _:
                    data[at : at + size] = other[at : at + size]
            data = data or bytearray(b"orch")
        yield bytes(data)


def forged(name: bytes) -> Iterator[bytes]:
    """Entries that somebody made who has the code, but not the key; and ours, from other caches."""
    bomb, now = Entry(None, pickle.dumps(Bomb())), 1
    for codec in (0, 1, 2, 3, 255):
        for key in (bytes(32), b"x" * 64, blake2b(KEY).digest()[:32]):
            yield Envelope(key, codec, "").seal(name, bomb, now, 0)
    yield Envelope(KEY, 2, "").seal(name, bomb, now, 0)  # our key, but a cache that unpickles
    yield Envelope(KEY, 3, "own").seal(name, bomb, now, 0)
    ours = Envelope(KEY, 1, "")
    yield ours.seal(bytes(32), Entry(None, b"1"), now, 0)  # of another key
    yield ours.seal(name, bomb, now, 0)  # authentic, and no JSON
    yield from (ours.seal(name, Entry(None, data), now, 0) for data in FOREIGN)
    yield from (bytes((number,)) * 200 for number in range(256))


def main(folder: Path, count: int) -> None:
    """Look all of them up, then print how many there were, and what was heard."""
    cache, key = DiskCache(folder, key=KEY), Identity(Task(load)).key_of({"rows": [1]})
    cache.set(key, [Item("a", [1, (2,), {"b": b"c"}])])
    name, digest = _name(key)
    place = Path(cache._folder._place(name))
    good = place.read_bytes()
    assert cache.get(key) == (True, [Item("a", [1, (2,), {"b": b"c"}])])
    cache.set("other", ["x" * 300])
    other = Path(cache._folder._place(_name("other")[0])).read_bytes()
    pickling = DiskCache(folder, key=KEY, codec="pickle")
    texts = [*mutations(good, other, count), *forged(digest)]
    heard, wrong, listening = set[str](), list[bytes](), [False]
    sys.addaudithook(lambda event, _: heard.add(event) if listening[0] else None)
    for number, data in enumerate(texts):
        place.write_bytes(data)
        listening[0] = True
        for each in (cache, pickling) if number < count else (cache,):  # which may unpickle what has its own seal
            known, value = each.get(key)
            is_good = each is cache and value == [Item("a", [1, (2,), {"b": b"c"}])]
            if known and not is_good and number < count:  # behind those are some that we have sealed: plain data
                wrong.append(data)
        listening[0] = False
        shutil.rmtree(place, ignore_errors=True)
    print(len(texts), len(wrong), Path("exploded").exists(), *sorted(heard - HARMLESS) or ["nothing"])  # noqa: T201 (to the test that has called it)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

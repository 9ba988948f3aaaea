"""A program that says what else happens in the interpreter while hostile text is read."""

import json
import random
import sys
from collections.abc import Iterator
from typing import Any

from orch import CodecError, Context
from tests.codec import samples
from tests.codec.hostile import BROKEN, FOREIGN, WRONG, document
from tests.codec.samples import Everything, everything

HARMLESS = {"builtins.id", "object.__getattr__", "object.__setattr__", "sys._getframe"}
MUTATIONS = 5_000
MARKERS = ("!os.system", "!subprocess.Popen", "!!python/name:os.system", "!antigravity.Item", "!this")


def foreign(_: str) -> Iterator[str]:
    """Documents of other libraries, with markers that name functions and modules, wrong ones and broken ones."""
    yield from (document(json.dumps(data)) for data in (*FOREIGN, *WRONG))
    yield from (document(json.dumps({marker: {"args": ["true"]}})) for marker in MARKERS)
    yield from BROKEN


def mutations(good: str) -> Iterator[str]:
    """A good document in which a few pieces are left out, doubled, moved or replaced."""
    chance = random.Random(4)
    for _ in range(MUTATIONS):
        text = good
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(text))
            end = start + chance.choice((1, 1, 2, 5, 20))
            other = chance.choice(
                ("", text[start:end] * 2, '"', "{", "]", "!", "9", "null", text[end : end + 9], '"!!set"')
            )
            text = text[:start] + other + text[end:]
        yield text


def graftings(good: str) -> Iterator[str]:
    """A good document in which nodes stand where others stood, with their keys, and are sometimes wrong themselves."""
    chance = random.Random(5)
    for _ in range(MUTATIONS):
        root = json.loads(good)
        for _ in range(chance.randint(1, 3)):
            nodes = [
                (each, key) for each in below(root) for key in (each if isinstance(each, dict) else range(len(each)))
            ]
            (to, place), (source, key) = chance.choices(nodes, k=2)
            piece = chance.choice((source[key], source[key], None, 7, {}, [], "x", {"a": 1}, *WRONG, *FOREIGN))
            to[place] = json.loads(json.dumps(piece))
            if isinstance(to, dict) and isinstance(key, str) and chance.random() < 1 / 3:
                to[key] = to.pop(place)
        yield json.dumps(root)


def below(root: Any) -> list[Any]:
    """Every list and object in it."""
    found, todo = [], [root]
    while todo:
        node = todo.pop()
        if isinstance(node, dict | list):
            found.append(node)
            todo += node.values() if isinstance(node, dict) else node
    return found


def load(text: str, data_type: Any) -> None:
    """Read it; only a CodecError may come of it, or a context that can be written."""
    try:
        context = Context.from_json(text, data_type)
    except CodecError:
        return
    written = context.to_json()
    assert Context.from_json(written, data_type).to_json() == written, text


def main(documents: str) -> None:
    """Read them all, then print what was heard."""
    good = Context(everything(anything=[*samples.MOMENTS, b"x", {1: 2}]), metadata={"a": {1}}).to_json()
    Context.from_json(good, Everything)  # zones are files, annotations code: both are the caller's, and read once
    texts, heard, listening = list(vars(sys.modules["__main__"])[documents](good)), set[str](), [False]
    sys.addaudithook(lambda event, _: heard.add(event) if listening[0] else None)
    listening[0] = True
    for text in texts:
        load(text, Everything)
        load(text, None)
    listening[0] = False
    print(*sorted(heard - HARMLESS) or ["nothing"])  # noqa: T201 (to the test that has called it)


if __name__ == "__main__":
    main(sys.argv[1])

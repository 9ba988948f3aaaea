"""What a cache knows a call by: which task it is, and what it is given.

The identity of a task is made of parts, each with a digest: where its function is to be found by name, its code (or the
task's `version` in place of it), defaults, and what it has closed over, which is looked at for each call. With the
arguments by name these make a `Key`. How a task is run (`retry`, `timeout`, its name) is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from orch._keys import Unhashable, combined, digest, parts_of
from orch.definition import Task, Use
from orch.definition._signature import home_of
from orch.plan._call import Shape

__all__ = ("Identity", "Key", "Unhashable")

_label = lru_cache(4096)(digest)
_STREAMS = ("Iterator", "Iterable", "Generator", "AsyncIterator", "AsyncIterable", "AsyncGenerator")
Digests = list[tuple[str, bytes]]


class Key(str):
    """The key of a call: 64 hexadecimal digits, and what a cache may want to know of the call besides."""

    __slots__ = ("_identity", "_sink", "about")

    about: Digests
    """What the key is made of: for everything that counts what it is, and its digest."""
    _identity: Identity
    _sink: Callable[[str], object] | None

    @classmethod
    def of(cls, identity: Identity, about: Digests) -> Key:
        """Make the key of a call of a task from the digests of all that counts."""
        key = cls(combined([each for name, value in about for each in (_label(name), value)]))
        key.about, key._identity, key._sink = about, identity, None
        return key

    @property
    def task(self) -> str:
        """Which function it is a call of, as `module:qualified.name`."""
        return self._identity.name

    @property
    def returns(self) -> Any:
        """What the function is annotated to return; `Any` if it does not say, or what it says is not there."""
        return self._identity.returns

    def listen(self, sink: Callable[[str], object]) -> None:
        """Give what a cache has to `say` to the run that asks it."""
        self._sink = sink

    @property
    def has_listener(self) -> bool:
        """Whether a run asks."""
        return self._sink is not None

    def say(self, message: str) -> None:
        """Tell the run, and the log, that something is wrong with what the cache has under this key."""
        if self._sink is not None:
            self._sink(message)


class _Parts(NamedTuple):
    """The parts of an identity: those that do not change, and what to look at anew."""

    fixed: Digests
    live: dict[str, Any]


class Identity:
    """Which task it is; cheap to make, as everything is worked out when the first key is asked for."""

    def __init__(self, task: Task[..., Any], shape: Shape | None = None) -> None:
        self.task = task
        self._shape = shape

    @cached_property
    def name(self) -> str:
        """Where the function is, as `module:qualified.name`."""
        return parts_of(self.task.fn).name

    def key(self, values: Sequence[Any]) -> Key:
        """Return the key of a call with these values, in the order of its slots; `Unhashable` if there is none."""
        if self._shape is not None:
            return self.key_of(self._shape.named(self.task, values))
        return self._key([(label, _digest(name, values[at])) for name, label, at in self._places])

    def key_of(self, named: Mapping[str, Any]) -> Key:
        """Return the key of a call with these arguments by name; `Unhashable` if there is none."""
        more = {"*": self.task.extra} if self.task.extra else {}
        given = sorted((name, value) for name, value in {**named, **more}.items() if name not in self.left_out)
        return self._key([(f"input {name!r}", _digest(name, value)) for name, value in given])

    def _key(self, inputs: Digests) -> Key:
        fixed, live = self._parts
        return Key.of(self, [*fixed, *((name, _digest(name, value)) for name, value in live.items()), *inputs])

    @cached_property
    def left_out(self) -> frozenset[str]:
        """The parameters that are no inputs: a Context, and resources, are of the run."""
        task, parameters = self.task, self.task.signature.parameters
        bound = {name for name, value in task.bound.items() if isinstance(value, Use)}
        taken = {each.name for each in parameters if isinstance(each.default, Use) and each.name not in task.bound}
        return frozenset(bound | taken | {each.name for each in parameters if each.context})

    @cached_property
    def _places(self) -> list[tuple[str, str, int]]:
        """The inputs, sorted by name: each with what it is called in a key, and its place in the order of slots."""
        names = [each.name for each in self.task.signature.parameters if each.positional]
        places = [(name, f"input {name!r}", at) for at, name in enumerate(names) if name not in self.left_out]
        return sorted(places)

    @cached_property
    def _parts(self) -> _Parts:
        """Take the function apart. What it has closed over can change, so that is for each call to look at."""
        task, parts = self.task, parts_of(self.task.fn)
        stands_for = ("code", parts.code) if task.version is None else ("version", task.version)
        fixed = [("function", digest(parts.name)), (stands_for[0], _digest(*stands_for))]
        live = dict[str, Any]()
        for what, value in parts.values.items():
            if not what.startswith("default of "):
                live[what] = value
            elif not isinstance(value, Use):
                fixed.append((what, _digest(what, value)))
        if task.unpacks:  # the same function, for a task that does not, gives another value
            fixed.append(("outputs", digest(len(task.outputs))))
        return _Parts(fixed, live)

    @cached_property
    def returns(self) -> Any:
        """What the function is annotated to return; of a generator, the list of what it yields."""
        fn = self.task.fn
        if isinstance(fn, type):
            return fn
        try:
            found = get_type_hints(home_of(fn)).get("return", Any)
        except Exception:  # noqa: BLE001 (whatever evaluating what users wrote leads to)
            return Any
        origin = getattr(get_origin(found), "__name__", "")
        if self.task.signature.streams and origin in _STREAMS:
            return list[get_args(found)[0]]  # type: ignore[misc] # found when it runs
        return found


def _digest(name: str, value: object) -> bytes:
    try:
        return digest(value)
    except Unhashable as problem:
        raise problem.inside(name) from None

"""`MemoryCache`: as long as the process lives."""

import copy
import enum
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any, NamedTuple

from orch.caches._explain import About, Explanation, explain
from orch.definition import Task
from orch.errors import CacheError, expect, spelled
from orch.execution import Flights
from orch.plan import Key

__all__ = ("MemoryCache",)

_CONSTANT = frozenset({NoneType, bool, int, float, complex, str, bytes, type, FunctionType, BuiltinFunctionType, range})
_HOLDERS = tuple, frozenset


class _Entry(NamedTuple):
    """A value, or what makes one of it anew; and what the entry is about."""

    stored: Any
    restore: Callable[[Any], Any] | None
    task: str
    about: About


class MemoryCache:
    """Keeps what steps gave as long as the process lives, up to a number of values.

    The one not used longest goes first. What can be changed is kept as a copy, and given out as another: nobody changes
    an entry by changing a value. One cache may serve any number of runners, event loops and threads.

    >>> import orch
    >>> runner = orch.Runner(cache=orch.MemoryCache())
    >>> def double(x): return 2 * x
    >>> [runner.run(double, x=21).tasks["double"].cached for _ in range(2)]
    [False, True]

    Args:
        max_items: How many values it keeps at most; None for any number.
    """

    blocks = False  # it is asked on the event loop

    @spelled()
    def __init__(self, *, max_items: int | None = 10_000) -> None:
        expect("max_items", max_items, int, NoneType, least=1)
        self._most = max_items
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # each call of it is atomic
        self.flights = Flights()

    def get(self, key: str, /) -> tuple[bool, Any]:
        """Return whether there is a value, and a copy of it."""
        entry = self._entries.get(key)
        if entry is None:
            return False, None
        with suppress(KeyError):  # it has just been thrown out
            self._entries.move_to_end(key)
        return True, entry.stored if entry.restore is None else entry.restore(entry.stored)

    def set(self, key: str, value: Any, /) -> None:
        """Keep a copy of a value; CacheError if it cannot be copied."""
        task, about = (key.task, key.about) if isinstance(key, Key) else ("", ())
        key = str(key)  # without what else a key knows
        self._entries[key] = _Entry(*_packed(value), task, about)
        with suppress(KeyError):
            self._entries.move_to_end(key)
            while self._most is not None and len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def discard(self, key: str, /) -> None:
        """Forget a value, if it is there."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<MemoryCache of {len(self)} values, at most {self._most}>"

    def explain(self, task: Task[..., Any] | Callable[..., Any], inputs: Mapping[str, Any]) -> Explanation:
        """Say whether a call of a task with these inputs would be found, and if not, what is different.

        >>> cache = MemoryCache()
        >>> def double(x): return 2 * x
        >>> _ = orch.Runner(cache=cache).run(double, x=21)
        >>> print(cache.explain(double, {"x": 22}).differs)
        ("input 'x'",)
        """
        return explain(task, inputs, self._entries.__contains__, self._known)

    def _known(self, task: str) -> Iterator[About]:
        return (entry.about for entry in list(self._entries.values()) if entry.task == task)


def _packed(value: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    """Return what is kept of a value, and how it is made anew; None for what nobody can change."""
    if _is_constant(value) or (type(value) in _HOLDERS and all(map(_is_constant, value))):
        return value, None
    import pickle  # noqa: PLC0415 (loaded by who needs it; ten times as fast as copying)

    with suppress(Exception):  # whatever its class makes of being pickled
        data = pickle.dumps(value, 5)
        pickle.loads(data)  # noqa: S301 (it has just been made, and never leaves the process)
        return data, pickle.loads
    try:
        return copy.deepcopy(value), copy.deepcopy
    except Exception as error:
        found = f"{type(value).__name__}: {type(error).__name__}: {error!s:.200}"
        raise CacheError(f"a value cannot be kept, for it cannot be copied: {found}") from error


def _is_constant(value: object) -> bool:
    return type(value) in _CONSTANT or isinstance(value, enum.Enum)

"""Text that leaves the process, made safe by the caller's own function: what that takes out is not shown.

A run that has such a function gives it to each event, record and result: whoever shows something of them finds it
there (`sanitizer_of`). Errors and values stay what they are; only what is said about them goes through it, as a whole,
before anything is cut.
"""

import inspect
import pickle
from collections.abc import Callable
from types import NoneType
from typing import Any, TypeVar

import attrs

from orch.errors import inert
from orch.event._text import brief

T = TypeVar("T", bound="Discreet")


class Sanitizer:
    """A user's function from text to text. It never raises: what it cannot make safe it withholds."""

    def __init__(self, function: Callable[[str], str]) -> None:
        self._function = function

    def __call__(self, text: str) -> str:
        """Return what may be shown of a text."""
        try:
            found: Any = self._function(text)
            if isinstance(found, str):
                return str.__str__(found)  # that of a subclass may be anything
            if inspect.iscoroutine(found):
                found.close()
            why = "TypeError"
        except Exception as error:  # noqa: BLE001 (whatever it is, the text is not to be shown)
            why = inert(type(error).__name__)
        return f"[withheld: the sanitizer failed with {why}]"

    def __copy__(self) -> "Sanitizer":
        return self

    def __deepcopy__(self, _: object) -> "Sanitizer":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what can be: in another process, one that cannot be found withholds everything."""
        try:
            pickle.dumps(self._function)
        except Exception:  # noqa: BLE001 (a lambda, or what else it may be)
            return Sanitizer, (_withhold,)
        return Sanitizer, (self._function,)


def _withhold(_: str) -> str:
    return "[withheld: the sanitizer could not be pickled]"


def sanitizer(given: Any, what: str = "sanitize") -> Sanitizer | None:
    """What a caller gave as one, checked; None if that is None."""
    if isinstance(given, Sanitizer | NoneType):
        return given
    if not callable(given) or inspect.iscoroutinefunction(given):
        found = "a coroutine function" if callable(given) else f"{type(given).__name__} ({brief(given)})"
        raise TypeError(f"{what}: expected a callable that takes a text and returns one, or None, found {found}")
    function: Any = given
    return Sanitizer(function)


class Discreet:
    """What remembers how texts in it are made safe to show. That is no field, is not compared, and costs nothing."""

    __slots__ = ("_sanitize",)

    def __repr__(self) -> str:
        """Name the fields; values and errors made safe, then cut."""
        return told(self, sanitizer_of(self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Take it along when this is pickled or copied."""
        clean, form = sanitizer_of(self), object.__reduce_ex__(self, protocol)
        return form if clean is None else (_rebuilt, (clean, *form[:3]))


def sanitizer_of(thing: object) -> Sanitizer | None:
    """How texts in this event, record or result are made safe to show; None: they are shown as they are."""
    found: Sanitizer | None = getattr(thing, "_sanitize", None)
    return found


def told(thing: Discreet, clean: Callable[[str], str] | None) -> str:
    """The fields of an event or record in words."""
    shown, kind = list[str](), type(thing)
    for field in attrs.fields(kind) if attrs.has(kind) else ():
        value = getattr(thing, field.name)
        shown.append(f"{field.name}={brief(value, clean) if field.repr is brief else repr(value)}")
    return f"{kind.__qualname__}({', '.join(shown)})"


def discreet(thing: T, clean: Sanitizer | None) -> T:
    """Give an event, record or result that nobody has seen yet its sanitizer, and return it."""
    if clean is not None:
        object.__setattr__(thing, "_sanitize", clean)
    return thing


def _rebuilt(clean: Sanitizer, make: Callable[..., Any], arguments: Any, state: Any = None) -> Any:
    made = make(*arguments)
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
    elif state is not None:
        made.__dict__.update(state)
    return discreet(made, clean)

"""How much there may be of everything, and where a value stands."""

from collections.abc import Callable

from orch.errors import CodecError

DEPTH = 128  # of values within each other
NESTING = 2 * DEPTH + 8  # of JSON: a value takes two levels at most, and there is the document around them
TEXT = 64 * 2**20  # characters of a document
BITS, DIGITS = 2_000, 640  # of integers written as numbers; Python may refuse to read longer ones
EQUAL = 1_000  # keys with the same hash: more of them are no accident, and take for ever to look up

_SHOWN, _SAID = 60, 1_000  # characters of a name, of an error

At = tuple["At", object] | None  # the way to a value, its last step outermost


def fail(part: str, at: At, problem: str) -> CodecError:
    """Make the error that says where in which part something is wrong."""
    steps = list[str]()
    while at is not None:
        at, step = at
        steps.append(_shown(step))
    return CodecError("".join(("$", *reversed(steps))), problem, part)


def said(error: BaseException, sanitize: Callable[[str], str] | None = None) -> str:
    """Class and message of an error, the message made safe, then cut, whatever its `__str__` does."""
    try:
        return f"{type(error).__name__}: {str(error) if sanitize is None else sanitize(str(error))}"[:_SAID]
    except Exception:  # noqa: BLE001 (a broken __str__ must not hide what happened)
        return type(error).__name__


def _shown(step: object) -> str:
    match step:
        case str():
            plain = step.isidentifier() and len(step) <= _SHOWN
            return f".{step}" if plain else f"[{step[:_SHOWN]!r}{'…' * (len(step) > _SHOWN)}]"
        case int() if step.bit_length() < BITS:
            return f"[{step}]"
        case (int(position),):  # a key of a mapping itself
            return f".keys()[{position}]"
        case _:  # a member of a set has no place
            return "[*]" if step is ... else f"[<{type(step).__name__}>]"

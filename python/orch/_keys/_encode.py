"""From values to bytes: those that Python has literals for here, all others in `_kinds`."""

from collections.abc import Callable, Iterable
from typing import Any

from orch._keys._hash import blake2b

DEPTH = 128  # of values within each other
_LARGE = 1 << 16  # bytes: more are not copied, their digest stands for them

Put = Callable[["Out", Any, int], object]


class Unhashable(Exception):  # noqa: N818 (a judgement about a value; it never leaves the package)
    """No key can be made of a value: what is wrong, and the way to it from outside."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = ""

    def inside(self, step: str) -> "Unhashable":
        """Say that it stands within another value, at this place."""
        self.path = step + self.path
        return self


class Out(bytearray):
    """What has been written; and which functions are just being written, one within the other."""

    __slots__ = ("open",)

    def __init__(self, functions: list[Any] | None = None) -> None:
        self.open: list[Any] = [] if functions is None else functions


def digest(value: Any) -> bytes:
    """Return 32 bytes that stand for the value; `Unhashable` says why there are none."""
    out = Out()
    try:
        put(out, value, DEPTH)
    except Unhashable:
        raise
    except RecursionError:
        raise Unhashable("the stack is too full for it") from None
    except Exception as error:  # properties, keys and iterators may be the user's
        raise Unhashable(f"{type(error).__name__} was raised by it: {error!s:.200}") from error
    return blake2b(out, digest_size=32).digest()


def combined(digests: Iterable[bytes]) -> str:
    """Return the key, 64 hexadecimal digits, that stands for digests of equal length, in this order."""
    return blake2b(b"".join(digests), digest_size=32).hexdigest()


def put(out: Out, value: Any, depth: int) -> None:
    """Write any value."""
    PUT[type(value)](out, value, depth)


def put_bytes(out: Out, data: Any, mark: bytes = b"b") -> None:
    """Write bytes, or anything with a buffer, with how many there are."""
    size = memoryview(data).nbytes
    out += b"%b%x:" % (mark, size)
    out += blake2b(data, digest_size=32).digest() if size > _LARGE else data


def put_text(out: Out, text: str, mark: bytes = b"s") -> None:
    """Write text with its length in bytes."""
    data = text.encode("utf-8", "surrogatepass")
    out += b"%b%x:" % (mark, len(data))
    out += data if len(data) <= _LARGE else blake2b(data, digest_size=32).digest()


def deeper(depth: int) -> int:
    """Count one level of values within each other."""
    if depth <= 0:
        raise Unhashable(f"there are more than {DEPTH} values within each other, or one within itself")
    return depth - 1


def put_each(out: Out, values: Any, depth: int) -> None:
    """Write values in their order, after how many there are."""
    depth = deeper(depth)
    out += b"%x:" % len(values)
    at = 0
    try:
        for value in values:
            put(out, value, depth)
            at += 1
    except Unhashable as problem:
        raise problem.inside(f"[{at}]") from None


def put_sorted(out: Out, values: Iterable[Any], depth: int) -> None:
    """Write values whose order is chance."""
    depth, written = deeper(depth), []
    for value in values:
        each = Out(out.open)
        put(each, value, depth)
        written.append(bytes(each))
    out += b"%x:" % len(written)
    for data in sorted(written):
        out += data


def put_entries(out: Out, entries: Iterable[tuple[Any, Any]], depth: int) -> None:
    """Write keys and values, sorted by key."""
    depth, rows = deeper(depth), []
    for key, value in entries:
        each = Out(out.open)
        put(each, key, depth)
        rows.append((bytes(each), key, value))
    rows.sort(key=_first)
    out += b"%x:" % len(rows)
    for data, key, value in rows:
        out += data
        try:
            put(out, value, depth)
        except Unhashable as problem:
            raise problem.inside(f"[{key!r:.40}]") from None


def _first(row: tuple[bytes, Any, Any]) -> bytes:
    return row[0]


def put_named(out: Out, mark: bytes, name: str, fields: dict[str, Any], depth: int) -> None:
    """Write what has a name and fields: an instance of a class, say."""
    depth = deeper(depth)
    put_text(out, name, mark)
    out += b"%x:" % len(fields)
    for field in sorted(fields):
        put_text(out, field)
        try:
            put(out, fields[field], depth)
        except Unhashable as problem:
            raise problem.inside(f".{field}") from None


def _marked(mark: bytes, put_all: Put) -> Put:
    def put_it(out: Out, value: Any, depth: int) -> None:
        out += mark
        put_all(out, value, depth)

    return put_it


def _constant(mark: bytes) -> Put:
    def put_it(out: Out, _: Any, __: int) -> None:
        out += mark

    return put_it


def put_int(out: Out, value: int, _: int = 0) -> None:
    """Write an integer of any size."""
    out += b"i%x;" % value


def put_float(out: Out, value: float, _: int = 0) -> None:
    """Write a float exactly; 0.0 and -0.0 are two, and all that is no number is one."""
    out += b"f%b;" % value.hex().encode()


def _put_complex(out: Out, value: complex, _: int) -> None:
    out += b"j"
    put_float(out, value.real)
    put_float(out, value.imag)


def _put_span(out: Out, value: Any, depth: int) -> None:
    put_named(out, b"o", type(value).__name__, {n: getattr(value, n) for n in ("start", "stop", "step")}, depth)


class _Table(dict[type, Put]):
    """How a value of exactly this type is written."""

    find: Callable[[type], Put]  # how one of any other type is, which `_kinds` knows

    def __missing__(self, kind: type) -> Put:
        return self.find(kind)


PUT = _Table(
    {
        type(None): _constant(b"N"),
        bool: lambda out, value, _: out.extend(b"T" if value else b"F"),
        int: put_int,
        float: put_float,
        complex: _put_complex,
        str: lambda out, value, _: put_text(out, value),
        bytes: lambda out, value, _: put_bytes(out, value),
        bytearray: lambda out, value, _: put_bytes(out, value, b"a"),
        list: _marked(b"[", put_each),
        tuple: _marked(b"(", put_each),
        set: _marked(b"{", put_sorted),
        frozenset: _marked(b"<", put_sorted),
        dict: _marked(b"d", lambda out, value, depth: put_entries(out, value.items(), depth)),
        range: _put_span,
        slice: _put_span,
        type(...): _constant(b"E"),
        type(NotImplemented): _constant(b"Z"),
    }
)

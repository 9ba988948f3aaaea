"""Callables taken apart: what is their code, and what they hold besides."""

import functools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from orch import Task
from orch._keys import Unhashable, digest, parts_of
from orch.plan import Identity


def plain(x: int, y: int = 2, *, z: int = 3) -> int:
    return x + y + z


class Base:
    def method(self, x: int) -> int:
        return x


class Derived(Base):
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @property
    def twice(self) -> int:
        return 2 * self.factor

    @staticmethod
    def static(x: int) -> int:
        return x

    @classmethod
    def of(cls, factor: int) -> "Derived":
        return cls(factor)

    def method(self, x: int) -> int:
        return super().method(x) * self.factor


def test_a_function_has_a_name_code_and_defaults() -> None:
    name, code, values = parts_of(plain)
    assert (name, code) == (f"{__name__}:plain", plain.__code__)
    assert values == {"default of 'y'": 2, "default of 'z'": 3}


def test_partials_are_what_they_call_and_what_they_bind_the_outer_one_winning() -> None:
    parts = parts_of(functools.partial(functools.partial(plain, 1, y=2), y=5, z=6))
    assert parts.name == f"{__name__}:plain"
    assert parts.values["bound arguments"] == (1,)
    assert (parts.values["bound 'y'"], parts.values["bound 'z'"]) == (5, 6)


def test_of_a_method_the_object_counts() -> None:
    one, other = Derived(1), Derived(2)
    assert parts_of(one.method).values == {"self": one}
    assert digest(one.method) == digest(Derived(1).method) != digest(other.method)
    assert digest(Derived.method) != digest(Base.method)
    assert digest(Derived.static) != digest(Derived.of)
    assert digest([1].append) != digest([2].append) != digest(str.upper)


def test_of_a_class_the_methods_count_inherited_ones_too() -> None:
    def made(body: str, base: type) -> Any:
        space: dict[str, Any] = {"Base": base}
        exec(f"class Made(Base):\n    def __init__(self, x): {body}", space)
        return space["Made"]

    class Other(Base):
        def method(self, x: int) -> int:
            return x + 1

    first = made("self.x = x", Base)
    assert digest_of(first) == digest_of(made("self.x = x", Base))
    assert len({digest_of(made(body, base)) for body in ("self.x = x", "self.y = x") for base in (Base, Other)}) == 4
    assert digest_of(Derived(1).__class__) != digest_of(first)


def digest_of(fn: Any) -> bytes:
    return digest(parts_of(fn).code)


def test_modules_and_decorated_functions_can_be_closed_over() -> None:
    def logged(fn: Callable[..., Any]) -> Callable[..., Any]:
        module = json

        @functools.wraps(fn)
        def call(*args: Any) -> Any:
            return module.dumps(fn(*args))

        return call

    def one(x: int) -> int:
        return x

    def other(x: int) -> int:
        return x + 1

    assert digest(logged(one)) == digest(logged(one))
    assert digest(logged(one)) != digest(logged(other)) != digest(other)


def test_functions_that_have_closed_over_each_other_have_digests() -> None:
    def made(step: int) -> Callable[[int], Any]:
        def even(n: int) -> Any:
            return odd(n - step) if n else True

        def odd(n: int) -> Any:
            return even(n - step) if n else False

        return even

    assert digest(made(1)) == digest(made(1)) != digest(made(2))


def test_what_is_not_assigned_yet_is_nothing() -> None:
    def early() -> Any:
        return later

    before = digest(early)
    later = 1
    assert digest(early) != before


def test_a_closure_counts_as_it_was_first_and_when_another_value_takes_its_place() -> None:
    rows, count = [1], 0

    def step(x: int) -> int:
        nonlocal count
        count += 1
        rows.append(x)
        return x

    first = digest(step)
    step(1)
    assert digest(step) == first
    rows = [1, 2]
    assert digest(step) != first


def test_a_copy_of_a_functions_attributes_is_not_its_closure() -> None:
    def made(factor: int) -> Callable[[int], int]:
        def times(x: int) -> int:
            return x * factor

        return times

    two, three = made(2), made(3)
    digest(two)
    assert digest(functools.update_wrapper(three, two)) != digest(two)


def test_what_a_function_holds_is_named_in_the_way() -> None:
    lock = threading.Lock()

    def held(x: int) -> Any:
        return lock

    with pytest.raises(Unhashable) as caught:
        digest([held])
    assert caught.value.path == "[0] (closure 'lock')"


def streams(n: int) -> Iterator[bytes]:
    yield b""


async def streams_too(n: int) -> AsyncIterator[bytes]:
    yield b""


def unknown(n: int) -> "NotThere":  # type: ignore[name-defined] # noqa: F821 (so it is meant)
    return n


def silent(n):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201 (so it is meant)
    return n


RETURNS: list[tuple[Any, Any]] = [
    *((plain, int), (functools.partial(plain, 1), int), (Derived(1).method, int), (Derived, Derived), (silent, Any)),
    *((unknown, Any), (streams, list[bytes]), (streams_too, list[bytes]), (Task(plain, x=1).fn, int)),
]


@pytest.mark.parametrize(("fn", "returns"), RETURNS, ids=range(len(RETURNS)))
def test_the_annotation_of_what_it_returns(fn: Any, returns: Any) -> None:
    assert Identity(Task(fn)).returns == returns

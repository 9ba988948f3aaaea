"""`Graph(…, strict_types=True)`: annotations that contradict each other are found with the plan, and only they."""

import abc
import asyncio
import collections.abc as c
import datetime as dt
import decimal
import functools
import numbers
import pathlib
import pickle
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import pytest

from orch import DefinitionError, Graph, Interrupt, Parallel, Sequence, Task
from orch.plan import compile  # noqa: A004 (the verb under test)
from orch.plan._types import contradicts
from tests.plan.wired import value

UserId = NewType("UserId", int)
T = TypeVar("T")


class Row(TypedDict):
    a: int


class Base: ...


class Derived(Base): ...


class Other: ...


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> int: ...


class Readable(Protocol):
    def read(self) -> str: ...


class Refuses(type):
    def __subclasscheck__(cls, _: type) -> bool:
        raise ZeroDivisionError


class Shy(metaclass=Refuses): ...


class Pair(NamedTuple):
    a: int
    b: str


CONTRADICTIONS: list[tuple[Any, Any]] = [
    (int, str),
    (str, int),
    (str, float),
    (None, int),
    (int, None),
    (bytes, str),
    (list, dict),
    (list[int], dict[str, int]),
    (int | None, str),
    (Optional[int], Union[str, bytes]),  # noqa: UP007, UP045
    (dict, c.Sequence[int]),
    (int, c.Iterable),
    (c.Mapping[str, int], list),
    (Literal["a", "b"], int),
    (Literal[1], str),
    (Annotated[int, "x"], str),
    (UserId, str),
    (Row, list),
    (Base, Other),
    (Base, int),
    (typing.List[int], typing.Dict[str, int]),  # noqa: UP006
    (typing.Callable[[], int], int),
    (int, Callable[..., Any]),
    (type[int], int),
    (pathlib.Path, str),
    (dt.date, dt.timedelta),
    (decimal.Decimal, float),
    (Pair, list),
]
FITTING: list[tuple[Any, Any]] = [
    (int, int),
    (int, Any),
    (Any, int),
    (object, int),
    (int, object),
    (bool, int),
    (int, bool),
    (int, float),
    (float, int),
    (int, complex),
    (bytearray, bytes),
    (int, str | int),
    (int | str, str),
    (Optional[int], int),  # noqa: UP045
    (list[int], list[str]),
    (list, c.Sequence[int]),
    (c.Sequence, list),
    (str, c.Iterable[str]),
    (c.Iterable, c.Sized),
    (dict[str, int], c.Mapping),
    (Row, dict[str, Any]),
    (Row, c.Mapping[str, Any]),
    (Literal["a"], str),
    (str, Literal["a"]),
    (Literal[None, 1], int),  # noqa: PYI061
    (UserId, int),
    (int, UserId),
    (Annotated[int, "x"], int),
    (Derived, Base),
    (Base, Derived),
    (Shape, Other),
    (Other, Readable),
    (Readable, int),
    (T, int),
    (int, T),
    (list[T], list[int]),  # type: ignore[valid-type]
    (typing.NoReturn, int),
    (int, "unknown"),
    (int, 3),
    (int, numbers.Number),
    (Other, Shy),
    (len, int),
    (lambda: 1, Callable[[], int]),
    (Base, c.Hashable),
    (type[int], type),
    (Pair, tuple[int, str]),
    (dt.datetime, dt.date),
    (None, int | None),
]


@pytest.mark.parametrize("gives,takes", CONTRADICTIONS, ids=map(str, CONTRADICTIONS))
def test_types_that_contradict_each_other(gives: Any, takes: Any) -> None:
    assert contradicts(gives, takes)


@pytest.mark.parametrize("gives,takes", FITTING, ids=map(str, range(len(FITTING))))
def test_types_that_may_fit(gives: Any, takes: Any) -> None:
    assert not contradicts(gives, takes)


# -- in a graph --------------------------------------------------------------------------------------------------------


def number() -> int:
    return 1


async def text() -> str:
    return ""


def length(text: str) -> int:
    return len(text)


def lines(number: "list[str]") -> "int":
    return len(number)


def problems(*steps: Any, **options: Any) -> list[str]:
    try:
        compile(Graph(*steps, strict_types=True, **options))
    except DefinitionError as error:
        return [str(each) for each in error.problems]
    return []


def test_a_contradiction_names_both_sides_and_the_parameter() -> None:
    graph = Graph(Task(number, name="text"), length, strict_types=True)

    with pytest.raises(DefinitionError) as caught:
        compile(graph)

    assert str(caught.value) == (
        "task 'length': 'text' takes str, but 'text' gives int; "
        "change one of the annotations, or have the graph without strict_types=True"
    )
    compile(Graph(Task(number, name="text"), length))
    assert value(Graph(text, length, strict_types=True)) == {"text": "", "length": 0}


def test_all_contradictions_are_said_at_once() -> None:
    assert len(problems(Task(number, name="text"), length, Task(lines), number)) == 2


def test_annotations_may_be_texts_wherever_they_can_be_found() -> None:
    def here(number: "Missing") -> "Missing": ...  # type: ignore[name-defined]  # noqa: F821

    assert problems(number, lines)[0].startswith("task 'lines': 'number' takes list[str], but 'number' gives int; ")
    assert problems(number, here) == problems(here, Task(lines, name="x"), inputs_of_here) == []


def inputs_of_here(here: int) -> None: ...


def test_what_is_not_annotated_fits() -> None:
    def anything(number, *, text=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return number, text

    def takes(anything: int) -> None: ...

    assert problems(number, text, anything, takes, Task(lambda takes: takes, name="last")) == []
    assert problems(Task(len, name="text"), Task(sorted, name="number"), lines) == []


def test_a_default_of_none_may_be_given() -> None:
    def nothing() -> None: ...

    def takes(nothing: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    def refuses(nothing: int = 1) -> None: ...

    assert problems(nothing, takes) == []
    assert len(problems(nothing, refuses)) == 1


def test_keywords_pipes_and_dependencies_are_edges_too() -> None:
    def keyword(*, number: str) -> None: ...

    def upstream(upstream: int, number: int) -> None: ...

    assert len(problems(number, keyword)) == 1
    assert len(problems(Sequence(number, length))) == 1
    assert problems(Sequence(text, length)) == []
    assert (
        len(problems(Task(number, name="n"), Task(lambda n: n, deps=["n"]), Task(lines, deps=["number"]), number)) == 1
    )
    assert problems(number, Task(upstream, deps=["number"])) == []
    assert problems(Task(number, name="text"), Task(length, "bound")) == []


def test_several_outputs() -> None:
    def pair() -> tuple[int, str]:
        return 1, ""

    def many() -> tuple[int, ...]:
        return 1, 2

    def named() -> Pair:
        return Pair(1, "")

    takers = [Task(length, name="a"), Task(lines, name="b")]
    assert problems(Task(pair, output=["number", "text"]), *takers)[0].startswith("task 'b': 'number' takes list[str]")
    assert len(problems(Task(pair, output=["number", "text"]), *takers)) == 1
    assert len(problems(Task(many, output=["number", "text"]), *takers)) == 2
    assert problems(Task(named, output=["number", "text"]), *takers) == []
    assert problems(Task(pair, output=["number", "text", "z"]), *takers) == []


def test_groups_give_lists_and_mappings() -> None:
    assert len(problems(Parallel(number, name="text"), length)) == 1
    assert len(problems(Graph(number, name="text"), length)) == 1
    assert problems(Parallel(text, name="number"), lines) == []
    assert len(problems(Graph(Task(number, name="n")).as_task("g", outputs={"n": "text"}), length)) == 1


def test_what_a_call_gives_in_other_ways() -> None:
    class Made:
        pass

    class Odd:
        def __new__(cls) -> int:  # type: ignore[misc]
            return 1

    class Calls:
        def __call__(self) -> int:
            return 1

    def later() -> Awaitable[str]: ...  # type: ignore[empty-body]

    def coroutine() -> Coroutine[int, int, str]: ...  # type: ignore[empty-body]

    assert len(problems(Task(Made, name="text"), length)) == 1
    assert len(problems(Task(functools.partial(Made), name="text"), length)) == 1
    assert len(problems(Task(Calls(), name="text"), length)) == 1
    assert len(problems(Task(functools.partial(number), name="text"), length)) == 1
    assert problems(Task(Odd, name="text"), length) == []
    assert problems(Task(later, name="text"), length) == problems(Task(coroutine, name="text"), length) == []
    assert len(problems(Task(later, name="number"), lines)) == 1
    assert problems(Task(int, 1, name="number"), Task(lambda number: number)) == []

    def someday() -> Awaitable: ...  # type: ignore[type-arg, empty-body]

    def future() -> asyncio.Future[int]: ...  # type: ignore[empty-body]

    assert problems(Task(someday, name="text"), length) == problems(Task(future, name="text"), length) == []


def test_what_is_wrapped_is_not_judged_by_what_it_was() -> None:
    def turned(fn: Any) -> Any:
        @functools.wraps(fn)
        def wrapper(*args: Any) -> Any:
            return str(fn(*map(int, args)))

        return wrapper

    assert problems(Task(turned(number), name="text"), length) == []
    assert problems(number, Task(turned(lines), name="n")) == []
    assert len(problems(Task(functools.cache(number), name="text"), length)) == 1
    assert len(problems(Task(functools.partial(Task(number)), name="text"), length)) == 1


def test_only_edges_within_the_graph_are_looked_at() -> None:
    inner = Graph(length, strict_types=True, name="inner")

    compile(Graph(Task(number, name="text"), inner))
    with pytest.raises(DefinitionError):
        compile(Graph(Task(number, name="text"), Graph(length, name="inner"), strict_types=True))
    with pytest.raises(DefinitionError, match=r"^task 'p/inner/length'"):
        compile(Graph(Parallel(Graph(Task(number, name="text"), length, strict_types=True, name="inner"), name="p")))
    assert len(problems(Graph(Task(number, name="text"), length, strict_types=True))) == 1


def test_the_option_is_part_of_the_graph() -> None:
    graph = Graph(text, length, strict_types=True)

    assert graph.strict_types
    assert graph == pickle.loads(pickle.dumps(graph)) != Graph(text, length)
    assert graph.select("text").strict_types
    assert graph.as_task("x").strict_types
    assert graph.bind().strict_types
    with pytest.raises(TypeError, match=r"^strict_types: expected bool, found int"):
        Graph(strict_types=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="strict_types"):
        Sequence(strict_types=True)  # type: ignore[call-arg]


def test_generators_are_not_judged_by_what_they_are_annotated_with() -> None:
    @types.coroutine
    def awaited() -> Generator[int, None, list[str]]:
        yield 1
        return []

    assert problems(Task(awaited, name="number"), lines) == []


def test_what_an_interrupt_gives_is_what_its_answer_has_to_be() -> None:
    def question() -> str:
        return "how many?"

    def takes(n: int) -> int:
        return n

    assert compile(Graph(Interrupt("n", question, type=int), takes, strict_types=True))
    assert compile(Graph(Interrupt("n", question), takes, strict_types=True))
    with pytest.raises(DefinitionError, match="'n' takes int, but 'n' gives str"):
        compile(Graph(Interrupt("n", question, type=str), takes, strict_types=True))

"""A program that type checkers must read as it is meant: what a parameter that asks for a resource is, and what is not.

Each `type: ignore` says that the line is an error; both checkers report those that are not needed.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any, Self, assert_type

import orch
from orch import Context, Resource, resource, use


class Connection:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


# -- whatever it is made of, it is known what it gives -----------------------------------------------------------------


@resource
async def database() -> AsyncIterator[Connection]:
    async with Connection() as connection:
        yield connection


@resource(name="books", scope="runner")
def books() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


@resource
async def generated(connection: Connection = use(database)) -> AsyncGenerator[int, None]:
    yield 1


@resource(scope="run")
def plainly(context: Context[Any]) -> Generator[str, None, None]:
    yield ""


@resource
@asynccontextmanager
async def managed() -> AsyncGenerator[bytes, None]:
    yield b""


@resource(name="managed")
@contextmanager
def managed_plainly() -> Generator[float, None, None]:
    yield 1.5


assert_type(database, Resource[Connection])
assert_type(books, Resource[sqlite3.Connection])
assert_type(generated, Resource[int])
assert_type(plainly, Resource[str])
assert_type(managed, Resource[bytes])
assert_type(managed_plainly, Resource[float])
assert_type(resource(Connection), Resource[Connection])
assert_type(resource(Connection, name="class"), Resource[Connection])
assert_type(use(database), Connection)

# -- a parameter takes what fits ---------------------------------------------------------------------------------------


async def load(rows: list[int], connection: Connection = orch.use(database)) -> int:
    return len(rows)


def count(*, connection: sqlite3.Connection = orch.use(books)) -> int:
    return 1


def wrong(connection: sqlite3.Connection = orch.use(database)) -> None: ...  # type: ignore[assignment]


orch.Task(load, compensate=count).bind(connection=Connection())
use(load)  # type: ignore[arg-type]
resource(load)  # type: ignore[arg-type]
resource(scope="session")  # type: ignore[call-overload]
resource(database.fn, scope="session")  # type: ignore[call-overload]

# -- fields ------------------------------------------------------------------------------------------------------------

assert_type(database.name, str)
assert_type(database.uses, tuple[tuple[str, Resource[Any]], ...])
database.name = "frozen"  # type: ignore[misc]


async def block() -> None:
    async with orch.AsyncRunner() as runner:
        assert_type(runner, orch.AsyncRunner)

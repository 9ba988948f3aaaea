"""Resources as they are: a database of SQLite, a client of HTTP with a server, tasks and scopes that overlap."""

import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest

import orch
from orch import AsyncRunner, Graph, Parallel, Sequence, State, Task, resource
from tests.execution.resilient import settle

# -- sqlite3: connections insist on their thread, unless told otherwise ------------------------------------------------


async def test_a_database_is_filled_and_read_by_plain_functions(tmp_path: Path) -> None:
    file = tmp_path / "rows.db"

    @resource
    def database() -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(file, check_same_thread=False)) as connection:
            connection.execute("create table rows (value integer)")
            yield connection
            connection.commit()

    def write(value: int, connection: sqlite3.Connection = orch.use(database)) -> int:
        return connection.execute("insert into rows values (?)", [value]).rowcount

    def total(connection: sqlite3.Connection = orch.use(database)) -> int:
        (found,) = connection.execute("select sum(value) from rows").fetchone()
        return int(found)

    writes = Parallel(*(Task(write, value, name=f"w{value}") for value in range(10)), limit=1)
    result = await settle(Sequence(writes, total))
    assert result["total"] == 45
    with closing(sqlite3.connect(file)) as after:
        assert after.execute("select count(*) from rows").fetchone() == (10,)


async def test_a_connection_is_closed_in_the_thread_that_opened_it() -> None:
    @resource
    def strict() -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(":memory:")) as connection:  # another thread may not even close it
            yield connection

    def step(connection: sqlite3.Connection = orch.use(strict)) -> None:
        connection.execute("select 1")

    result = await settle(step)
    assert isinstance(result.tasks["step"].error, sqlite3.ProgrammingError)
    assert len(result.errors) == 1  # and closing is none


async def test_what_failed_is_rolled_back_with_the_connection_that_did_it() -> None:
    @resource
    def database() -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
            connection.execute("create table paid (amount integer)")
            yield connection

    def pay(amount: int, connection: sqlite3.Connection = orch.use(database)) -> int:
        connection.execute("insert into paid values (?)", [amount])
        return amount

    def give_back(value: int, connection: sqlite3.Connection = orch.use(database)) -> None:
        assert connection.execute("delete from paid where amount = ?", [value]).rowcount == 1

    async def fail() -> None:
        raise ValueError("out of stock")

    result = await settle(Sequence(Task(pay, 5, compensate=give_back), fail, on_failure="compensate"))
    assert result.tasks["pay"].state is State.COMPENSATED
    assert len(result.errors) == 1


# -- httpx: a client that lives in tasks and scopes of its own ---------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


async def test_a_client_of_http_is_shared_by_all_requests(server: str) -> None:
    clients: list[httpx.AsyncClient] = []

    @resource
    async def client() -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=server, trust_env=False) as opened:
            clients.append(opened)
            yield opened

    async def fetch(path: str, client: httpx.AsyncClient = orch.use(client)) -> str:
        return (await client.get(path)).text

    result = await settle(Parallel(*(Task(fetch, f"/{i}", name=f"f{i}") for i in range(10))))
    assert result.value == [f"/{i}" for i in range(10)]
    assert len(clients) == 1
    assert clients[0].is_closed


async def test_the_class_of_a_client_is_a_factory(server: str) -> None:
    client = resource(httpx.AsyncClient, name="client")

    async def fetch(http: httpx.AsyncClient = orch.use(client)) -> int:
        return (await http.get(f"{server}/x")).status_code

    assert (await settle(fetch)).value == 200


async def test_a_request_that_is_cut_short_leaves_the_client_in_order(server: str) -> None:
    @resource
    async def client() -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=server, trust_env=False) as opened:
            yield opened

    async def fetch(client: httpx.AsyncClient = orch.use(client)) -> str:
        await client.get("/first")
        await anyio.sleep(3600)
        return "never"

    async def other(client: httpx.AsyncClient = orch.use(client)) -> str:
        return (await client.get("/other")).text

    steps = Sequence(Task(fetch, timeout=0.2), other, on_failure="continue")
    assert (await settle(steps))["other"] == "/other"


# -- anyio: what has to be left by who entered it ----------------------------------------------------------------------


async def test_a_server_in_a_task_group_inside_a_resource_serves_the_steps() -> None:
    @resource
    async def echo() -> AsyncIterator[int]:
        async def answer(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.send((await stream.receive()).upper())

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, answer)
            address = listener.extra(anyio.abc.SocketAttribute.local_address)
            yield int(address[1])
            group.cancel_scope.cancel()

    async def ask(text: bytes, port: int = orch.use(echo)) -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(text)
            return await stream.receive()

    result = await settle(Parallel(*(Task(ask, b"%c" % (97 + i), name=f"a{i}") for i in range(5))))
    assert result.value == [b"A", b"B", b"C", b"D", b"E"]


async def test_scopes_of_several_resources_overlap_as_they_like() -> None:
    """Opened as one, two, three, asked for by different steps, in different lanes: none is left by another task."""
    order: list[str] = []

    def scoped(name: str, turns: int) -> orch.Resource[str]:
        @resource(name=name)
        async def made() -> AsyncIterator[str]:
            with anyio.CancelScope(), anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, 3600)
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    yield name
                    order.append(name)
                    group.cancel_scope.cancel()

        return made

    one, two, three = scoped("one", 5), scoped("two", 3), scoped("three", 1)

    async def a(x: str = orch.use(one), y: str = orch.use(two)) -> str:
        await anyio.sleep(0.005)
        return x + y

    async def b(x: str = orch.use(three), y: str = orch.use(one)) -> str:
        return x + y

    async def c(x: str = orch.use(two)) -> str:
        await anyio.lowlevel.checkpoint()
        return x

    result = await settle(Graph(a, b, c))
    assert result.value == {"a": "onetwo", "b": "threeone", "c": "two"}
    assert sorted(order) == ["one", "three", "two"]


async def test_a_reader_that_leaves_early_closes_everything() -> None:
    lines: list[str] = []

    @resource
    async def open_for_long() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 3600)
            lines.append("open")
            yield "value"
            group.cancel_scope.cancel()
        lines.append("closed")

    async def hang(it: str = orch.use(open_for_long)) -> None:
        await anyio.sleep(3600)

    async with AsyncRunner().iter(hang) as run:
        while not lines:
            await anyio.lowlevel.checkpoint()
    assert lines == ["open", "closed"]
    assert run.result.state is State.CANCELLED

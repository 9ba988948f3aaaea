"""What every test gets: all three event loops, a watch on what a test leaves behind, and on what blocks the loop."""

import asyncio
import gc
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path

import anyio.lowlevel
import pytest
import trio
import uvloop
from blockbuster import blockbuster_ctx

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as for whoever is started in the background; children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(scope="module", params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Run every async test on each event loop; a test for one of them parametrises this fixture by its name."""
    return request.param


@pytest.fixture(autouse=True, scope="session")
def signal_pipe_of_libuv() -> None:
    """Open what libuv opens once in a process, with its first loop, so that no test seems to have left it behind."""
    uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread or an open file; around the event loop, so that the loop's own are gone."""
    threads, files = _threads(), _open_files()
    yield
    assert not _remaining(_threads, threads), "threads left behind"
    assert not _remaining(_open_files, files), "file descriptors left open"


@pytest.fixture(autouse=True)
def no_task_left_behind(request: pytest.FixtureRequest, nothing_left_behind: None) -> None:
    """Watch the tasks of an async test; as an async fixture with autouse this would open a loop for the others too."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("watched_tasks")


@pytest.fixture
async def watched_tasks(anyio_backend_name: str) -> AsyncIterator[None]:
    """Fail an async test that leaves a task running in its event loop."""
    living = _asyncio_tasks if anyio_backend_name == "asyncio" else _trio_tasks
    before = len(living())  # a number: the plugin wraps every call into a task of its own
    yield
    with anyio.move_on_after(1):
        while len(living()) > before:
            await anyio.lowlevel.checkpoint()
    assert len(living()) == before, f"tasks left behind, among {living()}"


@pytest.fixture(autouse=True)
def nothing_blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an async test in which the package blocks the loop; blockbuster sees it on asyncio and uvloop."""
    if "anyio_backend" not in request.fixturenames or request.node.get_closest_marker("blocks"):
        yield
        return
    with blockbuster_ctx("orch") as blockbuster:
        # A thread that starts is waited for, and an idle one that ends: microseconds, as in anyio and trio.
        moments = {"grow", "hand_over", "leaving", "tell"}
        blockbuster.functions["threading.Lock.acquire"].can_block_in("orch/execution/_threads.py", moments)
        blockbuster.functions["threading.Lock.acquire"].can_block_in("orch/execution/_managed.py", {"_begin", "_join"})
        blockbuster.functions["threading.Lock.acquire"].can_block_in("orch/subscribers/_rich.py", {"begin", "_shut"})
        blockbuster.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", {"lock_data"})  # its own
        yield


def _remaining(living: Callable[[], set[str]], before: Collection[str], patience: float = 1.0) -> set[str]:
    """What lives now and did not before, after a moment for threads to end and the collector to close files."""
    deadline = time.monotonic() + patience
    while (extra := living() - set(before)) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.005)
    return extra


def _threads() -> set[str]:
    """Threads by name and number, without the idle ones that trio keeps for its next call."""
    return {f"{t.name} ({t.ident})" for t in threading.enumerate() if not t.name.startswith("Trio thread")}


def _open_files() -> set[str]:
    """Open descriptors with what they lead to; empty where there is no /proc."""
    folder = Path("/proc/self/fd")
    links = list(folder.iterdir()) if folder.is_dir() else []
    return {f"{link.name} -> {target}" for link in links if (target := _target(link))}


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except FileNotFoundError:  # the descriptor that listed the folder
        return None


def _asyncio_tasks() -> set[object]:
    return set(asyncio.all_tasks())


def _trio_tasks() -> set[object]:
    """Every task below the root but trio's own: those belong to the nurseries of its init task."""
    root = trio.lowlevel.current_root_task()
    found, todo = set[object](), [root] if root else []
    while todo:
        task = todo.pop()
        found.add(task)
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found

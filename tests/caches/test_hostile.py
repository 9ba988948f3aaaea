"""Entries that this cache has not written: each is a miss, is removed, and nothing of it is executed."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orch import DiskCache
from orch.caches._disk import _name

Make = Callable[..., DiskCache]
SIZE = 10_000


@pytest.fixture
def place(disk: Make, tmp_path: Path) -> tuple[DiskCache, Path]:
    """A cache with an entry, and where that is."""
    cache = disk(tmp_path / "cache")
    cache.set("key", [1, 2])
    return cache, Path(cache._folder._place(_name("key")[0]))


def test_check_99_of_ten_thousand_changed_files_nothing_is_imported_executed_or_unpickled(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.caches.audited", str(tmp_path / "cache"), str(SIZE)]
    root = Path(__file__).parents[2]
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, wrong, exploded, *heard = done.stdout.split()
    assert int(count) > SIZE
    assert (wrong, exploded, heard) == ("0", "False", ["nothing"])


def test_check_99_every_single_bit_counts(place: tuple[DiskCache, Path], caplog: pytest.LogCaptureFixture) -> None:
    cache, path = place
    good = path.read_bytes()
    for at in range(len(good) * 8):
        data = bytearray(good)
        data[at // 8] ^= 1 << at % 8
        path.write_bytes(data)
        assert cache.get("key") == (False, None)
        assert not path.exists()
    assert len(caplog.records) == len(good) * 8


def fifo(path: Path) -> None:
    os.mkfifo(path)


def server(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as it:
        here = Path.cwd()
        os.chdir(path.parent)  # names of sockets have to be short
        it.bind(path.name)
        os.chdir(here)


def full_directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("")


def link(path: Path) -> None:
    other = path.with_name("good")
    other.write_bytes(GOOD[0])
    path.symlink_to(other)


def unreadable(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0)


GOOD = [b""]
IN_PLACE = [fifo, server, Path.mkdir, full_directory, link, unreadable, lambda path: path.symlink_to(path)]


@pytest.mark.parametrize("put", IN_PLACE, ids=range(len(IN_PLACE)))
def test_check_99_what_is_no_file_is_a_miss_and_put_out_of_the_way(
    place: tuple[DiskCache, Path], put: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    cache, path = place
    GOOD[0] = path.read_bytes()
    path.unlink()
    put(path)
    assert cache.get("key") == (False, None)
    assert "was refused" in caplog.text
    cache.set("key", [3])
    assert cache.get("key") == (True, [3])


@pytest.mark.parametrize("put", [Path.mkdir, full_directory, link], ids=["directory", "full", "link"])
def test_check_99_writing_takes_the_place_of_what_is_no_file(
    place: tuple[DiskCache, Path], put: Callable[[Path], None]
) -> None:
    cache, path = place
    GOOD[0] = path.read_bytes()
    path.unlink()
    put(path)
    cache.set("key", [3])
    assert cache.get("key") == (True, [3])


def reasons(path: Path, good: bytes) -> Iterator[tuple[bytes, str]]:
    yield b"", "it is no entry of a cache"
    yield good[:80], "it is no entry of a cache, or only the beginning of one"
    yield b"nonsense" * 40, "it is no entry of a cache"
    yield good[:4] + b"\x02" + good[5:], "its version is 2, expected 1"
    yield good[:5] + b"\x02" + good[6:], "it was written with another codec"
    yield good[:8] + bytes(8) + good[16:], "it was written with another key"
    yield good[:-1], "it is not as long as it says"
    yield good + b"x", "it is not as long as it says"
    yield good[:-1] + bytes((good[-1] ^ 1,)), "it was changed, or is not from here"


def test_the_warning_says_what_is_wrong(place: tuple[DiskCache, Path], caplog: pytest.LogCaptureFixture) -> None:
    cache, path = place
    for data, reason in reasons(path, path.read_bytes()):
        path.write_bytes(data)
        assert cache.get("key") == (False, None)
        assert reason in caplog.records[-1].getMessage()
        assert caplog.records[-1].levelno == logging.WARNING


def test_an_entry_under_the_name_of_another_is_refused(
    place: tuple[DiskCache, Path], caplog: pytest.LogCaptureFixture
) -> None:
    cache, path = place
    cache.set("other", "poison")
    path.write_bytes(Path(cache._folder._place(_name("other")[0])).read_bytes())
    assert cache.get("key") == (False, None)
    assert "the entry of another key" in caplog.text

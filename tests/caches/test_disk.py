"""`DiskCache`: whose directory and key it takes, how much and how long it keeps, and what may go wrong with a disk."""

import dataclasses
import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

import orch.caches._disk
import orch.caches._folder
from orch import AsyncRunner, CacheError, DiskCache
from orch.caches._secret import secret
from tests.caches.conftest import KEY, Codes

Make = Callable[..., DiskCache]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.entry"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "orch" / "cache.key"


# -- directory and key -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_directory_and_entries_are_for_this_user_alone(disk: Make, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        disk(tmp_path / "new" / "cache").set("key", 1)
    finally:
        os.umask(before)
    folder = tmp_path / "new" / "cache"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()] == [0o600]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_directory_that_others_write_into_is_refused_with_the_cure(disk: Make, tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(CacheError, match=f"others may write into .*mode {mode:o}.*chmod 700"):
        disk(tmp_path)


def test_a_directory_of_somebody_else_is_refused(disk: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(CacheError, match="user"):
        disk(tmp_path)


def test_a_file_is_no_directory(disk: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot be used"):
        disk(tmp_path / "file")


def test_the_key_is_made_once_for_this_user_alone_outside_of_the_cache(home: Path, tmp_path: Path) -> None:
    DiskCache(tmp_path / "one").set("key", 1)
    made = home.read_bytes()
    assert len(made) == 32
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert list(home.parent.iterdir()) == [home]
    assert DiskCache(tmp_path / "one").get("key") == (True, 1)
    assert home.read_bytes() == made == secret()
    assert not DiskCache(tmp_path / "one", key=KEY).get("key")[0]


def test_of_many_who_make_the_key_at_a_time_all_have_the_same(home: Path) -> None:
    program = "from orch.caches._secret import secret; print(secret().hex())"
    env = {**os.environ, "XDG_CONFIG_HOME": str(home.parents[1])}
    many = [subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE) for _ in range(4)]
    said = {each.communicate()[0] for each in many}
    assert said == {home.read_bytes().hex().encode() + b"\n"}


def test_a_key_that_others_can_read_or_that_is_none_is_refused(home: Path, tmp_path: Path) -> None:
    secret()
    home.chmod(0o640)
    with pytest.raises(CacheError, match=r"can be read by others.*chmod 600"):
        DiskCache(tmp_path / "cache")
    home.chmod(0o600)
    home.write_bytes(b"short")
    with pytest.raises(CacheError, match="not 32 bytes long: remove it"):
        DiskCache(tmp_path / "cache")
    home.unlink()
    home.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match=r"cannot be read or made.*key="):
        DiskCache(tmp_path / "cache")


async def test_in_an_event_loop_nothing_is_read_before_it_is_needed(disk: Make, tmp_path: Path, home: Path) -> None:
    def step(x: int) -> int:
        return x

    runner = AsyncRunner(cache=DiskCache(tmp_path / "cache"))
    assert [(await runner.run(step, x=1)).tasks["step"].cached for _ in range(2)] == [False, True]
    await anyio.to_thread.run_sync(home.chmod, 0o644)
    result = await AsyncRunner(cache=DiskCache(tmp_path / "cache")).run(step, x=1)
    assert "can be read by others" in str(result.trace)
    assert not result.tasks["step"].cached


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"key": b"short"}, ValueError, "key: expected 32 to 64 bytes, found 5"),
    ({"key": "x" * 32}, TypeError, "key: expected bytes"),
    ({"max_bytes": 0}, ValueError, "max_bytes"),
    ({"max_bytes": 1.5}, TypeError, "max_bytes"),
    ({"ttl": 0}, ValueError, "ttl"),
    ({"ttl": "1"}, TypeError, "ttl"),
    ({"codec": "yaml"}, ValueError, "codec: expected 'json', 'pickle'"),
    ({"codec": 1}, TypeError, "codec: expected 'json', 'pickle', or an object"),
    ({"codec": "pickle", "key": None}, ValueError, "codec: expected a key with codec='pickle'"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_options_are_refused_by_name(
    disk: Make, options: dict[str, Any], error: type[Exception], message: str, home: Path
) -> None:
    with pytest.raises(error, match=message):
        disk(**options)
    assert not home.exists()


def test_pickle_shows_in_the_repr(disk: Make) -> None:
    assert ", pickle>" in repr(disk(codec="pickle"))


# -- codecs ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Item:
    name: str


def test_entries_of_one_codec_are_nothing_to_another(disk: Make, tmp_path: Path) -> None:
    for one, other in (("json", "pickle"), ("pickle", "json"), ("json", Codes()), (Codes(), "pickle")):
        disk(tmp_path / "cache", codec=one).set("key", 7)
        assert disk(tmp_path / "cache", codec=one).get("key") == (True, 7)
        assert disk(tmp_path / "cache", codec=other).get("key") == (False, None)


def test_codecs_of_users_are_told_apart_by_name(disk: Make, tmp_path: Path) -> None:
    other = Codes()
    other.name = "other"
    disk(tmp_path / "cache", codec=Codes()).set("key", 7)
    assert disk(tmp_path / "cache", codec=other).get("key") == (False, None)


def test_an_instance_needs_its_class_in_the_annotation(disk: Make) -> None:
    with pytest.raises(CacheError, match="found the class 'Item'; name its classes in the annotation"):
        disk().set("key", Item("a"))


def test_what_a_codec_raises_while_it_reads_is_a_miss(disk: Make, caplog: pytest.LogCaptureFixture) -> None:
    cache = disk(codec=Codes())
    cache.set("key", 1.5)
    assert cache.get("key") == (False, None)
    assert "it cannot be read: ValueError" in caplog.text
    assert not entries(cache._folder.path)


# -- how much, and how long --------------------------------------------------------------------------------------------


def test_the_entries_not_used_longest_go_when_there_are_too_many_bytes(disk: Make) -> None:
    cache = disk(max_bytes=10_000)
    for k in range(8):
        cache.set(str(k), "x" * 1000)
        os.utime(cache._folder._place(orch.caches._disk._name(str(k))[0]), (k, k))
    cache.get("0")
    for k in range(8, 12):
        cache.set(str(k), "x" * 1000)
    kept = [k for k in range(12) if cache.get(str(k))[0]]
    assert 0 in kept
    assert kept[1:] == list(range(12 - len(kept) + 1, 12))
    assert sum(each.stat().st_size for each in entries(cache._folder.path)) <= 10_000


def test_the_bound_holds_for_what_others_have_written(disk: Make, tmp_path: Path) -> None:
    for k in range(20):
        disk(tmp_path / "cache", max_bytes=5_000).set(str(k), "x" * 1000)
    assert sum(each.stat().st_size for each in entries(tmp_path / "cache")) <= 5_000


def test_a_value_larger_than_all_of_it_is_not_kept(disk: Make) -> None:
    cache = disk(max_bytes=500)
    with pytest.raises(CacheError, match="too large for a cache of 500"):
        cache.set("key", "x" * 1000)
    assert not list(cache._folder.path.iterdir())


def test_what_was_left_half_written_goes_after_a_while(disk: Make) -> None:
    cache = disk()
    old, new = cache._folder.path / ".part-old", cache._folder.path / ".part-new"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.set("key", 1)
    assert (old.exists(), new.exists()) == (False, True)


def test_an_entry_is_too_old_by_the_shorter_time_of_who_wrote_it_and_who_reads(
    disk: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1_000_000]
    monkeypatch.setattr(orch.caches._disk, "_now", lambda: now[0])
    folder = tmp_path / "cache"
    disk(folder, ttl=10).set("ten", 1)
    disk(folder).set("for ever", 1)
    now[0] += 9_999
    assert disk(folder, ttl=60).get("ten") == disk(folder, ttl=10).get("for ever") == (True, 1)
    now[0] += 1
    assert disk(folder, ttl=60).get("ten") == (False, None)
    assert disk(folder).get("for ever") == (True, 1)
    assert disk(folder, ttl=10).get("for ever") == (False, None)
    disk(folder, ttl=10).set("tomorrow", 1)
    now[0] -= 5_000
    assert disk(folder, ttl=10).get("tomorrow") == (False, None)
    assert not caplog.records
    assert not entries(folder)


# -- disks that fail ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["open", "write", "close", "replace"])
def test_a_full_disk_is_a_cache_error_and_leaves_nothing_half_written(
    disk: Make, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*args: Any, **options: Any) -> Any:
        if call == "close":
            true(*args)
        raise OSError(errno.ENOSPC, "No space left on device")

    cache, true = disk(), getattr(os, call)
    cache.set("key", 1)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(CacheError, match=r"nothing can be written into .*No space left"):
        cache.set("key", 2)
    monkeypatch.undo()
    assert cache.get("key") == (True, 1)
    assert len(list(cache._folder.path.iterdir())) == 1


def test_a_vanished_directory_is_a_miss_and_then_a_cache_error(disk: Make) -> None:
    cache = disk()
    cache._folder.path.rmdir()
    assert cache.get("key") == (False, None)
    with pytest.raises(CacheError, match="nothing can be written"):
        cache.set("key", 1)


def test_a_disk_that_cannot_be_read_is_a_miss_and_the_entry_stays(
    disk: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    cache = disk()
    cache.set("key", 1)
    monkeypatch.setattr(os, "open", broken)
    assert cache.get("key") == (False, None)
    monkeypatch.undo()
    assert "cannot be read: [Errno 5]" in caplog.text
    assert cache.get("key") == (True, 1)


def test_writing_in_pieces_writes_all(disk: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    true = os.write
    monkeypatch.setattr(os, "write", lambda to, data: true(to, data[:7]))
    cache = disk()
    cache.set("key", "x" * 100)
    monkeypatch.undo()
    assert cache.get("key") == (True, "x" * 100)


# -- several who write -------------------------------------------------------------------------------------------------


def test_check_99_of_two_processes_that_write_readers_see_one_or_the_other(disk: Make, tmp_path: Path) -> None:
    program = (
        "import sys; from orch import DiskCache\n"
        "cache = DiskCache(sys.argv[1], key=bytes(range(32)))\n"
        "for _ in range(300): cache.set('key', [sys.argv[2]] * int(sys.argv[3]))"
    )
    cache = disk(tmp_path / "cache")
    many = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "cache"), letter, size])
        for letter, size in (("a", "10"), ("b", "5000"))
    ]
    seen = set()
    while any(each.poll() is None for each in many):
        known, value = cache.get("key")
        if known:
            seen.add((value[0], len(value), len(set(value))))
    assert [each.wait() for each in many] == [0, 0]
    assert {("a", 10, 1), ("b", 5000, 1)} >= seen
    assert cache.get("key")[0]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_reader_beside_one_who_throws_out_sees_all_or_nothing(disk: Make, tmp_path: Path) -> None:
    def write() -> None:
        for k in range(300):
            writer.set(str(k % 9), ["x" * 500])

    writer, reader = disk(tmp_path / "cache", max_bytes=2_000), disk(tmp_path / "cache")
    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        for k in range(9):
            assert reader.get(str(k)) in ((False, None), (True, ["x" * 500]))
    thread.join()

"""What every cache has to do: the same for all of them, also for those of others."""

import dataclasses
import datetime as dt
import threading
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from orch import CacheError, Context, DiskCache, Interrupt, MemoryCache, Task
from orch.abc import Cache
from orch.caches import Explanation
from orch.plan import Identity, Key

Caches = MemoryCache | DiskCache


@dataclasses.dataclass
class Item:
    name: str
    tags: list[str]


def load(rows: list[int], rate: float = 1.0, *, mode: str = "fast") -> list[Item]:
    return [Item(str(row), []) for row in rows]


def key_of(fn: Callable[..., Any] | Task[..., Any] = load, **inputs: Any) -> Key:
    task = fn if isinstance(fn, Task) else Task(fn)
    defaults = {each.name: each.default for each in task.signature.parameters if not each.required}
    return Identity(task).key_of({**defaults, **task.bound, **inputs})


VALUES: list[Any] = [
    *(
        None,
        True,
        0,
        1,
        -1,
        1.5,
        "",
        "text",
        b"bytes",
        10**30,
        (1, 2),
        {1, 2},
        frozenset({1}),
        {"a": [1, (2,)]},
        {1: {2: 3}},
    ),
    *(
        Decimal("1.10"),
        uuid.UUID(int=7),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        dt.timedelta(1),
        [Item("a", ["b"])],
    ),
]


def test_both_are_what_the_protocol_says(cache: Caches) -> None:
    asked: Cache = cache
    assert asked.get("nothing") == (False, None)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_check_96_what_is_put_in_comes_out_and_none_is_a_value(cache: Caches, value: Any) -> None:
    key = key_of(rows=[1])
    assert cache.get(key) == (False, None)
    cache.set(key, value)
    known, found = cache.get(key)
    assert known
    assert (type(found), found) == (type(value), value)


def test_any_text_is_a_key(cache: Caches) -> None:
    for key in ("", "../../etc/passwd", "a/b", "NUL\0", "\ud800", "x" * 5000, "CON", "."):
        cache.set(key, key == "")
        assert cache.get(key) == (True, key == "")


def test_what_is_discarded_is_gone_and_nothing_else(cache: Caches) -> None:
    cache.set("one", 1)
    cache.set("two", 2)
    cache.discard("one")
    cache.discard("one")
    assert (cache.get("one"), cache.get("two")) == ((False, None), (True, 2))


def test_a_second_value_takes_the_place_of_the_first(cache: Caches) -> None:
    cache.set("key", 1)
    cache.set("key", [2])
    assert cache.get("key") == (True, [2])


def test_check_99_nobody_changes_an_entry_by_changing_a_value(cache: Caches) -> None:
    value: dict[str, Any] = {"rows": [1, 2], "more": ([3],)}
    cache.set("key", value)
    value["rows"].append("poison")
    first = cache.get("key")[1]
    first["more"][0].clear()
    first.clear()
    assert cache.get("key") == (True, {"rows": [1, 2], "more": ([3],)})


def test_what_cannot_be_kept_is_a_cache_error_and_leaves_what_was_there(cache: Caches) -> None:
    cache.set("key", 1)
    with pytest.raises(CacheError, match="a value cannot be"):
        cache.set("key", threading.Lock())
    assert cache.get("key") == (True, 1)


def test_clear_forgets_everything(cache: Caches) -> None:
    cache.set("key", 1)
    cache.set(key_of(rows=[1]), 2)
    cache.clear()
    assert not cache.get("key")[0]
    assert str(cache.explain(load, {"rows": [1]})).endswith("load: miss, nothing of it is there")


def test_threads_may_share_it(cache: Caches) -> None:
    def work(number: int) -> None:
        for k in range(50):
            cache.set(f"key{k % 7}", [k])
            known, value = cache.get(f"key{(k + number) % 7}")
            wrong.extend(["wrong"] * (known and not isinstance(value, list)))

    wrong: list[str] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- explain -----------------------------------------------------------------------------------------------------------


def multiplied(factor: int) -> Callable[[int], int]:
    def multiply(x: int) -> int:
        return x * factor

    return multiply


def test_explain_says_hit_or_what_is_different(cache: Caches) -> None:
    def said(fn: Any = load, **inputs: Any) -> tuple[str, ...]:
        return cache.explain(fn, inputs).differs

    assert cache.explain(load, {"rows": [1]}).problem == "nothing of it is there"
    cache.set(key_of(rows=[1]), [])
    cache.set(key_of(rows=[2], rate=2.0), [])
    hit = cache.explain(load, {"rows": [1], "mode": "fast"})
    assert hit
    assert str(hit).endswith("test_contract:load: hit")
    assert said(rows=[3]) == ("input 'rows'",)
    assert said(rows=[2], rate=2.0, mode="slow") == ("input 'mode'",)
    assert said(rows=[3], mode="slow") == ("input 'mode'", "input 'rows'")
    assert said(Task(load, version=2), rows=[1]) == ("version", "code")
    assert str(cache.explain(load, {"rows": [3]})).endswith("miss, not as in the nearest entry: input 'rows'")


def test_explain_knows_code_closures_defaults_and_versions(cache: Caches) -> None:
    cache.set(key_of(multiplied(2), x=1), 2)
    assert cache.explain(multiplied(2), {"x": 1})
    assert cache.explain(multiplied(3), {"x": 1}).differs == ("closure 'factor'",)
    cache.set(key_of(Task(load, version=1), rows=[1]), [])
    assert cache.explain(Task(load, version=2), {"rows": [1]}).differs == ("version",)
    other = _twin(load, lambda rows, rate=1.0, *, mode="fast": 5)
    cache.set(key_of(rows=[1]), [])
    assert cache.explain(other, {"rows": [1]}).differs == ("code",)
    other = _twin(load, load)
    other.__defaults__ = (2.0,)
    assert cache.explain(other, {"rows": [1], "rate": 1.0}).differs == ("default of 'rate'",)


def _twin(named: Any, fn: Any) -> Any:
    twin = type(fn)(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__)
    twin.__kwdefaults__, twin.__module__, twin.__qualname__ = fn.__kwdefaults__, named.__module__, named.__qualname__
    return twin


def test_explain_says_why_there_is_no_key(cache: Caches) -> None:
    found = cache.explain(load, {"rows": [1, {"lock": threading.Lock()}]})
    assert isinstance(found, Explanation)
    assert "it has no key: rows[1]['lock']: _thread:lock cannot be part of a key" in str(found)


def test_explain_takes_what_the_function_takes(cache: Caches) -> None:
    def open_to_all(x: int, **more: int) -> int:
        return x

    assert cache.explain(Task(open_to_all, y=1), {"x": 1, "z": 2}).problem == "nothing of it is there"


def test_explain_refuses_what_is_no_call_of_the_task(cache: Caches) -> None:
    with pytest.raises(ValueError, match=r"'rowz'.*did you mean 'rows'"):
        cache.explain(load, {"rowz": [1]})
    with pytest.raises(TypeError, match="explain: expected a task"):
        cache.explain(__import__("orch").Sequence(load), {})
    with pytest.raises(TypeError, match="inputs: expected Mapping"):
        cache.explain(load, [1])  # type: ignore[arg-type]


def test_explain_says_that_a_task_is_not_looked_up_at_all(cache: Caches) -> None:
    def seen(x: int, context: Context[Any] | None = None) -> int:
        return x

    def undo() -> None: ...

    cache.set(key_of(rows=[1]), [])
    assert str(cache.explain(Task(load, cache=False), {"rows": [1]})).endswith(":load: miss, it says cache=False")
    for task in (Task(seen), Task(load, compensate=undo)):
        found = cache.explain(task, {"x": 1} if task.name == "seen" else {"rows": [1]})
        assert (found.hit, found.differs) == (False, ())
        assert found.problem.endswith("cache=True on the task has it cached")
    assert cache.explain(Task(load, compensate=undo, cache=True), {"rows": [1]}).hit
    assert "a question, which is never cached" in cache.explain(Interrupt("ok"), {}).problem

import json
import math
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.event import State
from orch.event._text import REPR_LIMIT
from orch.result import RunResult
from orch.result._report import MAX_DEPTH, MAX_LISTS, MAX_ROWS, plain
from tests.result.told import Told, etl, task_event

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
native = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


class Broken(Exception):  # noqa: N818 (its faults are its name)
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Liar(dict[str, Any]):
    """Says it is JSON's own, and is not."""

    def items(self) -> Any:
        raise RuntimeError("no")

    __iter__ = items
    __len__ = items


@given(native)
def test_what_json_can_hold_is_kept(value: object) -> None:
    assert plain(value) == value
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == value


@given(native)
def test_plain_data_is_a_copy(value: object) -> None:
    assert plain(value) is not value or not isinstance(value, list | dict)


@pytest.mark.parametrize(
    "value, expected",
    [
        ((1, (2,)), [1, [2]]),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        ({1: 2}, "{1: 2}"),
        ({"when": datetime(2026, 1, 1, tzinfo=UTC)}, {"when": "2026-01-01T00:00:00+00:00"}),
        ([State.FAILED, b"x"], ["failed", "b'x'"]),
        (ValueError("no"), "ValueError: no"),
        (Broken(), "Broken: <unprintable>"),
        ({1}, "{1}"),
    ],
    ids=range(9),
)
def test_what_json_cannot_hold_is_told(value: object, expected: object) -> None:
    assert plain(value) == expected


@pytest.mark.parametrize("value", [math.nan, Liar(), 10**5_000, "\ud800", object(), print], ids=range(6))
def test_whatever_comes_it_is_json(value: object) -> None:
    found = plain([value])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_circles_and_depth_and_width_are_bounded() -> None:
    circle: list[Any] = []
    circle += [circle, circle]
    assert len(json.dumps(plain(circle))) < 2 * MAX_LISTS * REPR_LIMIT
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert json.dumps(plain(deep)).count("[") < 2 * MAX_DEPTH
    wide = plain([[]] * 2 * MAX_LISTS)
    assert (wide[0], wide[-1], len(wide)) == ([], "[]", 2 * MAX_LISTS)


def test_the_report_of_a_run() -> None:
    report = etl().report()
    assert list(report)[:3] == ["run_id", "name", "state"]
    assert report["state"] == "failed"
    assert report["duration"] == 6.0
    assert report["outputs"] == {"rows": [1, 2], "save": "an output"}
    assert report["errors"] == ["ValueError: <b>dirty</b>\n\x1b[31m"]
    assert report["tasks"][0] == {
        "path": "in/load",
        "name": "load",
        "state": "succeeded",
        "value": [1, 2],
        "error": None,
        "attempts": 1,
        "started": "2026-01-01T12:00:02+00:00",
        "finished": "2026-01-01T12:00:03+00:00",
        "reason": None,
        "cause": None,
        "cached": False,
        "restored": False,
        "compensation_error": None,
        "duration": 1.0,
    }
    assert [task["reason"] for task in report["tasks"]] == [None, None, "aborted", None]
    assert [group["kind"] for group in report["groups"]] == ["graph", "sequence"]


@given(st.recursive(scalars | st.binary() | st.builds(Broken), lambda inner: st.lists(inner) | st.tuples(inner)))
def test_every_report_is_json(value: object) -> None:
    result = RunResult("run", "etl", State.SUCCEEDED, Told([("a", "a")], values={0: value}, outputs={"a": value}))
    assert json.loads(result.to_json()) == result.report()


# -- HTML --------------------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Notes what a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[object] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile(text: str) -> RunResult:
    trace = [task_event(1, "a", State.FAILED, error=ValueError(text), reason=text)]
    return RunResult(text, text, State.FAILED, Told([("a", text)], trace=trace), (ValueError(text),))


PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">',
    "</td></table><iframe src='https://example.org'>",
    "&lt;b&gt; &#60;b&#62; \u2028\u2029\u202e\ud800\x00\x1b[31m",
    "javascript:alert(1)",
)


@pytest.mark.parametrize("text", PAYLOADS, ids=range(5))
def test_html_is_inert(text: str) -> None:
    html = hostile(text)._repr_html_()
    seen = Elements(html)
    assert seen.tags <= {"p", "table", "tr", "th", "td"}
    assert seen.attributes == []
    html.encode()


@given(st.text())
def test_html_is_inert_whatever_the_text(text: str) -> None:
    seen = Elements(hostile(text)._repr_html_())
    assert seen.tags <= {"p", "table", "tr", "th", "td"}
    assert seen.attributes == []
    assert all(character.isprintable() for character in seen.text)


def test_html_shows_the_tasks() -> None:
    text = Elements(etl()._repr_html_()).text
    assert all(part in text for part in ("RunResult 'etl' failed", "in/load", "succeeded", "1.000", "aborted"))
    assert "more" not in text


def test_html_of_many_tasks_shows_the_first() -> None:
    result = RunResult("run", "etl", State.SUCCEEDED, Told((f"t{i}", "t") for i in range(MAX_ROWS + 7)))
    html = result._repr_html_()
    assert html.count("<tr>") == MAX_ROWS + 1
    assert "and 7 more" in html


def test_html_of_an_error_that_cannot_be_printed() -> None:
    trace = [task_event(1, "a", State.FAILED, error=Broken())]
    result = RunResult("run", "etl", State.FAILED, Told([("a", "a")], trace=trace))
    assert "Broken: &lt;unprintable&gt;" in result._repr_html_()


def test_notebooks_get_what_they_ask_for() -> None:
    result = etl()
    both = result._repr_mimebundle_()
    assert both == {"text/plain": repr(result), "text/html": result._repr_html_()}
    assert result._repr_mimebundle_(include=["text/plain"]) == {"text/plain": repr(result)}
    assert result._repr_mimebundle_(include=None, exclude={"text/html"}) == {"text/plain": repr(result)}

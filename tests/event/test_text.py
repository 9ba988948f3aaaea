import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.event._text import MESSAGE_LIMIT, REPR_LIMIT, brief, cut, describe


class Broken(Exception):  # noqa: N818 (its faults are its name)
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class NotText:
    def __repr__(self) -> str:
        return 3  # type: ignore[return-value]


@given(st.recursive(st.integers() | st.text() | st.binary(), lambda inner: st.lists(inner) | st.tuples(inner)))
def test_brief_is_the_repr_or_shorter(value: object) -> None:
    assert len(brief(value)) <= REPR_LIMIT
    assert brief(value) == repr(value) or "..." in brief(value) or brief(value).endswith("…")


@pytest.mark.parametrize("value", [Broken(), NotText(), 10**5_000, type("list", (), {})()], ids=range(4))
def test_brief_survives_what_cannot_be_printed(value: object) -> None:
    assert brief(value).startswith("<")


def test_brief_of_a_circle() -> None:
    circle: list[object] = []
    circle.append(circle)
    assert len(brief(circle)) < 50


@pytest.mark.parametrize(
    "error, text",
    [
        (ValueError("boom"), "ValueError: boom"),
        (ValueError(), "ValueError"),
        (Broken(), "Broken: <unprintable>"),
        (KeyError("a"), "KeyError: 'a'"),
    ],
    ids=["message", "none", "broken", "key"],
)
def test_describe(error: Exception, text: str) -> None:
    assert describe(error) == text


def test_describe_is_bounded() -> None:
    assert len(describe(ValueError("x" * 10_000))) == MESSAGE_LIMIT


@given(st.text(), st.integers(1, 20))
def test_cut_keeps_the_beginning(text: str, limit: int) -> None:
    assert len(cut(text, limit)) <= limit
    assert cut(text, limit) == text or (cut(text, limit)[-1] == "…" and text.startswith(cut(text, limit)[:-1]))

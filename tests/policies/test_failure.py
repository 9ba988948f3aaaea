"""What may be given as `on_failure`."""

from typing import Any

import pytest

from orch import FailureStrategy
from orch.policies import Strategy


class Own:
    def on_failure(self, _event: Any, _group: Any) -> FailureStrategy:
        return FailureStrategy.ABORT


@pytest.mark.parametrize("value", list(FailureStrategy), ids=str)
def test_a_member_and_its_value_are_one(value: FailureStrategy) -> None:
    assert FailureStrategy.coerce(value) is FailureStrategy.coerce(value.value) is FailureStrategy(value.value) is value


def test_an_object_with_the_method_is_a_strategy() -> None:
    own = Own()

    assert isinstance(own, Strategy)
    assert FailureStrategy.coerce(own) is own


@pytest.mark.parametrize("value", ["ABORT", "", "compensat", "abort "])
def test_unknown_words_are_refused_with_the_known_ones(value: str) -> None:
    for make in (FailureStrategy, FailureStrategy.coerce):
        with pytest.raises(ValueError, match="expected one of 'abort', 'continue', 'compensate', found ") as caught:
            make(value)
        assert repr(value) in str(caught.value)


def test_a_misspelled_word_is_recognised_and_the_field_named() -> None:
    with pytest.raises(ValueError, match=r"^on_failure: unknown .* found 'compensat'; did you mean 'compensate'\?$"):
        FailureStrategy.coerce("compensat")


@pytest.mark.parametrize("value", [None, 1, Own, object()], ids=range(4))
def test_other_things_are_no_strategies(value: Any) -> None:
    with pytest.raises(TypeError, match=r"on_failure: expected a FailureStrategy, its value as a string, or an object"):
        FailureStrategy.coerce(value)

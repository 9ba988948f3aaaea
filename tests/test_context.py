"""The context: what it gives, what it looks up, and what a step's view knows."""

import copy
import dataclasses
import logging
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from orch import Context


@dataclasses.dataclass
class Order:
    customer: str = "ada"
    total: int = 12
    tags: list[str] = dataclasses.field(default_factory=list)

    @property
    def broken(self) -> str:
        return self.missing  # type: ignore[attr-defined,no-any-return]


def bound(context: Context[Any], told: list[Any] | None = None) -> Context[Any]:
    run = context._bind("run-1", lambda: ["event"], lambda: ["first", "second"])
    return run._view(lambda: "outer/task", 2, None if told is None else lambda *entry: told.append(entry))


# -- data --------------------------------------------------------------------------------------------------------------


def test_data_is_shared_and_metadata_copied() -> None:
    order, notes = Order(), {"region": "eu"}
    context = Context(order, metadata=notes)

    assert context.data is order
    assert context.metadata == notes
    assert context.metadata is not notes
    assert Context().data is None
    assert Context().metadata == {}


def test_attributes_fall_through_to_the_data_then_to_its_keys() -> None:
    assert Context(Order()).customer == "ada"
    assert Context({"customer": "bob", "items": 1}).customer == "bob"
    assert Context({"items": 1}).items() == {"items": 1}.items()  # attributes come first
    assert Context(SimpleNamespace(data=1)).data == SimpleNamespace(data=1)  # its own even before
    assert getattr(Context(Order()), "nothing", "default") == "default"
    assert not hasattr(Context({1: 2}), "x")


@pytest.mark.parametrize(
    "data,name,message",
    [
        (Order(), "custmer", "neither the Context nor its data (Order) has 'custmer'; did you mean 'customer'?"),
        ({"total": 1}, "totl", "neither the Context nor its data (dict) has 'totl'; did you mean 'total'?"),
        (None, "atempt", "neither the Context nor its data (NoneType) has 'atempt'; did you mean 'attempt'?"),
        (Order(), "broken", "'Order' object has no attribute 'missing'"),
        ([], "qqqqqq", "neither the Context nor its data (list) has 'qqqqqq'"),
    ],
    ids=["attribute", "key", "own", "property", "nothing"],
)
def test_unknown_attributes_are_named_with_what_was_meant(data: Any, name: str, message: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(Context(data), name)

    assert str(caught.value) == message


def test_protocols_of_the_data_are_not_the_contexts() -> None:
    for name in ("__len__", "__json__", "__deepcopy__"):
        assert not hasattr(Context({"__json__": 1}), name)


def test_a_context_is_not_written_to() -> None:
    context: Any = Context(Order())
    for name in ("data", "metadata", "task", "customer"):
        with pytest.raises(AttributeError):
            setattr(context, name, 1)


def test_metadata_is_a_mapping() -> None:
    with pytest.raises(TypeError, match="metadata: expected Mapping or None, found list"):
        Context(metadata=[])  # type: ignore[call-overload]


def test_it_is_not_subclassed() -> None:
    with pytest.raises(TypeError, match="Mine: a Context cannot be subclassed"):
        type("Mine", (Context,), {})


# -- views -------------------------------------------------------------------------------------------------------------


def test_outside_of_a_run_it_knows_of_none() -> None:
    context = Context(None)

    assert (context.run_id, context.task, context.attempt) == (None, None, 0)
    assert (context.trace, context.completed_steps) == ((), ())


def test_a_view_knows_its_step_and_its_run() -> None:
    context = Context(Order())
    view = bound(context)

    assert (view.run_id, view.task, view.attempt) == ("run-1", "outer/task", 2)
    assert (view.trace, view.completed_steps) == (["event"], ("first", "second"))
    assert context.run_id is None


def test_views_share_data_and_metadata() -> None:
    context = Context(Order())
    one, two = bound(context), bound(context)

    one.data.tags.append("x")
    one.metadata["k"] = 1

    assert two.tags == context.data.tags == ["x"]
    assert two.metadata == context.metadata == {"k": 1}


def test_one_context_serves_several_runs() -> None:
    context = Context(None)
    runs = [context._bind(str(i)) for i in range(3)]

    assert [run.run_id for run in runs] == ["0", "1", "2"]
    assert [(run.trace, run.completed_steps, run.task) for run in runs] == [((), (), None)] * 3


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    def never(*_: str) -> Any:
        raise AssertionError

    view = Context(None)._bind("r", never, never)._view(never, 1, never)

    assert (view.run_id, view.attempt) == ("r", 1)


# -- log ---------------------------------------------------------------------------------------------------------------


def test_log_goes_to_the_run() -> None:
    told: list[Any] = []
    view = bound(Context(), told)

    view.log("plain")
    view.log("100 %", level="warning")
    view.log(ValueError("x"), "error")

    assert told == [("info", "plain"), ("warning", "100 %"), ("error", "x")]


def test_log_outside_of_a_run_goes_to_the_standard_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="orch")

    for level in ("debug", "info", "warning", "error", "critical"):
        Context().log("100 %s", level)

    assert caplog.record_tuples == [("orch", number, "100 %s") for number in (10, 20, 30, 40, 50)]


@pytest.mark.parametrize("level", ["INFO", "trace", "", 20])
def test_levels_are_five_words(level: Any) -> None:
    with pytest.raises(ValueError, match="level: expected one of debug, info, warning, error, critical, found "):
        Context().log("x", level)


# -- copies ------------------------------------------------------------------------------------------------------------


def test_a_copy_keeps_the_data_and_leaves_the_run() -> None:
    view = bound(Context(Order(), metadata={"k": [1]}))

    for other in (copy.copy(view), copy.deepcopy(view), pickle.loads(pickle.dumps(view))):
        assert (other.data, other.metadata) == (view.data, view.metadata)
        assert (other.run_id, other.task, other.attempt) == (None, None, 0)
    assert copy.copy(view).data is view.data


def test_a_repr_does_not_show_the_data() -> None:
    assert repr(Context({"password": "hunter2"})) == "<Context[dict]>"
    assert repr(bound(Context(Order()))) == "<Context[Order] of task 'outer/task', attempt 2>"

"""A recorder keeps what happened, and its log is the same for runs that are the same."""

from typing import Any

import pytest

import orch
from orch import State
from orch.event import RunEvent
from orch.testing import Recorder, fails, run, slow

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def recorded(backend: Any) -> Recorder:
    heard = Recorder()
    late = orch.Task(slow(2, value=object()), name="late")
    steps = orch.Sequence(late, orch.Parallel(orch.Task(fails(), name="flaky"), name="both"), late)

    async def call() -> None:
        await orch.run(steps, subscribers=[heard], raise_on_failure=False)

    run(call, backend=backend)
    return heard


@both
def test_it_answers_by_path(backend: Any) -> None:
    heard = recorded(backend)
    assert heard.states("late") == [State.RUNNING, State.SUCCEEDED]
    assert heard.states("both/flaky") == [State.RUNNING, State.FAILED]
    assert heard.states("late#2") == [State.SKIPPED]
    assert heard.states("") == [State.RUNNING, State.FAILED]
    assert heard.states("nobody") == []
    assert heard.started() == ["late", "both/flaky"]
    assert [type(event) for event in heard.of("")] == [RunEvent, RunEvent]
    assert len(heard) == len(heard.events) == 7
    assert repr(heard) == "<Recorder of 7 events>"


@both
def test_the_log_is_plain_and_holds_no_identities(backend: Any) -> None:
    log = recorded(backend).log()
    facts = {type(fact) for entry in log for fact in entry}
    assert facts <= {str, int, float, bool, type(None)}
    kinds = ["RunEvent", "TaskEvent", "TaskEvent", "TaskEvent", "TaskEvent", "TaskEvent", "RunEvent"]
    assert [entry[0] for entry in log] == kinds
    (failure,) = [entry for entry in log if entry[3] == "both/flaky" and "failed" in entry]
    assert "RuntimeError" in failure


def test_both_backends_log_the_same() -> None:
    one, other = ([entry[2:] for entry in recorded(backend).log()] for backend in ("asyncio", "trio"))
    assert one == other

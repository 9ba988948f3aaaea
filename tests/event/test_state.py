import pytest

from orch.event import STATES, TRANSITIONS, State

FINAL = {State.SUCCEEDED, State.FAILED, State.SKIPPED, State.CANCELLED, State.COMPENSATED}


def test_codes_are_those_of_the_core() -> None:
    names = ["PENDING", "RUNNING", "RETRYING", "PAUSED", "SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED", "COMPENSATED"]
    assert [state.name for state in STATES] == names
    assert [State.from_code(code) for code in range(9)] == list(State)
    assert [state.code for state in State] == list(range(9))


def test_a_number_that_is_no_state_is_refused() -> None:
    with pytest.raises(IndexError):
        State.from_code(15)


def test_a_state_is_found_by_its_lower_case_name() -> None:
    assert all(State(state.name.lower()) is state for state in State)


def test_final_states() -> None:
    assert {state for state in State if state.is_final} == FINAL


def test_only_success_can_be_followed_once_final() -> None:
    assert {state for state in FINAL if TRANSITIONS[state]} == {State.SUCCEEDED}
    assert TRANSITIONS[State.SUCCEEDED] == {State.COMPENSATED}


def test_every_state_can_be_reached_and_only_pending_begins() -> None:
    assert {after for before in State for after in TRANSITIONS[before]} == set(State) - {State.PENDING}


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[State.FAILED] = frozenset()  # type: ignore[index]

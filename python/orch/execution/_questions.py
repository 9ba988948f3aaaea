"""The questions of a run that are open, and what answers do: the books of its interrupts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from orch._core import Schedule
from orch.definition import Interrupt, check_answer
from orch.event import InterruptEvent, State
from orch.plan import Plan, asked_for
from orch.result import Pause

__all__ = ("Questions",)

_NONE: Mapping[int, Any] = MappingProxyType({})
_NOTHING: dict[int, Pause] = {}
_BUSY = {State.RUNNING.code, State.RETRYING.code}
_LANES = 0, 1  # of the event loop, of threads


class Questions:
    """What a run knows of its interrupts. One without any has nothing of its own here."""

    plan: Plan
    schedule: Schedule
    values: list[Any]
    lanes: dict[int, Any]
    watched: bool
    outlasting: dict[int, Any]
    abandoned: list[int]
    boxes: set[Any]
    note: Callable[..., None]
    publish: Callable[[], object]
    leave: Callable[[], None]

    given: Mapping[str, Any] = MappingProxyType({})  # the inputs, as they came
    select: tuple[str, ...] | None = None
    parent: str | None = None  # the id of the run that this one was resumed from
    answering: Mapping[str, Callable[[Any], Any]] = MappingProxyType({})  # the handlers, as they came
    handlers: Mapping[int, Callable[[Any], Any]] = _NONE  # by interrupt
    kept: Mapping[int, Any] = _NONE  # questions of an earlier run, which need not be made again
    asked: dict[int, Pause] = _NOTHING  # what nobody here answers; also what has been answered since
    refused: Mapping[int, Exception] = _NONE  # why a handler has no answer, until its step has failed with it
    patience = 0  # above 0, somebody may still answer when nothing else goes on
    is_closed = False  # nothing is answered any more: the run ends PAUSED

    @property
    def is_going(self) -> bool:
        """Whether something will happen yet, or somebody may still answer what is asked."""
        if not self.schedule.is_active():
            return False
        if not self.asked or self.patience > 0 or self.lanes:
            return True
        return self.schedule.outcome() != State.PAUSED.code and not self._only_lasts()

    def _only_lasts(self) -> bool:
        """Say whether, besides questions, there is nothing but bodies in threads that have outlived their steps."""
        if not (self.outlasting or self.abandoned) or self.boxes or any(map(self.schedule.ready, _LANES)):
            return False
        return _BUSY.isdisjoint(self.schedule.states())

    def pause(self, node: int, question: object) -> None:
        """Open a question: from now on the step holds no slot."""
        self.schedule.pause(node)
        path, name = self.plan.path(node), self.plan.name(node)
        if node not in self.handlers:
            self.asked = self.asked or {}
            self.asked[node] = Pause(path, name, question, self.interrupt_at(node).type)
        self.note(InterruptEvent, path, name, question)
        if self.watched:
            self.publish()

    def interrupt_at(self, node: int) -> Interrupt:
        """Return the definition of an interrupt."""
        found = self.plan.draft.task(node)
        assert isinstance(found, Interrupt)  # noqa: S101 (others do not come here)
        return found

    def open_questions(self) -> dict[int, Pause]:
        """Return what waits for an answer from outside, in order of definition."""
        waiting = (node for node in self.asked if self.schedule.state(node) == State.PAUSED.code)
        return {node: self.asked[node] for node in sorted(waiting)}

    def respond(self, answer: Any) -> None:
        """Give answers, on the loop: all of them, or, if one does not fit, none.

        Raises:
            LookupError: There is no such question, or it is not open.
            TypeError: An answer is not of the type of its question.
            ValueError: It is another value than it may be, is there already, or could be to several questions.
        """
        if self.is_closed:
            cure = "runner.resume(result, workflow, answers={name: …}) goes on with one that ended PAUSED"
            raise LookupError(f"the run is over, and takes no answer any more; {cure}")
        given = asked_for(self.plan, self.open_questions(), answer, self._state)
        for node, value in given.items():
            check_answer(self.asked[node].path, self.asked[node].question, self.asked[node].type, value)
        for node, value in given.items():
            self.values[node] = value
            self.schedule.done(node)
        self.leave()

    def _state(self, node: int) -> State:
        return State.from_code(self.schedule.state(node))

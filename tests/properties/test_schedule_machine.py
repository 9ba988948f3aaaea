"""The limits of `Schedule`, through the binding, beside a model that counts everything anew for each question.

The crate's own tests hold it against a model of all it does; this one knows less and other things: slots, and who gets
the next one.
"""

from array import array
from typing import Any

import attrs
import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orch._core import Dag, Layout, Schedule
from orch.event import State
from tests.properties.test_random_runs import CI

NONE = 0xFFFFFFFF
PENDING, RUNNING, RETRYING, PAUSED = (
    each.code for each in (State.PENDING, State.RUNNING, State.RETRYING, State.PAUSED)
)
SUCCEEDED, FAILED, SKIPPED = State.SUCCEEDED.code, State.FAILED.code, State.SKIPPED.code
CANCELLED = State.CANCELLED.code
OPEN = {PENDING, RUNNING, RETRYING, PAUSED}


@attrs.frozen
class Scope:
    start: int
    end: int
    limit: int
    parent: int


class Plan:
    """Groups in groups, each with a limit or none (0); a number is a task, by its lane."""

    def __init__(self, items: list[Any], limit: int, dice: list[tuple[int, int]]) -> None:
        self.lanes = bytearray()
        self.scopes: list[Scope] = []
        self._lay(items, limit, NONE)
        count = len(self.lanes)
        pairs = {tuple(sorted((one % count, two % count))) for one, two in dice} if count else set()
        self.edges = sorted(pair for pair in pairs if pair[0] != pair[1])

    def _lay(self, items: list[Any], limit: int, parent: int) -> None:
        own, start = len(self.scopes), len(self.lanes)
        self.scopes.append(Scope(start, start, limit, parent))
        for item in items:
            if isinstance(item, int):
                self.lanes.append(item)
            else:
                self._lay(item[1], item[0], own)
        self.scopes[own] = attrs.evolve(self.scopes[own], end=len(self.lanes))

    def layout(self) -> Layout:
        sources, targets = zip(*self.edges, strict=True) if self.edges else ((), ())
        dag = Dag(len(self.lanes), array("I", sources), array("I", targets))
        of = {name: array("I", [getattr(scope, name) for scope in self.scopes]) for name in attrs.fields_dict(Scope)}
        joins = array("I", [NONE] * len(self.scopes))
        return Layout(dag, bytes(self.lanes), None, of["parent"], of["start"], of["end"], joins, of["limit"])


class Model:
    def __init__(self, plan: Plan, limit: int) -> None:
        self.plan, self.limit = plan, limit
        self.states = [PENDING] * len(plan.lanes)
        self.queued = set[int]()  # RETRYING and PAUSED ones that may be taken again
        self.held = set[int]()

    def before(self, node: int) -> list[int]:
        return [source for source, target in self.plan.edges if target == node]

    def height(self, node: int) -> int:
        return max((1 + self.height(target) for source, target in self.plan.edges if source == node), default=0)

    def is_busy(self, node: int) -> bool:
        return self.states[node] == RUNNING or node in self.held

    def limits(self) -> list[tuple[range, int]]:
        everything = range(len(self.states))
        return [(range(scope.start, scope.end), scope.limit) for scope in self.plan.scopes] + [(everything, self.limit)]

    def may_start(self, node: int) -> bool:
        around = [(nodes, limit) for nodes, limit in self.limits() if limit and node in nodes]
        return all(sum(map(self.is_busy, nodes)) < limit for nodes, limit in around)

    def is_ready(self, node: int) -> bool:
        first = self.states[node] == PENDING and all(self.states[each] == SUCCEEDED for each in self.before(node))
        return first or node in self.queued

    def next(self, lane: int) -> int:
        ready = [node for node, own in enumerate(self.plan.lanes) if own == lane and self.is_ready(node)]
        free = [node for node in ready if self.may_start(node)]
        return max(free, key=lambda node: (self.height(node), -node), default=Schedule.IDLE)

    def take(self, lane: int) -> int:
        node = self.next(lane)
        if node >= 0:
            self.states[node] = RUNNING
            self.queued.discard(node)
        return node

    def is_legal(self, verb: str, node: int) -> bool:
        state, waits = self.states[node], node not in self.queued | self.held
        return {
            "done": state in {RUNNING, PAUSED},
            "fail": state in {RUNNING, RETRYING},
            "cancel": state in OPEN,
            "restore": state == PENDING,
            "retry": state == RUNNING,
            "pause": state == RUNNING,
            "requeue": state == RETRYING and waits,
            "resume": state == PAUSED and waits,
            "hold": state == RUNNING and node not in self.held,
            "let_go": node in self.held,
        }[verb]

    def apply(self, verb: str, node: int) -> None:
        if verb in ENDS:
            self.queued.discard(node)
            self.states[node] = ENDS[verb]
        elif verb in {"requeue", "resume"}:
            self.queued.add(node)
        elif verb == "hold":
            self.held.add(node)
        else:
            self.held.remove(node)

    def skip(self) -> None:
        """Skip what can not succeed any more, once all it waits for has ended."""
        for node, state in enumerate(self.states):  # edges lead upwards: once through is enough
            found = [self.states[each] for each in self.before(node)]
            if state == PENDING and not OPEN.intersection(found) and {FAILED, SKIPPED, CANCELLED}.intersection(found):
                self.states[node] = SKIPPED

    def abort(self, nodes: range) -> list[int]:
        for node in nodes:
            if self.states[node] == PENDING:
                self.states[node] = SKIPPED
        return [node for node in nodes if self.states[node] in OPEN]


ENDS = {
    "done": SUCCEEDED,
    "fail": FAILED,
    "cancel": CANCELLED,
    "restore": SUCCEEDED,
    "retry": RETRYING,
    "pause": PAUSED,
}
VERBS = (*ENDS, "requeue", "resume", "hold", "let_go")
LIKELY = ("done", "retry", "retry", "requeue", "requeue", "fail", "cancel", "pause", "resume", "hold", "let_go")

some_limit = st.sampled_from([0, 1, 1, 2, 3])
some_items = st.recursive(
    st.lists(st.integers(0, 1), min_size=3, max_size=6),
    lambda inner: st.lists(st.integers(0, 1) | st.tuples(some_limit, inner), min_size=3, max_size=6),
    max_leaves=24,
)


class ScheduleMachine(RuleBasedStateMachine):
    picks = st.integers(0, 99)

    @initialize(
        items=some_items,
        limits=st.tuples(some_limit, some_limit),
        dice=st.lists(st.tuples(picks, picks), max_size=5),
    )
    def make(self, items: list[Any], limits: tuple[int, int], dice: list[tuple[int, int]]) -> None:
        plan = Plan(items, limits[0], dice)
        assume(limits[1] or any(scope.limit for scope in plan.scopes))  # without any, first come first served
        self.model = Model(plan, limits[1])
        self.real = Schedule(plan.layout(), limit=limits[1])
        self.real.set_time(0)

    def settle(self) -> None:
        """What callers do after an end: drain until there is nothing."""
        while any(self.real.drain()):
            pass
        self.model.skip()

    def say(self, verb: str, node: int) -> None:
        self.model.apply(verb, node)
        getattr(self.real, verb)(node)
        self.settle()

    @rule(lane=st.integers(0, 1))
    def take(self, lane: int) -> None:
        ready = self.real.ready(lane)
        self.real.breathe()
        node = self.real.take(lane)
        assert node == self.model.take(lane)
        assert ready > 0 or node == Schedule.IDLE  # it may say too much, not too little

    @precondition(lambda self: sum(self.real.states()) % 3 == 0)  # not all the time
    @rule(lane=st.integers(0, 1))
    def take_all(self, lane: int) -> None:
        expected = []
        while (node := self.model.take(lane)) >= 0:
            expected.append(node)
        assert self.real.get_ready(lane) == expected

    def legal(self, verb: str) -> list[int]:
        return [node for node in range(len(self.model.states)) if self.model.is_legal(verb, node)]

    @precondition(lambda self: any(map(self.model.is_busy, range(len(self.model.states)))))
    @rule(verb=picks, pick=picks)
    def something_happens(self, verb: int, pick: int) -> None:
        """To a node that has a slot, if there is one to which it can happen."""
        verbs = [each for each in LIKELY if self.legal(each)]
        chosen = verbs[verb % len(verbs)]
        nodes = self.legal(chosen)
        nodes = [node for node in nodes if self.model.is_busy(node)] or nodes
        self.say(chosen, nodes[pick % len(nodes)])

    @precondition(lambda self: self.legal("hold"))
    @rule(verb=st.sampled_from(["retry", "retry", "fail", "cancel", "pause"]), pick=picks)
    def a_body_outlasts_its_attempt(self, verb: str, pick: int) -> None:
        nodes = self.legal("hold")
        node = nodes[pick % len(nodes)]
        self.say("hold", node)
        self.say(verb, node)

    @precondition(lambda self: self.legal("done"))
    @rule(lane=st.integers(0, 1), pick=picks)
    def one_is_done_and_another_taken(self, lane: int, pick: int) -> None:
        nodes = self.legal("done")
        node = nodes[pick % len(nodes)]
        self.model.apply("done", node)
        self.model.skip()
        self.real.breathe()
        assert self.real.done_take(node, lane) == self.model.take(lane)

    @rule(verb=st.sampled_from(VERBS), node=st.integers(0, 15))
    def somebody_says_anything(self, verb: str, node: int) -> None:
        """What is not allowed is refused, and changes nothing."""
        if node < len(self.model.states) and self.model.is_legal(verb, node):
            self.say(verb, node)
            return
        before = self.real.journal(), self.real.states(), self.real.running()
        with pytest.raises(ValueError, match=r"."):
            getattr(self.real, verb)(node)
        assert before == (self.real.journal(), self.real.states(), self.real.running())

    @precondition(lambda self: self.legal("fail"))
    @rule(pick=picks, around=picks)
    def one_fails_and_its_group_with_it(self, pick: int, around: int) -> None:
        nodes = self.legal("fail")
        node = nodes[pick % len(nodes)]
        found = [at for at, scope in enumerate(self.model.plan.scopes) if scope.start <= node < scope.end]
        scope = found[around % len(found)]
        self.model.apply("fail", node)
        self.real.fail(node)
        assert self.real.drain() == ([node], [])
        shape = self.model.plan.scopes[scope]
        assert self.real.abort(scope, node) == self.model.abort(range(shape.start, shape.end))
        self.settle()

    @precondition(lambda self: self.model.plan.edges or len(self.model.states) > 6)
    @rule(pick=picks)
    def all_is_cancelled(self, pick: int) -> None:
        if pick % 20:
            return  # it ends the story
        for node in self.legal("cancel"):
            if self.model.states[node] == PENDING:
                self.model.states[node] = CANCELLED
        assert self.real.cancel_all() == self.legal("cancel")
        self.settle()

    @invariant()
    def nothing_is_over_its_limit_and_both_say_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        model, states = self.model, list(self.real.states())
        assert states == model.states
        busy = [node for node, state in enumerate(states) if state == RUNNING or node in model.held]
        assert self.real.running() == len(busy)
        assert all(len(set(nodes).intersection(busy)) <= limit for nodes, limit in model.limits() if limit)
        assert self.real.is_active() == any(state in OPEN for state in states)

    def teardown(self) -> None:
        """Nothing is stuck and no slot lost: whoever goes on plays fair, and everything ends."""
        if not hasattr(self, "model"):
            return
        while self.real.is_active() or self.model.held:
            before = self.real.journal(), set(self.model.held), set(self.model.queued)
            for verb in ("let_go", "requeue", "resume"):
                for node in self.legal(verb):
                    self.say(verb, node)
            self.take(0)
            self.take(1)
            for node in self.legal("done"):
                self.say("done", node)
            assert before != (self.real.journal(), self.model.held, self.model.queued), "stuck"
        self.nothing_is_over_its_limit_and_both_say_the_same()
        assert self.real.running() == 0


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = settings(CI, stateful_step_count=60)

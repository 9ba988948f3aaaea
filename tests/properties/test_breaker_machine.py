"""`CircuitBreaker` beside a model that is obviously right: many calls out at once, late results, clocks that jump."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from orch import CircuitBreaker, CircuitOpenError
from orch.policies import Permit
from tests.properties.test_random_runs import CI


class IgnoredError(Exception):
    pass


class Call:
    """One call, as the model knows it."""

    def __init__(self, era: int, permit: Permit) -> None:
        self.era = era
        self.permit = permit


class BreakerMachine(RuleBasedStateMachine):
    """The model keeps the whole history and counts it anew each time; an era ends where the history says so."""

    picks = st.integers(0, 99)

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.era = 0  # grows with every change of state
        self.state = "closed"
        self.outcomes: list[str] = []  # of this era
        self.streak = 0  # failures in a row when the era began
        self.until = 0.0  # of an open one
        self.is_free = True
        self.probes: list[Call] = []  # of this era and out, the newest last
        self.probed = 0.0  # when that was let through
        self.out: list[Call] = []
        self.done: list[Call] = []

    @initialize(fail_max=st.integers(1, 4), timeout=st.integers(1, 32), failed=st.booleans())
    def make(self, fail_max: int, timeout: int, failed: bool) -> None:
        self.fail_max, self.timeout = fail_max, timeout / 8
        self.breaker = CircuitBreaker("tested", fail_max=fail_max, reset_timeout=self.timeout, ignore=IgnoredError)
        for _ in range(fail_max if failed else 0):  # often begin where it gets interesting
            self.somebody_calls()
            self.it_fails(0)

    def failures(self) -> int:
        """Those since the last success."""
        count = self.streak
        for outcome in self.outcomes:
            count = count + 1 if outcome == "failure" else 0
        return count

    def go(self, state: str, streak: int = 0) -> tuple[str, str]:
        change = (self.state, state)
        self.era, self.state, self.streak, self.outcomes, self.probes = self.era + 1, state, streak, [], []
        self.is_free = True  # the place of the probe
        return change

    @rule(eighths=st.integers(0, 8))
    def time_passes(self, eighths: int) -> None:
        self.now += eighths / 8  # exact in floats

    @rule()
    def the_timeout_passes(self) -> None:
        self.now += self.timeout

    @rule()
    def a_minute_passes(self) -> None:
        self.now += 60

    @rule(eighths=st.integers(1, 4))
    def the_clock_steps_back(self, eighths: int) -> None:
        self.now -= eighths / 8

    def back(self, pick: int) -> Call:
        """One that is out comes back: every other time it is the probe, if there is one."""
        call = self.probes[pick % len(self.probes)] if self.probes and pick % 2 else self.out[pick % len(self.out)]
        self.out.remove(call)
        self.done.append(call)
        return call

    def look(self) -> float | None:
        """What a circuit does when somebody looks: the clock may have been set back since."""
        if self.state == "open":
            self.until = min(self.until, self.now + self.timeout)
            return self.until - self.now if self.until > self.now else None
        self.probed = min(self.probed, self.now)
        return None if self.is_free or self.now >= self.probed + max(self.timeout, 60) else 0.0

    @rule()
    def somebody_calls(self) -> None:
        wait = self.look()
        if wait is not None:
            with pytest.raises(CircuitOpenError) as caught:
                self.breaker.admit(self.now)
            assert caught.value.retry_after == wait
            return
        permit = self.breaker.admit(self.now)
        assert permit.is_probe == (self.state != "closed")
        assert permit.change == (self.go("half_open", self.failures()) if self.state == "open" else None)
        call = Call(self.era, permit)
        if permit.is_probe:
            self.probes.append(call)
            self.probed, self.is_free = self.now, False
        self.out.append(call)

    def is_heard(self, call: Call) -> bool:
        """A call of this era; of probes one that is out."""
        return call.era == self.era and (self.state == "closed" or call in self.probes)

    @precondition(lambda self: self.out)
    @rule(pick=picks)
    def it_succeeds(self, pick: int) -> None:
        call = self.back(pick)
        expected = None
        if self.is_heard(call):
            self.outcomes.append("success")
            expected = self.go("closed") if self.state == "half_open" else None
        assert self.breaker.succeeded(call.permit) == expected

    @precondition(lambda self: self.out)
    @rule(pick=picks)
    def it_fails(self, pick: int) -> None:
        call = self.back(pick)
        expected = None
        if self.is_heard(call):
            self.outcomes.append("failure")
            if self.state == "half_open" or self.failures() >= self.fail_max:
                expected = self.go("open", self.failures())
                self.until = self.now + self.timeout
        assert self.breaker.failed(call.permit, ValueError(), self.now) == expected

    @precondition(lambda self: self.out)
    @rule(pick=picks, error=st.sampled_from([None, IgnoredError(), KeyboardInterrupt()]), late=st.booleans())
    def it_has_no_outcome(self, pick: int, error: BaseException | None, late: bool) -> None:
        call = self.back(pick)
        if call in self.probes:
            self.is_free = self.is_free or call is self.probes[-1]
            self.probes.remove(call)
        permit, breaker = call.permit, self.breaker
        assert (breaker.abandoned(permit) if error is None else breaker.failed(permit, error, self.now)) is None
        if late and permit.is_probe:  # it ends after all, and before another one is out
            assert breaker.succeeded(permit) is None

    @precondition(lambda self: any(call.era != self.era or call.permit.is_probe for call in self.done))
    @rule(data=st.data())
    def it_is_reported_again(self, data: st.DataObject) -> None:
        """Of a probe, and of an earlier era: whatever is said a second time changes nothing."""
        stale = [call for call in self.done if call.era != self.era or call.permit.is_probe]
        permit = data.draw(st.sampled_from(stale)).permit
        assert self.breaker.succeeded(permit) is None
        assert self.breaker.failed(permit, ValueError(), self.now) is None
        assert self.breaker.abandoned(permit) is None

    @precondition(lambda self: len(self.done) % 7 == 6)  # not all the time
    @rule()
    def somebody_resets_it(self) -> None:
        self.breaker.reset()
        self.go("closed")

    @invariant()
    def both_say_the_same(self) -> None:
        assert self.breaker.state == self.state
        assert self.breaker.failures == self.failures()

    @rule()
    def both_say_the_same_about_the_wait(self) -> None:
        wait = self.look()
        assert self.breaker.wait(self.now) == wait

    def teardown(self) -> None:
        """Nothing is ever stuck, whoever is out: the timeout passes, and a call goes through."""
        self.breaker.wait(self.now)  # its clock may have been set back
        permit = self.breaker.admit(self.now + max(self.timeout, 60))
        assert permit.is_probe == (self.state != "closed")


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(CI, stateful_step_count=60)

"""Tests of workflows that take no time: a virtual clock, steps that fail or are slow on purpose, a record of events.

`run` carries an async function out on an event loop whose time stands still while something runs, and jumps to the
next deadline when everything waits. Hours of delays and timeouts pass in milliseconds, and the same seed gives the
same run (with jitter in a `Retry`: if the runner has an `rng=` of its own).

    >>> import orch
    >>> from orch.testing import Recorder, run, slow
    >>> heard = Recorder()
    >>> night = orch.Sequence(orch.Task(slow(3600, value="done"), name="night shift"))
    >>> async def call():
    ...     return await orch.run(night, subscribers=[heard])
    >>> run(call).value, [state.value for state in heard.states("night shift")]
    (['done'], ['running', 'succeeded'])
"""

from orch.testing._clock import VirtualClock
from orch.testing._deadlock import DeadlockError
from orch.testing._recorder import Recorder
from orch.testing._steps import Fails, Slow, fails, slow
from orch.testing._virtual import run

__all__ = ("DeadlockError", "Fails", "Recorder", "Slow", "VirtualClock", "fails", "run", "slow")

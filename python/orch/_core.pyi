"""The scheduling core, compiled from `orch_core/`: which step may run, and what follows when one ends.

It knows numbers only. A plan has nodes `0 … n-1`; what they are, and who runs them, is known to its two callers,
`orch.plan` and `orch.execution`. Three classes, each made from the one before:

* `Dag`: the edges, checked. Immutable.
* `Layout`: lanes, groups and limits over those edges, checked. Immutable, shared by all runs of a plan.
* `Schedule`: one run. It takes facts, answers what is next, and never does anything by itself.

    >>> from array import array
    >>> dag = Dag(4, array("I", [0, 0, 1, 2]), array("I", [1, 2, 3, 3]))  # 0 -> 1 -> 3, 0 -> 2 -> 3
    >>> run = Schedule(Layout(dag))
    >>> run.set_time(0)  # by hand: the example does not depend on the machine
    >>> run.take(), run.take() == Schedule.IDLE
    (0, True)
    >>> run.done_take(0), run.take()
    (1, 2)
    >>> run.done(1), run.fail(2) == Schedule.REACT
    (0, True)
    >>> run.drain(), run.is_active()  # 2 has failed; whoever wants to answer that does it now
    (([2], []), True)
    >>> run.drain(), run.is_active()  # only then 3, which needs 2, hears of it
    (([], []), False)
    >>> list(run.states())
    [4, 4, 5, 6]

The numbers of the states: PENDING 0, RUNNING 1, RETRYING 2, PAUSED 3, SUCCEEDED 4, FAILED 5, SKIPPED 6, CANCELLED 7,
COMPENSATED 8; an entry of the journal may also be a NOTE, 15. From SUCCEEDED on a node is *settled*.

    PENDING   -> RUNNING | SKIPPED | CANCELLED | SUCCEEDED (restored)
    RUNNING   -> SUCCEEDED | FAILED | RETRYING | PAUSED | CANCELLED
    RETRYING  -> RUNNING | FAILED | CANCELLED
    PAUSED    -> RUNNING | SUCCEEDED | CANCELLED
    SUCCEEDED -> COMPENSATED                                          everything else is final

The reasons of a skip: 0 none, 1 something it needs failed, 2 its group was aborted, 3 something it needs was cancelled.
`0xFFFFFFFF` stands for "no node" and "no scope".

A call that makes no sense, or that the present state does not allow, raises `ValueError` and changes nothing. Every
method may be called from any thread; none calls back into Python. Columns come in as buffers, numbers as `array("I")`
and bytes as `array("B")` or `bytes`, and are copied (another item type is a `TypeError`). A mistake in the core itself
is a `RuntimeError` that begins with "internal error".
"""

from collections.abc import Sequence
from typing import Final, final

from typing_extensions import Buffer

__all__ = ["DEBUG_BUILD", "CycleFound", "Dag", "Layout", "Schedule"]

DEBUG_BUILD: Final[bool]
"""Whether the module was built without optimisation, ten times slower than it should be."""

class CycleFound(ValueError):  # noqa: N818  a fact about the graph; its caller makes the error a user sees
    """The edges have a cycle. `args[0]` is its path along the edges, the first node repeated at the end.

    It is a shortest cycle through the node it starts with, and always the same for the same edges.

        >>> Dag(3, array("I", [0, 1, 2]), array("I", [1, 2, 1]))
        Traceback (most recent call last):
            ...
        orch._core.CycleFound: [1, 2, 1]
    """

@final
class Dag:
    """A directed graph without cycles, made once and never changed.

    Where an answer leaves a choice, the lower number comes first. All methods are linear in what they look at, none
    recurses, and the long ones run without the interpreter's lock. 8 bytes an edge and 8 to 12 a node.
    """

    def __new__(cls, nodes: int, sources: Buffer, targets: Buffer, order: Buffer | None = None) -> Dag:
        """Make a graph of `nodes` nodes with an edge from each source to its target.

        A *data* edge needs the source to succeed, an *order* edge needs it to be settled. Duplicates collapse, and a
        data edge wins over an order edge.

        Args:
            nodes: How many nodes there are.
            sources: Where each edge starts, an `array("I")`.
            targets: Where it ends, as long as `sources`.
            order: Its kind, an `array("B")` or `bytes`: 1 for order, 0 for data. Without it all are data edges.

        Raises:
            CycleFound: Some nodes wait for themselves.
            ValueError: The columns differ in length, an edge leads outside, or a kind is neither 0 nor 1.
        """

    def __len__(self) -> int:
        """Return how many nodes there are."""

    @property
    def edges(self) -> int:
        """How many edges there are, duplicates counted once."""

    def order(self) -> list[int]:
        """Return the lexicographically smallest topological order.

        >>> Dag(4, array("I", [3, 3]), array("I", [0, 1])).order()
        [2, 3, 0, 1]
        """

    def levels(self) -> list[int]:
        """Return for each node how many edges the longest path that leads to it has."""

    def heights(self) -> list[int]:
        """Return for each node how many edges the longest path that starts there has."""

    def longest_path(self) -> list[int]:
        """Return the nodes of a longest path.

        >>> Dag(4, array("I", [0, 0, 1]), array("I", [1, 2, 3])).longest_path()
        [0, 1, 3]
        """

    def successors(self, node: int) -> list[int]:
        """Return the nodes that wait for `node`, ascending, over edges of either kind."""

    def predecessors(self, node: int) -> list[int]:
        """Return the nodes that `node` waits for, ascending, over edges of either kind."""

    def ancestors(self, nodes: Sequence[int]) -> list[int]:
        """Return `nodes` and all they depend on, ascending, over edges of either kind.

        >>> Dag(4, array("I", [0, 1, 0]), array("I", [2, 3, 3])).ancestors([2])
        [0, 2]
        """

@final
class Layout:
    """What a run must know of a plan besides its edges: who runs a node, groups, limits, whose values may go.

    A *scope* is a group of the definition. It covers a contiguous range of nodes, the ranges nest, and scope 0 covers
    everything. At most `limit` nodes of its range run at one time. Its *exit join*, if it has one, is the node right
    behind the range: it waits until no member of the scope is open, besides its own predecessors, and ends as badly as
    the worst of them (SUCCEEDED < SKIPPED < CANCELLED < FAILED). Seen from outside the exit join is the group. A scope
    without one settles straight into its parent.
    """

    def __new__(
        cls,
        dag: Dag,
        lanes: Buffer | None = None,
        retained: Buffer | None = None,
        parents: Buffer | None = None,
        starts: Buffer | None = None,
        ends: Buffer | None = None,
        joins: Buffer | None = None,
        limits: Buffer | None = None,
    ) -> Layout:
        """Check that everything fits together.

            >>> two = Dag(3, array("I", [0]), array("I", [1]))  # a group of 0 -> 1, and 2, its exit
            >>> none = 0xFFFFFFFF
            >>> columns = [[none, 0], [0, 0], [3, 2], [none, 2], [0, 1]]
            >>> layout = Layout(two, bytes([0, 0, 2]), None, *(array("I", column) for column in columns))

        Args:
            dag: The edges.
            lanes: Per node 0 (event loop), 1 (thread) or 2 (a join: settles by itself, nobody takes it). All 0 if left
                out.
            retained: Per node 0 if its value may go once all its data successors are settled, else 1. All 1 if left
                out. A join hands on what comes in: it counts as a reader until its own readers are settled.
            parents: Per scope, in preorder, the scope around it, and `0xFFFFFFFF` for scope 0. The columns of scopes
                come all or none, except that the last two may be left out; without them there is one scope.
            starts: Per scope its first node.
            ends: Per scope the node behind its last.
            joins: Per scope its exit join, which is the node `ends` says, in lane 2 and inside the parent; or
                `0xFFFFFFFF`.
            limits: Per scope its limit, 0 for none.

        Raises:
            ValueError: Names the column, node or scope that does not fit. Also if a node would wait for itself over an
                exit join.
        """

    def longest_path(self) -> list[int]:
        """Return the tasks of a longest chain, in order: over edges, and from the members of a scope to its exit.

        Joins are passed through, but weigh nothing and are not listed. Of several chains it is the one that starts at
        the lowest number, and so on at every step.

            >>> two = Dag(4, array("I", [2]), array("I", [3]))  # 0, and 1 in a group with exit 2, needed by 3
            >>> none = 0xFFFFFFFF
            >>> columns = [[none, 0], [0, 1], [4, 2], [none, 2]]
            >>> Layout(two, bytes([0, 0, 2, 0]), None, *(array("I", column) for column in columns)).longest_path()
            [1, 3]
        """

@final
class Schedule:
    """One run of a layout, as a state machine: it is told what happened and says what is next.

    A node is *ready* when all it waits for is settled. If one of those it needs did not succeed it is skipped instead,
    at that moment, with the cause that came first; what is skipped so drags its own dependants along with the same
    cause.

    A failure is answered before anything follows from it. The group of the failed node knows at once, and may fail with
    it; the nodes that wait for it do not. `drain` hands the node out, the caller does what it thinks fit (`abort`,
    say), and the next `drain` tells those of them that are still PENDING. Nothing is taken in the meantime, so whoever
    has ended a node, or is asked to react, drains until there is nothing:

        while any(found := run.drain()):
            for node in found[0]:
                ...  # answer

    A ready node is taken if the run and every scope around it have a free slot; only RUNNING nodes hold slots. Without
    any limit the first ready is taken first, at the beginning the lowest number. With one it is the node with the
    most tasks in the longest chain behind it, of equals the one with the lowest number. (Joins do not count.)

    `take`, `done` and the like cost a constant, plus one step for each successor; a whole run is linear. With a limit a
    logarithm comes on top. About 31 bytes a node, 26 of them for the journal.
    """

    IDLE: Final = -1
    """`take` has nothing: no node of the lane is ready, or no slot is free."""
    REACT: Final = -2
    """There is news: nothing is taken before `drain` was called until it gave nothing, and `settling` was called."""
    BREATHE: Final = -3
    """The event loop has taken 1024 nodes, or taken nodes for a millisecond, since `breathe`."""

    def __new__(cls, layout: Layout, *, limit: int = 0) -> Schedule:
        """Make a run in which at most `limit` nodes run at one time, or any number if that is 0."""

    # -- taking --------------------------------------------------------------------------------------------------------

    def take(self, lane: int = 0) -> int:
        """Start the next ready node of a lane and return it.

        Returns:
            The node, now RUNNING; or `REACT`, `IDLE`, `BREATHE`, whichever applies first. Only lane 0 is asked to
            breathe, and it gets at least one node between two breaths.
        """

    def done_take(self, node: int, lane: int = 0) -> int:
        """Do `done(node)` and `take(lane)` at one moment: the hot path of a lane."""

    def breathe(self) -> None:
        """Say that the event loop has let others have a turn."""

    def ready(self, lane: int = 0) -> int:
        """Return how many nodes `take` could give, one after another, if nothing else happened: at most so many.

        It is 0 while the limit of the run is reached. Some may still turn out to wait for a slot of their scope.
        """

    def get_ready(self, lane: int = 0) -> list[int]:
        """Start all that is ready and allowed, as `graphlib.TopologicalSorter` does, and return it.

        For callers without an event loop: it neither breathes nor waits for `drain`. (What comes after a failed node is
        only ready once `drain` has given nothing.)
        """

    # -- facts about one node ------------------------------------------------------------------------------------------

    def done(self, node: int) -> int:
        """RUNNING or PAUSED -> SUCCEEDED.

        Returns:
            `REACT` if `drain` or `settling` has something, else 0; likewise for the other ends.
        """

    def fail(self, node: int) -> int:
        """RUNNING or RETRYING -> FAILED. `drain` will name it, and tell its successors when it is called again."""

    def cancel(self, node: int) -> int:
        """PENDING, RUNNING, RETRYING or PAUSED -> CANCELLED."""

    def withdraw(self, node: int) -> int:
        """PENDING -> CANCELLED when its turn comes: now if it is ready, else once all it waits for is settled."""

    def restore(self, node: int) -> int:
        """PENDING -> SUCCEEDED: its value is known. It need not be ready, and its predecessors need not be settled."""

    def compensate(self, node: int) -> None:
        """SUCCEEDED -> COMPENSATED: it was undone. Nothing follows from it."""

    def retry(self, node: int) -> None:
        """RUNNING -> RETRYING: gives its slots back and waits for `requeue`."""

    def requeue(self, node: int) -> None:
        """Make a RETRYING node ready again; once only, until it is taken."""

    def pause(self, node: int) -> None:
        """RUNNING -> PAUSED: gives its slots back and waits for `resume`."""

    def resume(self, node: int) -> None:
        """Make a PAUSED node ready again; once only, until it is taken."""

    # -- facts about many nodes ----------------------------------------------------------------------------------------

    def abort(self, scope: int, cause: int) -> list[int]:
        """Skip every PENDING task in the scope and the scopes inside it, because of `cause`.

        Joins settle through their scopes. A join whose scope has nothing open, but which waits for other predecessors,
        is settled as well; the exit of the scope itself belongs to the parent and is left alone.

        Args:
            scope: The scope.
            cause: The node to blame, or `0xFFFFFFFF`.

        Returns:
            The tasks there that are RUNNING, RETRYING or PAUSED, ascending. Nothing becomes PENDING again, so calling
            it once per scope is enough.
        """

    def cancel_all(self) -> list[int]:
        """Cancel every PENDING task, because somebody outside wants the run to end. It will end as CANCELLED.

        Returns:
            The tasks that are RUNNING, RETRYING or PAUSED, ascending. If the run has finished already, it stays as it
            is, and there are none.
        """

    def drain(self) -> tuple[list[int], list[int]]:
        """Return what has to be acted upon since the last call, after what that one gave is taken as answered.

        What waits for the nodes that failed in the last call, and is still PENDING, is told: it is skipped if it needs
        one of them, and may be ready if it only comes after. To be called until both lists are empty.

        Returns:
            The tasks, and the exit joins of groups, that have FAILED, in that order; and the nodes that are not
            retained, have succeeded, and whose data successors are all settled.
        """

    # -- groups that are waited for, and bodies that last --------------------------------------------------------------

    def guard(self, scope: int) -> None:
        """Have a scope wait for `settle` when all in it is settled. Its exit join and the run wait with it.

        ValueError if it is guarded already or nothing in it is open, as in a group without steps.

        >>> run = Schedule(Layout(Dag(1, array("I"), array("I"))))
        >>> run.guard(0)
        >>> run.take(), run.done(0), run.is_active(), run.settling()
        (0, -2, True, [(0, 4)])
        >>> run.settle(0), run.is_active()
        (0, False)
        """

    def settling(self) -> list[tuple[int, int]]:
        """Return the guarded scopes in which since the last call the last member was settled, in that order.

        With each the number of the worst state in it: SUCCEEDED, SKIPPED, CANCELLED or FAILED. Failures among the
        members may still be unanswered: `drain` first. `take` answers `REACT` until this was called.
        """

    def settle(self, scope: int) -> int:
        """Let a guarded scope settle, if nothing else in it is open; `REACT` if there is news, else 0."""

    def fail_scope(self, scope: int) -> list[int] | None:
        """Fail a scope by itself: it will end as FAILED, and what is PENDING in it is skipped, as by `abort`.

        The cause is its exit join (or `0xFFFFFFFF`), for those skipped and, unless a member failed before, for the end.

        Returns:
            The tasks in it that are RUNNING, RETRYING or PAUSED, ascending; None if nothing but a guard was open in it.
        """

    def hold(self, node: int) -> None:
        """Keep the slots of a RUNNING node when it leaves that state, until `let_go`: its body has not ended.

        The run may be settled before. In the meantime the node counts as `running`.
        """

    def let_go(self, node: int) -> None:
        """Give back what a held node has kept. Only then a RETRYING or PAUSED one may be queued again."""

    # -- starts of which nobody is told, and more slots than one -------------------------------------------------------

    def hush(self, node: int) -> None:
        """Have the first start of a PENDING node leave no entry in the journal: its value may turn out to be known.

        >>> run = Schedule(Layout(Dag(1, array("I"), array("I"))))
        >>> run.set_time(0)
        >>> run.hush(0)
        >>> run.take(), run.done(0), run.journal()
        (0, 0, [(0, 4, 0, 4294967295, 0)])
        """

    def begin(self, node: int) -> None:
        """Enter the start of a hushed node that was taken: it does run. Once only."""

    def borrow(self, node: int) -> bool:
        """Take one more slot for a RUNNING node, of the run and every group around it; False if none is free.

        It is kept until `repay`, also after the end of the node, and counts as `running`.
        """

    def repay(self, node: int) -> None:
        """Give back one slot that a node has borrowed."""

    # -- questions -----------------------------------------------------------------------------------------------------

    def running(self) -> int:
        """Return how many nodes are RUNNING, or are held."""

    def is_active(self) -> bool:
        """Return whether some node or some guarded scope is not settled."""

    def state(self, node: int) -> int:
        """Return the number of the state of a node."""

    def states(self) -> bytes:
        """Return the numbers of the states of all nodes."""

    def outcome(self) -> int:
        """Return the number of the state of the run.

        RUNNING while it is active, but PAUSED if some node is PAUSED, nothing runs, is held or is ready, no failure is
        unanswered and no guard awaited. Then CANCELLED if `cancel_all` ended it, FAILED or CANCELLED if a node of
        scope 0 was, else SUCCEEDED.
        """

    def scope_outcome(self, scope: int) -> int:
        """Return the number of the state of a group: as `outcome`, and SKIPPED if that is the worst in it."""

    # -- time and journal ----------------------------------------------------------------------------------------------

    def set_time(self, nanoseconds: int) -> None:
        """Set the time by hand, for clocks that are not real; from now on it does not move by itself."""

    def now(self) -> int:
        """Return the nanoseconds since the schedule was made, by the monotonic clock, or the time that was set."""

    def note(self, node: int) -> int:
        """Append an entry of the caller's own about a node to the journal, a NOTE, and return its position."""

    def __len__(self) -> int:
        """Return how many entries the journal has."""

    def journal(self, start: int = 0, stop: int | None = None) -> list[tuple[int, int, int, int, int]]:
        """Return what happened, in order: an entry for each change of state of a task. Joins leave none.

            >>> run = Schedule(Layout(Dag(2, array("I", [0]), array("I", [1]))))
            >>> run.set_time(7)
            >>> run.take(), run.fail(0), run.drain(), run.drain()
            (0, -2, ([0], []), ([], []))
            >>> run.journal(1)
            [(0, 5, 0, 4294967295, 7), (1, 6, 1, 0, 7)]

        Args:
            start: The position of the first entry.
            stop: The position behind the last, as far as there are any.

        Returns:
            Tuples of node, number of the state, reason, cause (the node that failed or was cancelled first), and
            nanoseconds.
        """

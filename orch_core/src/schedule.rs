//! The state machine of one run: which nodes are ready, what follows when one ends, how it all ends.
//!
//! A [`Layout`] is immutable and shared; a [`Schedule`] is one run of it. It takes facts (this node is
//! done, that one failed), answers questions (what is next?), and does nothing by itself. It knows
//! numbers only: who runs the nodes, and what they are, is somebody else's business.
//!
//! # The shape of a run
//!
//! A node waits for its predecessors. When it is *settled* (see [`State::is_settled`]) each successor
//! waits for one less, and if it did not succeed its data successors are *doomed*; the first cause is
//! kept. A node that has nothing left to wait for is skipped if it is doomed; otherwise it is *ready*.
//! So a doomed node is settled only after everything before it, and what is settled, in whatever way,
//! respects the order of the graph. (What is aborted, cancelled or restored is settled at once.)
//!
//! Joins settle by themselves. An exit join also waits until no member of its scope is open, and then
//! ends as badly as the worst of them: SUCCEEDED < SKIPPED < CANCELLED < FAILED.
//!
//! # Failures
//!
//! A failure is answered before anything follows from it. The scope of the failed node knows at once
//! (and may fail with it), its successors do not: [`drain`](Schedule::drain) hands the node out, the
//! caller does what it thinks fit ([`abort`](Schedule::abort), say), and the next `drain` lets the
//! successors know, as far as they are still pending. Nothing is taken in the meantime.
//!
//! # Guards
//!
//! A scope may be guarded ([`guard`](Schedule::guard)): when nothing in it is open it is handed out
//! ([`settling`](Schedule::settling)), and settles only when it is told to
//! ([`settle`](Schedule::settle)). In between its tasks can be undone, before anybody outside hears
//! how it ended. Until then the run is active.
//!
//! # Bodies that last
//!
//! A node that is held ([`hold`](Schedule::hold)) keeps its slots when it leaves RUNNING, until its
//! body has ended ([`let_go`](Schedule::let_go)): what still runs still counts. Nobody waits for it
//! but those who want the slots: the run may end before.
//!
//! # Starts without an entry
//!
//! Whether a node has to run may turn out only when it is taken: its value may be known. The start of a
//! node that is hushed ([`hush`](Schedule::hush)) leaves no entry in the journal; if it does run, that
//! is said later ([`begin`](Schedule::begin)).
//!
//! # Loans
//!
//! A node that runs several things at a time may take more slots than its own, as far as there are any
//! ([`borrow`](Schedule::borrow), [`repay`](Schedule::repay)).
//!
//! # News
//!
//! Verbs say whether there is news, and [`take`](Schedule::take) gives nothing while there is: failures
//! and values to let go, which [`drain`](Schedule::drain) has, and scopes, which
//! [`settling`](Schedule::settling) has.
//!
//! # Promises
//!
//! Every verb is total: what the present state does not allow is refused with a [`Refusal`] that names
//! node, state and verb, and nothing changes. Nothing here recurses, however deep the graph.
//!
//! # Costs
//!
//! | operation | cost |
//! |---|---|
//! | [`Schedule::new`] | `O(n + s)`, and the heights once per layout if there is a limit |
//! | [`take`](Schedule::take) | `O(1)`; with limits `O((1 + d) log n)` amortised, `d` gates around a node |
//! | [`done`](Schedule::done) and the other ends | `O(1 + successors)`, and as much for each node that is thereby skipped |
//! | [`abort`](Schedule::abort), [`cancel_all`](Schedule::cancel_all) | the nodes of the scope that lie in open scopes, and what follows from their ends |
//! | [`drain`](Schedule::drain) | the length of the answer, and what follows from the failures handed out before |
//! | [`guard`](Schedule::guard), [`settle`](Schedule::settle) | `O(1)`, and what follows from the end of the scope |
//! | [`hold`](Schedule::hold), [`let_go`](Schedule::let_go) | `O(log h)`, `h` of them held, and the gates around the node |
//! | [`hush`](Schedule::hush), [`begin`](Schedule::begin) | `O(log h)`, `h` of them hushed |
//! | [`borrow`](Schedule::borrow), [`repay`](Schedule::repay) | `O(log n)`, and the gates around the node |
//! | everything else | `O(1)`, or the length of the answer |
//!
//! A run over all nodes is `O(n + m)` in sum. Memory is 5 bytes a node, 26 for the journal of an
//! undisturbed run, 4 a node that waits in a queue, and 4 more each once something does not succeed and
//! if values are to be let go.

#![forbid(unsafe_code)]

mod guards;
mod loans;
mod questions;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clock::Clock;
use crate::journal::Journal;
use crate::layout::{Kind, Lane, Layout};
use crate::nodes::Nodes;
use crate::readers::Readers;
use crate::ready::Ready;
use crate::slots::Slots;
use crate::state::{Cell, NONE, Reason, Refusal, State, Verb, Verdict};

/// After so many nodes, or so many nanoseconds, the event loop lets others have a turn.
const BREATH: (u32, u64) = (1024, 1_000_000);

/// What [`Schedule::take`] has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This node is RUNNING now.
    Node(u32),
    /// Nothing is ready, or no slot is free.
    Idle,
    /// First see to what [`Schedule::drain`] has, until it has nothing, and [`Schedule::settling`].
    React,
    /// First let others have a turn, and call [`Schedule::breathe`].
    Breathe,
}

/// The nodes that somebody has to act upon, see [`Schedule::drain`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Failed tasks and groups (their exit joins), in the order in which they failed.
    pub failed: Vec<u32>,
    /// Nodes whose value nobody reads any more.
    pub released: Vec<u32>,
}

/// A scope in the course of a run.
#[derive(Clone, Copy, Debug)]
struct Tally {
    /// Members that are not settled.
    open: u32,
    /// The worst end among the others.
    worst: Verdict,
    /// Whether somebody must let it settle, see [`Schedule::guard`].
    is_guarded: bool,
}

impl Tally {
    fn is_settled(&self) -> bool {
        self.open == 0 && !self.is_guarded
    }

    /// Whether it waits for nothing but its guard.
    fn is_waiting(&self) -> bool {
        self.open == 0 && self.is_guarded
    }
}

/// One run of a [`Layout`]. See the [module](self) for what holds.
#[derive(Debug)]
pub struct Schedule {
    layout: Arc<Layout>,
    nodes: Nodes,
    tallies: Vec<Tally>,
    ready: Ready,
    slots: Slots,
    readers: Readers,
    journal: Journal,
    clock: Clock,
    /// How many may run at one time.
    limit: u32,
    running: u32,
    retrying: u32,
    paused: u32,
    /// Nodes that are not settled, and guards.
    unsettled: u32,
    is_cancelled: bool,
    drained: Drained,
    /// Failed nodes that were handed out. Their successors are told by the next drain.
    answered: Vec<u32>,
    /// How many scopes wait for nothing but their guards.
    waiting: u32,
    /// Those among them of whom nobody has been told.
    settling: Vec<u32>,
    /// Nodes that keep their slots although they may have left RUNNING: their bodies last.
    held: BTreeSet<u32>,
    /// Nodes whose start leaves no entry in the journal, see [`hush`](Schedule::hush).
    hushed: BTreeSet<u32>,
    /// By node, how many slots it has besides its own.
    loans: BTreeMap<u32, u32>,
    /// Nodes taken by the event loop since, and time of, its last turn for others.
    taken: u32,
    breathed: u64,
}

impl Schedule {
    /// A new run in which at most `limit` nodes run at one time, or any number if that is 0.
    #[must_use]
    pub fn new(layout: Arc<Layout>, limit: u32) -> Self {
        let limits = [limit, layout.scope(0).limit];
        let tally = |members| Tally { open: members, worst: Verdict::SUCCESS, is_guarded: false };
        let count = layout.dag().len();
        let mut schedule = Self {
            nodes: Nodes::new(&layout),
            tallies: layout.all_scopes().iter().map(|scope| tally(scope.members)).collect(),
            ready: Ready::new(limit > 0 || layout.is_limited()),
            slots: Slots::new(&layout),
            readers: Readers::new(&layout),
            journal: Journal::new(count),
            clock: Clock::new(),
            limit: limits.into_iter().filter(|limit| *limit > 0).min().unwrap_or(u32::MAX),
            running: 0,
            retrying: 0,
            paused: 0,
            unsettled: count as u32,
            is_cancelled: false,
            drained: Drained::default(),
            answered: Vec::new(),
            waiting: 0,
            settling: Vec::new(),
            held: BTreeSet::new(),
            hushed: BTreeSet::new(),
            loans: BTreeMap::new(),
            taken: 0,
            breathed: 0,
            layout,
        };
        schedule.open();
        schedule
    }

    /// Settles what is settled from the beginning, and lines up the rest by number.
    fn open(&mut self) {
        let Self { layout, nodes, ready, .. } = self;
        for node in 0..nodes.len() as u32 {
            if nodes.is_free(node) {
                ready.admit(layout, nodes, node);
            }
        }
        for scope in 0..self.tallies.len() as u32 {
            if self.layout.scope(scope).members > 0 {
                continue;
            }
            if let Some(parent) = self.close_scope(scope) {
                self.leave_scope(parent, Verdict::SUCCESS);
            }
        }
        self.settle_due(0);
        self.ready.sort();
    }

    // -- taking ---------------------------------------------------------------------------------

    /// Starts the next ready node of `lane`, or says why not.
    ///
    /// Only the event loop is asked to breathe: after a millisecond or 1024 nodes since it did.
    pub fn take(&mut self, lane: Lane) -> Next {
        self.take_at(lane, self.clock.now())
    }

    #[inline]
    fn take_at(&mut self, lane: Lane, now: u64) -> Next {
        if self.has_news() {
            Next::React
        } else if self.ready(lane) == 0 {
            Next::Idle
        } else if lane == Lane::Loop && self.must_breathe(now) {
            Next::Breathe
        } else {
            let node = self.start_next(lane, now);
            self.taken += u32::from(lane == Lane::Loop && node.is_some());
            node.map_or(Next::Idle, Next::Node)
        }
    }

    /// At least one node is given between two breaths, however slow the machine.
    #[inline]
    fn must_breathe(&self, now: u64) -> bool {
        let (nodes, nanoseconds) = BREATH;
        let is_long = now.saturating_sub(self.breathed) >= nanoseconds;
        self.taken >= nodes || is_long && self.taken > 0
    }

    /// Starts whatever is ready in `lane` and the limits allow, as `graphlib` does it. What comes after
    /// a failed node is ready once [`drain`](Self::drain) has given nothing.
    pub fn get_ready(&mut self, lane: Lane) -> Vec<u32> {
        let now = self.clock.now();
        let mut nodes = Vec::with_capacity(self.ready(lane) as usize);
        while self.ready(lane) > 0 {
            nodes.extend(self.start_next(lane, now));
        }
        nodes
    }

    #[inline]
    fn start_next(&mut self, lane: Lane, now: u64) -> Option<u32> {
        while let Some(node) = self.ready.pop(&self.nodes, lane) {
            if !self.slots.has_gates() || !self.park(node) {
                self.start(node, now);
                return Some(node);
            }
        }
        None
    }

    #[inline]
    fn start(&mut self, node: u32, now: u64) {
        match self.nodes.state(node) {
            State::Retrying => self.retrying -= 1,
            State::Paused => self.paused -= 1,
            _ => {}
        }
        self.running += 1;
        if self.slots.has_gates() {
            self.slots.occupy(&self.layout, node);
        }
        if self.is_hushed(node) {
            self.nodes.set(node, self.nodes.cell(node).with_state(State::Running));
        } else {
            self.enter(node, State::Running, now);
        }
    }

    /// The event loop has let others have a turn.
    pub fn breathe(&mut self) {
        self.taken = 0;
        self.breathed = self.clock.now();
    }

    /// At most so many nodes [`take`](Self::take) would give now, one after another.
    #[must_use]
    pub fn ready(&self, lane: Lane) -> u32 {
        self.ready.live(lane).min(self.limit.saturating_sub(self.running))
    }

    // -- ends -----------------------------------------------------------------------------------

    /// RUNNING or PAUSED to SUCCEEDED. Returns whether there is [news](self#news).
    ///
    /// # Errors
    ///
    /// [`Refusal`], as for every verb, if there is no such node or its state does not allow it.
    pub fn done(&mut self, node: u32) -> Result<bool, Refusal> {
        self.end(Verb::Done, node, Verdict::SUCCESS, self.clock.now())
    }

    /// [`done`](Self::done) and [`take`](Self::take) at one moment: the hot path.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done); nothing is taken then.
    pub fn done_take(&mut self, node: u32, lane: Lane) -> Result<Next, Refusal> {
        let now = self.clock.now();
        self.end(Verb::Done, node, Verdict::SUCCESS, now)?;
        Ok(self.take_at(lane, now))
    }

    /// RUNNING or RETRYING to FAILED. Returns whether there is [news](self#news): there is.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn fail(&mut self, node: u32) -> Result<bool, Refusal> {
        self.check(Verb::Fail, node)?;
        self.surface(node);
        self.end(Verb::Fail, node, Verdict::failed(node), self.clock.now())
    }

    /// Any open state to CANCELLED. Returns whether there is [news](self#news).
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn cancel(&mut self, node: u32) -> Result<bool, Refusal> {
        self.end(Verb::Cancel, node, Verdict::cancelled(node), self.clock.now())
    }

    /// PENDING to CANCELLED when its turn comes: now if it is ready, else once all it waits for is
    /// settled, so that nothing behind it begins before that. Returns whether [`drain`](Self::drain)
    /// has something.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn withdraw(&mut self, node: u32) -> Result<bool, Refusal> {
        self.check(Verb::Withdraw, node)?;
        let cell = self.nodes.cell(node);
        if cell.is_queued() || cell.is_parked() {
            return self.cancel(node);
        }
        self.nodes.withdraw(node);
        Ok(self.has_news())
    }

    /// PENDING to SUCCEEDED: the value is known already. Returns whether there is
    /// [news](self#news).
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn restore(&mut self, node: u32) -> Result<bool, Refusal> {
        self.end(Verb::Restore, node, Verdict::SUCCESS, self.clock.now())
    }

    /// SUCCEEDED to COMPENSATED.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn compensate(&mut self, node: u32) -> Result<(), Refusal> {
        self.check(Verb::Compensate, node)?;
        self.enter(node, State::Compensated, self.clock.now());
        Ok(())
    }

    #[inline]
    fn end(&mut self, verb: Verb, node: u32, verdict: Verdict, now: u64) -> Result<bool, Refusal> {
        self.check(verb, node)?;
        self.leave(node);
        self.close(node, verdict, now);
        self.spread(node, verdict);
        self.settle_due(now);
        Ok(self.has_news())
    }

    // -- waiting --------------------------------------------------------------------------------

    /// RUNNING to RETRYING: gives its slot back.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn retry(&mut self, node: u32) -> Result<(), Refusal> {
        self.check(Verb::Retry, node)?;
        self.surface(node);
        self.leave(node);
        self.retrying += 1;
        self.enter(node, State::Retrying, self.clock.now());
        Ok(())
    }

    /// A RETRYING node is ready again; it is RUNNING when it is taken.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done), and if it is ready already.
    pub fn requeue(&mut self, node: u32) -> Result<(), Refusal> {
        self.line_up(Verb::Requeue, node)
    }

    /// RUNNING to PAUSED: gives its slot back.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn pause(&mut self, node: u32) -> Result<(), Refusal> {
        self.check(Verb::Pause, node)?;
        self.surface(node);
        self.leave(node);
        self.paused += 1;
        self.enter(node, State::Paused, self.clock.now());
        Ok(())
    }

    /// A PAUSED node is ready again; it is RUNNING when it is taken.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done), and if it is ready already.
    pub fn resume(&mut self, node: u32) -> Result<(), Refusal> {
        self.line_up(Verb::Resume, node)
    }

    fn line_up(&mut self, verb: Verb, node: u32) -> Result<(), Refusal> {
        self.check(verb, node)?;
        let cell = self.nodes.cell(node);
        if self.is_held(node) {
            return Err(Refusal::Held { node, verb });
        }
        if cell.is_queued() || cell.is_parked() {
            return Err(Refusal::Ready { node, state: cell.state(), verb });
        }
        self.ready.push(&self.layout, &mut self.nodes, node);
        Ok(())
    }

    // -- reports -------------------------------------------------------------------------------

    /// What somebody has to act upon since the last call. Before that, the successors of the failed
    /// nodes that the last call gave hear of it: whoever wanted to answer has done so.
    ///
    /// To be called until it gives nothing: then there is nothing left to answer or to tell.
    pub fn drain(&mut self) -> Drained {
        self.tell_of_answered();
        let drained = std::mem::take(&mut self.drained);
        self.answered.extend_from_slice(&drained.failed);
        drained
    }

    /// One after another: what failed first is to blame.
    fn tell_of_answered(&mut self) {
        for node in std::mem::take(&mut self.answered) {
            self.tell_successors(node, Verdict::failed(self.nodes.cause(node)));
            self.settle_due(self.clock.now());
        }
    }

    /// Appends an entry of the caller's own about `node`, and returns its position.
    ///
    /// # Errors
    ///
    /// [`Refusal::Node`] if there is no such node.
    pub fn note(&mut self, node: u32) -> Result<usize, Refusal> {
        self.state(node)?;
        self.journal.note(node, self.clock.now());
        Ok(self.journal.len() - 1)
    }

    /// From now on the time is `nanoseconds`, until it is set again.
    pub fn set_time(&mut self, nanoseconds: u64) {
        self.clock.set(nanoseconds);
    }

    // -- the machine ----------------------------------------------------------------------------

    #[inline]
    fn check(&self, verb: Verb, node: u32) -> Result<(), Refusal> {
        let state = self.state(node)?;
        if self.layout.kind(node).is_join() {
            return Err(Refusal::Join { node, verb });
        }
        if verb.allows(state) { Ok(()) } else { Err(Refusal::State { node, state, verb }) }
    }

    fn check_scope(&self, scope: u32) -> Result<(), Refusal> {
        let scopes = self.tallies.len();
        if (scope as usize) < scopes { Ok(()) } else { Err(Refusal::Scope { scope, scopes }) }
    }

    #[inline]
    fn has_news(&self) -> bool {
        self.has_failures() || !self.drained.released.is_empty() || !self.settling.is_empty()
    }

    /// Whether somebody has failed of whom the successors do not know yet.
    #[inline]
    fn has_failures(&self) -> bool {
        !self.drained.failed.is_empty() || !self.answered.is_empty()
    }

    /// A change of state that is not an end.
    #[inline]
    fn enter(&mut self, node: u32, state: State, now: u64) {
        self.nodes.set(node, self.nodes.cell(node).with_state(state));
        self.journal.push(node, state, Reason::None, now);
    }

    /// Gives back what an open node holds: its slots if it runs, its place if it waits in a queue.
    #[inline]
    fn leave(&mut self, node: u32) {
        let cell = self.nodes.cell(node);
        self.nodes.set(node, cell.with_state(cell.state()));
        match cell.state() {
            State::Running if self.is_held(node) => return,
            State::Running => self.running -= 1,
            State::Retrying => self.retrying -= 1,
            State::Paused => self.paused -= 1,
            _ => {}
        }
        if cell.is_queued() {
            self.ready.forget(&self.layout, node);
        }
        if self.slots.has_gates() {
            self.leave_gates(node, cell);
        }
    }

    /// Somebody else may have what a node held, or stood in line for.
    fn leave_gates(&mut self, node: u32, cell: Cell) {
        if cell.is(State::Running) {
            self.slots.vacate(&self.layout, node);
        }
        if cell.is(State::Running) || cell.is_queued() || cell.is_parked() {
            self.call_in(node);
        }
    }

    /// The end of a node, in its own books.
    #[inline]
    fn close(&mut self, node: u32, verdict: Verdict, now: u64) {
        self.nodes.close(node, verdict);
        self.unsettled -= 1;
        if !self.layout.kind(node).is_join() {
            let is_skip = verdict.state == State::Skipped;
            let reason = if is_skip { verdict.reason } else { Reason::None };
            self.journal.push(node, verdict.state, reason, now);
        }
        if verdict.state == State::Failed {
            self.drained.failed.push(node);
        }
    }

    /// The end of a node, in the books of the others: successors (of a failed one only once that is
    /// answered), its scope, those it read.
    #[inline]
    fn spread(&mut self, node: u32, verdict: Verdict) {
        if verdict.state != State::Failed {
            self.tell_successors(node, verdict);
        }
        if let Some(scope) = self.layout.member_of(node) {
            self.leave_scope(scope, verdict);
        }
        self.readers.settled(&self.layout, &self.nodes, node, &mut self.drained.released);
    }

    #[inline]
    fn tell_successors(&mut self, node: u32, verdict: Verdict) {
        let Self { layout, nodes, ready, .. } = self;
        for &edge in layout.dag().successors(node) {
            if nodes.arrive_along(edge, verdict) {
                ready.admit(layout, nodes, edge.node());
            }
        }
    }

    /// A member of `scope` is settled, and perhaps the scope with it, and the one around it.
    #[inline]
    fn leave_scope(&mut self, mut scope: u32, mut verdict: Verdict) {
        loop {
            let tally = &mut self.tallies[scope as usize];
            tally.worst = tally.worst.worst(verdict);
            tally.open -= 1;
            if tally.open > 0 {
                return;
            }
            verdict = tally.worst;
            let Some(parent) = self.close_scope(scope) else { return };
            scope = parent;
        }
    }

    /// No member of `scope` is open any more: its exit join waits for one thing less. Without an exit
    /// the scope is itself a settled member of its parent, which is returned. If somebody guards it
    /// they are to hear of it first.
    fn close_scope(&mut self, scope: u32) -> Option<u32> {
        if self.tallies[scope as usize].is_guarded {
            self.waiting += 1;
            self.settling.push(scope);
            return None;
        }
        let shape = self.layout.scope(scope);
        if shape.join == NONE {
            return (shape.parent != NONE).then_some(shape.parent);
        }
        if self.nodes.arrive(shape.join) {
            self.ready.admit(&self.layout, &mut self.nodes, shape.join);
        }
        None
    }

    /// Settles what settles by itself, and what settles thereby.
    #[inline]
    fn settle_due(&mut self, now: u64) {
        while let Some(node) = self.ready.next_due() {
            let verdict = self.own_verdict(node);
            self.close(node, verdict, now);
            self.spread(node, verdict);
        }
    }

    /// How a node that has nothing left to wait for ends by itself.
    fn own_verdict(&self, node: u32) -> Verdict {
        let doom = self.nodes.doom(node);
        match self.layout.kind(node) {
            Kind::Exit => self.tallies[self.layout.home(node) as usize].worst.worst(doom),
            _ => doom,
        }
    }

    /// Parks a node that has just left the queue, if a gate around it is full.
    fn park(&mut self, node: u32) -> bool {
        let Some(gate) = self.slots.obstacle(&self.layout, node) else { return false };
        self.slots.park(&self.layout, &mut self.nodes, gate, node);
        self.call_in(node);
        true
    }

    /// Each gate around `node` that has a free slot sends the best node parked there to the queue.
    fn call_in(&mut self, node: u32) {
        let Self { layout, nodes, slots, ready, .. } = self;
        for gate in layout.gates(node) {
            for lane in [Lane::Loop, Lane::Thread] {
                if let Some(waiter) = slots.unpark(layout, nodes, gate, lane) {
                    ready.push(layout, nodes, waiter);
                }
            }
        }
    }
}

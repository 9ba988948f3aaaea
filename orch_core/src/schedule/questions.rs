//! What can be asked of a run. Nothing here changes it.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::Schedule;
use crate::journal::Entry;
use crate::layout::Lane;
use crate::state::{Cell, NONE, Refusal, State};

impl Schedule {
    /// How many nodes run.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Whether some node is not settled.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.unsettled > 0
    }

    /// The state of a node.
    ///
    /// # Errors
    ///
    /// [`Refusal::Node`] if there is no such node.
    #[inline]
    pub fn state(&self, node: u32) -> Result<State, Refusal> {
        let nodes = self.nodes.len();
        self.nodes.get(node).map(Cell::state).ok_or(Refusal::Node { node, nodes })
    }

    /// The states of all nodes, by number.
    pub fn states(&self) -> impl Iterator<Item = State> + '_ {
        self.nodes.states()
    }

    /// How the run stands: RUNNING while it is active, but PAUSED if nothing happens until somebody
    /// resumes a node, and no failure is unanswered; then FAILED, CANCELLED or SUCCEEDED.
    #[must_use]
    pub fn outcome(&self) -> State {
        let is_busy = self.running + self.retrying > 0 || self.is_anything_due();
        match self.tallies[0].worst.state {
            _ if self.is_active() && !is_busy && self.paused > 0 => State::Paused,
            _ if self.is_active() => State::Running,
            _ if self.is_cancelled => State::Cancelled,
            State::Skipped => State::Succeeded,
            state => state,
        }
    }

    fn is_anything_due(&self) -> bool {
        self.has_failures() || self.ready.live(Lane::Loop) + self.ready.live(Lane::Thread) > 0
    }

    /// How a group stands: as [`outcome`](Self::outcome), and SKIPPED if that is the worst in it.
    ///
    /// Looks at all nodes of an open scope.
    ///
    /// # Errors
    ///
    /// [`Refusal::Scope`] if there is no such scope.
    pub fn scope_outcome(&self, scope: u32) -> Result<State, Refusal> {
        self.check_scope(scope)?;
        let (tally, shape) = (self.tallies[scope as usize], self.layout.scope(scope));
        Ok(match shape.join {
            _ if scope == 0 => self.outcome(),
            NONE if tally.open == 0 => tally.worst.state,
            join if join != NONE && self.nodes.state(join).is_settled() => self.nodes.state(join),
            _ if self.is_stuck(shape.start..shape.end) => State::Paused,
            _ => State::Running,
        })
    }

    /// Whether some node of the range is PAUSED and none runs, is ready or may become so by a failure.
    fn is_stuck(&self, range: Range<u32>) -> bool {
        if self.has_failures() {
            return false;
        }
        let mut paused = 0;
        for cell in range.map(|node| self.nodes.cell(node)) {
            match cell.state() {
                _ if cell.is_queued() || cell.is_parked() => return false,
                State::Running | State::Retrying => return false,
                State::Paused => paused += 1,
                _ => {}
            }
        }
        paused > 0
    }

    /// Nanoseconds since the schedule was made, or the time that was set.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// How many entries the journal has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.journal.len()
    }

    /// Whether the journal is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries from `start` to before `stop`, as far as there are any. Joins leave none.
    pub fn journal(&self, start: usize, stop: usize) -> impl Iterator<Item = Entry> + '_ {
        let cause_of = |node| self.nodes.cause(node);
        (start..stop.min(self.len())).map(move |at| self.journal.entry(at, cause_of))
    }
}
